"""Migrating a Postgres database that is in use.

Requests go on meanwhile, and none of them may fail. So each migration commits by itself, and no
lock is waited for long: who waits for a table's lock has every later request of that table wait
behind, even those that it would not have disturbed. What could not be had in time is given up,
the queue runs empty, and the migration is tried again.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import NullPool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from reach.db.connect import connect
from reach.db.migrate import CannotMigrate, Patience, names, revision, upgrade
from reach.db.postgres import CONFLICT_CODES, sqlstate
from reach.urls import DatabaseUrl

#: Any fixed number will do; it keeps two `reach migrate` from running at once.
LOCK = 0x5265616368
CONNECT_SECONDS = 10
#: How often it is looked whether another `reach migrate` still is at work.
TURN_CHECK_SECONDS = 0.25
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 8.0
#: A lock that was not to be had in time, or only by waiting in a circle.
IN_USE_CODES = ("55P03", *CONFLICT_CODES)

_TAKE = text("SELECT pg_try_advisory_lock(:lock)").bindparams(lock=LOCK)
_IS_OURS = text(
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND pid = pg_backend_pid() AND (classid::bigint << 32 | objid::bigint) = :lock)"
).bindparams(lock=LOCK)


async def migrate(database: DatabaseUrl, say: Callable[[str], None], patience: Patience) -> str:
    """Take the turn, then do what is missing, one migration after the other. See ``db.migrate``."""
    waits = {
        "application_name": "reach migrate",
        "lock_timeout": str(int(patience.lock_seconds * 1000)),
        # Building an index or filling a column takes as long as it takes: nobody waits for it.
        "statement_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
    }
    engine = create_async_engine(
        database.url,
        poolclass=NullPool,
        connect_args=database.connect_args
        | {"async_creator_fn": connect, "timeout": CONNECT_SECONDS, "server_settings": waits},
        hide_parameters=True,
    )
    async with engine.connect() as connection:
        await _take_turn(connection, say, patience.turn_seconds)
        at = await connection.run_sync(revision) or ""
        await connection.rollback()
        for name in names():
            if name[:4] > at:
                await _Step(connection, name, say, patience.migration_seconds).run()
        return await connection.run_sync(revision) or ""


async def _take_turn(
    connection: AsyncConnection, say: Callable[[str], None], turn_seconds: float
) -> None:
    """Take the lock that one `reach migrate` has at a time; it is the connection's until its end.

    Not by waiting in the server: whoever does that has a snapshot, and an index that is built
    concurrently waits for every older snapshot, so both would wait for each other.
    """
    gives_up_at = time.monotonic() + turn_seconds
    has_said = False
    while True:
        is_ours = await connection.scalar(_TAKE)
        await connection.commit()
        if is_ours:
            return
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


class _Step:
    """One migration, tried until what it locks is free."""

    def __init__(
        self,
        connection: AsyncConnection,
        name: str,
        say: Callable[[str], None],
        patience_seconds: float,
    ) -> None:
        self._connection = connection
        self._name = name
        self._say = say
        self._patience_seconds = patience_seconds

    async def run(self) -> None:
        """Raises CannotMigrate if others held a lock all the time."""
        began, pause = time.monotonic(), FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._connection.run_sync(
                    upgrade, self._name[:4], on_version_apply=require_turn
                )
                break
            except DBAPIError as error:
                await self._connection.rollback()
                if sqlstate(error) not in IN_USE_CODES:
                    raise
                if time.monotonic() + pause > began + self._patience_seconds:
                    raise self._give_up() from error
            self._say(f"{self._name}: others use what it needs; trying again in {pause:.0f} s.")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        self._say(f"{self._name}: done in {time.monotonic() - began:.1f} s.")

    def _give_up(self) -> CannotMigrate:
        return CannotMigrate(
            f"{self._name} was not done: others held locks that it needs for "
            f"{self._patience_seconds:.0f} s. What came before it is done, and requests are served "
            "as before. Look for old transactions (pg_stat_activity, by xact_start), end them, "
            "and run `reach migrate` again."
        )


def require_turn(ctx: Any, **_: object) -> None:
    """Raise CannotMigrate if this transaction is not the one that has the turn.

    A pooler that hands a connection on after each transaction (PgBouncer's ``transaction`` mode)
    leaves the lock with a server process that is somebody else's by now.
    """
    if not ctx.connection.scalar(_IS_OURS):
        raise CannotMigrate(
            "`reach migrate` needs a connection of its own to Postgres, without a pooler that "
            "shares it between transactions: give it the server's own address."
        )
