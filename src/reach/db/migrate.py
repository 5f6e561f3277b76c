"""Bring a database to this version's schema.

docs/guides/writing-a-migration.md says what a migration may do.

SQLite's is changed in one transaction, while nobody else writes.

Postgres's is changed while it is in use, and no request may fail. So each migration commits by
itself, and no lock is waited for long: behind one who waits for a table's lock every later request
of that table waits, even those that it would not have disturbed. What could not be had in time is
given up, the queue runs empty, and the migration is tried again.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, NullPool, TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from reach.db import postgres, postgres_connection, sqlite_connection, sqlite_errors
from reach.db.errors import NO_FOLDER, DatabaseUnavailable, NoDatabase
from reach.db.postgres_connection import Opener, PostgresConnection, Session
from reach.db.schema import VERSIONS, is_current, names, revision
from reach.db.sqlite_files import Place, take_turn
from reach.settings.database_url import DatabaseUrl

Say = Callable[[str], None]

#: SQLite: how long others' transactions are waited for.
BUSY_SECONDS = 10
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


@dataclass(frozen=True, slots=True)
class Patience:
    """How long `reach migrate` waits on Postgres.

    ``lock_seconds``, for a lock on a table: later requests queue up behind. One that meets such
    waits at two statements, and its predecessor too, still has REACH_DATABASE_SECONDS.
    ``migration_seconds``: how long one migration is tried again, while others hold what it needs.
    ``turn_seconds``: how long another `reach migrate` may be at work.
    """

    lock_seconds: float = 1
    migration_seconds: float = 120
    turn_seconds: float = 600

    @classmethod
    def beside(cls, request_seconds: float) -> "Patience":
        """Be no more patient than requests are which may take so long."""
        return cls(lock_seconds=min(cls().lock_seconds, request_seconds / 4))


DEFAULT = Patience()


class CannotMigrate(Exception):
    """Something is in the way; ``args[0]`` says what, and what to do about it."""


def _say_nothing(_: str) -> None:
    pass


def migrate(database: DatabaseUrl, *, say: Say = _say_nothing, patience: Patience = DEFAULT) -> str:
    """Migrate, one process at a time; repeating it changes nothing. Returns the revision.

    ``say`` is told what is waited for and what was done. Raises DatabaseUnavailable, CannotMigrate.
    Blocks; within an event loop, see ``migrate_beside``.
    """
    return asyncio.run(migrate_beside(database, say=say, patience=patience))


async def migrate_beside(database: DatabaseUrl, *, say: Say, patience: Patience = DEFAULT) -> str:
    """Do what ``migrate`` does, within an event loop: cancelled, it ends soon.

    Unless it is SQLite that is waited for, which is a matter of moments.
    """
    if database.is_sqlite:
        return await asyncio.to_thread(_migrate_sqlite, database)
    try:
        return await _migrate_postgres(database, say, patience)
    except postgres.FAILURES as error:
        if isinstance(error, DBAPIError) and postgres.sqlstate(error) in postgres.REFUSED_CODES:
            raise CannotMigrate(postgres.MAY_NOT_CREATE) from error
        if (why := postgres.no_database(error)) is not None:
            raise NoDatabase(why) from error
        if not postgres.is_unavailable(error):
            raise
        raise DatabaseUnavailable(postgres.unavailable_reason(error)) from error


def upgrade(
    connection: Connection,
    to: str,
    *,
    folder: Path = VERSIONS.parent,
    on_version_apply: Callable[..., None] | None = None,
) -> None:
    """Have Alembic migrate up to revision ``to``: in a transaction of each migration's own.

    Unless ``connection`` has begun one: then all happens in that. ``on_version_apply`` is called
    at the end of each migration, in its transaction.
    """
    from alembic import command, config

    given = config.Config()
    given.set_main_option("script_location", str(folder).replace("%", "%%"))
    given.attributes["connection"] = connection
    given.attributes["on_version_apply"] = on_version_apply or ()
    command.upgrade(given, to)


def _migrate_sqlite(database: DatabaseUrl) -> str:
    file = Path(database.url.database or "")
    if not file.parent.is_dir():
        raise NoDatabase(NO_FOLDER)
    sqlite_connection.require_ours(file)
    engine = sqlite_connection.create(
        Place(file), busy_seconds=BUSY_SECONDS, writes=True, make=True
    )
    try:
        with take_turn(file), engine.connect() as connection, connection.begin():
            if not is_current(connection):
                _require_known(revision(connection))
                upgrade(connection, "head")
            return revision(connection) or ""
    except (DBAPIError, OSError) as error:
        if (why := sqlite_errors.no_database(error, file)) is not None:
            raise NoDatabase(why) from error
        reason = sqlite_errors.unavailable_reason(error, file)
        if reason is None:
            raise
        raise DatabaseUnavailable(reason) from error


async def _migrate_postgres(database: DatabaseUrl, say: Say, patience: Patience) -> str:
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
            at = _require_known(await connection.run_sync(revision)) or ""
            await connection.rollback()
            for name in names():
                if name[:4] > at:
                    await _take_step(connection, name, say, patience, holder)
            return await connection.run_sync(revision) or ""


def _require_known(at: str | None) -> str | None:
    """Refuse a schema that was made before the oldest one we know. Raises CannotMigrate."""
    if at is not None and at < (oldest := names()[0][:4]):
        raise CannotMigrate(
            f"The schema is at {at}, older than any release: the oldest known is {oldest}. "
            "Migrate it with an earlier commit of Reach first, or begin with an empty database."
        )
    return at


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
