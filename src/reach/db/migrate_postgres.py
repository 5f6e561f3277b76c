"""Bring a Postgres to this version's schema, while it is in use; no request may fail.

So each migration commits by itself, and no lock is waited for long: behind one who waits for a
table's lock every later request of that table waits, even those that it would not have disturbed.
What could not be had in time is given up, the queue runs empty, and the migration is tried again.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from sqlalchemy import NullPool, TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from reach.db import postgres, postgres_connection
from reach.db.errors import DatabaseUnavailable, NoDatabase
from reach.db.migrate import CannotMigrate, Patience, Say, require_known, upgrade
from reach.db.postgres_connection import Opener, PostgresConnection, Session
from reach.db.schema import names, revision
from reach.settings.database_url import DatabaseUrl

#: Any fixed number will do; it keeps two `reach migrate` from running at once.
LOCK = 0x5265616368
CONNECT_SECONDS = 10
#: How often it is looked whether another `reach migrate` still is at work.
TURN_CHECK_SECONDS = 0.25
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 8.0
#: A lock that was not to be had in time, or only by waiting in a circle.
IN_USE_CODES = ("55P03", *postgres.CONFLICT_CODES)

_TAKE_SESSION = text("SELECT pg_try_advisory_lock(:lock)").bindparams(lock=LOCK)
_TAKE_TRANSACTION = text("SELECT pg_try_advisory_xact_lock(:lock)").bindparams(lock=LOCK)
_WHO = text("SELECT pg_backend_pid()")
_IS_HELD = text(
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND pid = :holder AND (classid::bigint << 32 | objid::bigint) = :lock)"
).bindparams(lock=LOCK)


async def migrate_postgres(database: DatabaseUrl, say: Say, patience: Patience) -> str:
    """Do as ``migrate_beside`` does."""
    try:
        return await _migrate(database, say, patience)
    except postgres.FAILURES as error:
        if isinstance(error, DBAPIError) and postgres.sqlstate(error) in postgres.REFUSED_CODES:
            raise CannotMigrate(postgres.MAY_NOT_CREATE) from error
        if (why := postgres.no_database(error)) is not None:
            raise NoDatabase(why) from error
        if not postgres.is_unavailable(error):
            raise
        raise DatabaseUnavailable(postgres.unavailable_reason(error)) from error


async def _migrate(database: DatabaseUrl, say: Say, patience: Patience) -> str:
    """Take the turn, then do what is missing, one migration after the other."""
    waits = {
        "lock_timeout": str(int(patience.lock_seconds * 1000)),
        # Building an index or filling a column takes as long as it takes: nobody waits for it.
        "statement_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
    }
    opener = Opener(database, Session("reach migrate", waits), seconds=CONNECT_SECONDS)
    engine = postgres_connection.create_engine(database, opener, poolclass=NullPool)
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert isinstance(driver, PostgresConnection)
        turn = _kept_turn if driver.is_shared else _own_turn
        async with turn(connection, say, patience.turn_seconds) as holder:
            at = require_known(await connection.run_sync(revision)) or ""
            await connection.rollback()
            for name in names():
                if name[:4] > at:
                    await _take_step(connection, name, say, patience, holder)
            return await connection.run_sync(revision) or ""


@asynccontextmanager
async def _own_turn(
    connection: AsyncConnection, say: Say, turn_seconds: float
) -> AsyncIterator[int]:
    """Have ``connection`` hold the turn to its end; gives the process that does.

    Of a `reach migrate` that was killed, that is the process which may still build an index.
    """
    await _take_turn(connection, _TAKE_SESSION, say, turn_seconds)
    holder: int = await connection.scalar(_WHO)
    await connection.rollback()
    yield holder


@asynccontextmanager
async def _kept_turn(
    connection: AsyncConnection, say: Say, turn_seconds: float
) -> AsyncIterator[int]:
    """Hold the turn by a transaction that stays open, on another connection; gives its process.

    A pooler keeps a process for a transaction, and not always for a connection. The transaction
    has no snapshot, so that an index which is built concurrently does not wait for it: the last
    statement's portal, and with it the snapshot, stays open until another takes its place; one
    that is sent as text alone leaves nothing open.
    """
    async with connection.engine.connect() as keeper:
        await _take_turn(keeper, _TAKE_TRANSACTION, say, turn_seconds)
        holder: int = await keeper.scalar(_WHO)
        driver: Any = (await keeper.get_raw_connection()).driver_connection
        await driver.execute("SELECT 1")
        yield holder


async def _take_turn(
    connection: AsyncConnection, statement: TextClause, say: Say, turn_seconds: float
) -> None:
    """Take the lock that one `reach migrate` has at a time. Raises CannotMigrate.

    Not by waiting in the server: a process that does that has a snapshot, and an index that is
    built concurrently waits for every older snapshot, so both would wait for each other.
    """
    gives_up_at = time.monotonic() + turn_seconds
    has_said = False
    while not await connection.scalar(statement):
        await connection.rollback()
        if not has_said:
            say(
                f"Another `reach migrate` is at work: waiting for it, {turn_seconds:.0f} s at most."
            )
            has_said = True
        if time.monotonic() > gives_up_at:
            raise CannotMigrate(
                f"Another `reach migrate` is still at work after {turn_seconds:.0f} s. "
                "Wait until it has ended, and run it again: it goes on where that one stopped."
            )
        await asyncio.sleep(TURN_CHECK_SECONDS)


async def _take_step(
    connection: AsyncConnection, name: str, say: Say, patience: Patience, holder: int
) -> None:
    """Do one migration; try again until what it locks is free, or patience ends.

    Raises CannotMigrate.
    """
    began, pause = time.monotonic(), FIRST_PAUSE_SECONDS
    while True:
        try:
            require = partial(require_turn, holder)
            await connection.run_sync(upgrade, name[:4], on_version_apply=require)
            break
        except DBAPIError as error:
            await connection.rollback()
            if postgres.sqlstate(error) not in IN_USE_CODES:
                raise
            if time.monotonic() + pause > began + patience.migration_seconds:
                raise CannotMigrate(
                    f"{name} was not done: others held locks that it needs for "
                    f"{patience.migration_seconds:.0f} s. What came before it is done, and "
                    "requests are served as before. Look for old transactions "
                    "(pg_stat_activity, by xact_start), end them, and run `reach migrate` again."
                ) from error
        say(f"{name}: others use what it needs; trying again in {pause:.0f} s.")
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    say(f"{name}: done in {time.monotonic() - began:.1f} s.")


def require_turn(holder: int, ctx: Any, **_: object) -> None:
    """Raise CannotMigrate if the process ``holder`` no longer has the turn: its connection is lost.

    Another `reach migrate` may be at work by now.
    """
    if not ctx.connection.scalar(_IS_HELD, {"holder": holder}):
        raise CannotMigrate(
            "The connection was lost that kept another `reach migrate` from beginning, so this one "
            "stopped. Run it again: it goes on where it stopped."
        )
