"""Postgres through asyncpg: on the event loop, no threads."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from reach.db import spans
from reach.db.away import LATE, UNKNOWN, DatabaseAway, NotMigrated
from reach.db.connect import connect
from reach.db.engine import Database, Transaction, forget_last, has_committed, take_notices
from reach.settings import Settings
from reach.urls import DatabaseUrl

R = TypeVar("R")

CONNECT_SECONDS = 3
RELISTEN_SECONDS = 1
LISTEN_CHECK_SECONDS = 10

#: SQLSTATE classes that mean "not now", with what to say about each.
AWAY_CLASSES = {
    "08": "The connection to it was lost.",
    "28": "It does not let us in.",
    "3D": "There is no database of that name.",
    "53": "It is out of connections, memory or disk.",
    "57": "It is stopping, starting or busy.",
    "58": "Its disk does not answer as it should.",
}
#: … and single codes: a lock not granted in time; a standby that takes no writes; idle too long.
AWAY_CODES = ("55P03", "25006", "25P03")
#: A transaction failed only because another one ran beside it: deadlock, serialisation failure.
CONFLICT_CODES = ("40P01", "40001")
MOST_TRIES = 5
#: A table or a column that is not there yet.
UNMIGRATED_CODES = ("42P01", "42703")
#: A role that lacks a privilege; a schema that is not there, or not for it to see.
REFUSED_CODES = ("42501", "3F000")
MAY_NOT_CREATE = (
    "The role may not create tables there: make it the database's owner "
    "(or GRANT USAGE, CREATE ON SCHEMA public, and let it own what Reach has made)."
)
#: What a transaction can fail with. asyncpg's own come from connecting alone: SQLAlchemy wraps
#: the others.
FAILURES = (
    DBAPIError,
    PoolTimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
)


class PostgresDatabase(Database):
    """A server, for any number of processes and machines."""

    def __init__(self, settings: Settings) -> None:
        """Prepare the pool; connect to nothing yet."""
        super().__init__(settings, settings.database_connections)
        self._url = settings.database
        self._engine = create(
            settings.database,
            connections=settings.database_connections,
            wait_seconds=settings.database_seconds,
        )
        self._running: set[asyncio.Task[Any]] = set()

    async def _look(self, work: Callable[[Transaction], R]) -> R:
        """Run ``work`` in a read-only transaction."""
        with spans.transaction("postgresql", writes=False):
            return await self._patiently(work, read_only=True)

    async def _transact(self, work: Callable[[Transaction], R]) -> R:
        """Run ``work`` in a transaction; it is committed when this returns."""
        with spans.transaction("postgresql", writes=True):
            return await self._patiently(work, read_only=False)

    async def _patiently(self, work: Callable[[Transaction], R], *, read_only: bool) -> R:
        """Run it in a task of its own, so that its caller waits so long and no longer.

        Giving up on a server that does not answer takes time too (the connection is closed,
        lest its late answer poison the pool), and that time is not the caller's.
        """
        attempt = _Attempt(self._engine, read_only=read_only)
        task = asyncio.create_task(self._run(attempt, work))
        self._running.add(task)
        task.add_done_callback(self._forget)
        give_up = asyncio.get_running_loop().call_later(self.seconds, task.cancel)
        task.add_done_callback(lambda _: give_up.cancel())
        # Not by awaiting it: that it is cancelled must not look as if its caller were.
        await asyncio.wait({task}, timeout=self.seconds)
        if task.done() and not task.cancelled():
            return task.result()
        task.cancel()
        raise DatabaseAway(UNKNOWN if attempt.committing else LATE)

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # its caller has it, or has given up

    async def _run(self, attempt: "_Attempt", work: Callable[[Transaction], R]) -> R:
        """Run it; again if a race is lost, or before COMMIT a pooled connection proves dead.

        Or if what it has prepared proves older than the schema.
        """
        for tries_left in reversed(range(MOST_TRIES)):
            try:
                result, notices = await attempt.run(work)
            except FAILURES as error:
                if not tries_left or not attempt.may_repeat(error):
                    self._refuse(error, unknown=attempt.committing)
            else:
                for channel in notices:
                    self.announce(channel)
                return result
        raise AssertionError("unreachable")  # pragma: no cover

    @staticmethod
    def _refuse(error: Exception, *, unknown: bool) -> NoReturn:
        if sqlstate(error) in UNMIGRATED_CODES:
            raise NotMigrated from error
        if not is_away(error):
            raise error
        raise DatabaseAway(UNKNOWN if unknown else away_reason(error)) from error

    async def relay(self, channel: str) -> None:
        """LISTEN on a connection of its own, made anew whenever it is lost."""
        while True:
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._listen(channel)
            await asyncio.sleep(RELISTEN_SECONDS)  # the worker's poll goes on meanwhile

    async def _listen(self, channel: str) -> None:
        """Listen until the connection is lost."""
        _, arguments = self._engine.dialect.create_connect_args(self._url.url)
        arguments.update(self._url.connect_args, timeout=CONNECT_SECONDS)
        connection = await connect(**arguments)
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        try:
            await connection.add_listener(channel, lambda *_: self.announce(channel))
            self.announce(channel)  # something may have been promised before we listened
            while not ended.is_set():
                try:
                    await asyncio.wait_for(ended.wait(), LISTEN_CHECK_SECONDS)
                except TimeoutError:
                    await connection.execute("SELECT 1", timeout=CONNECT_SECONDS)
        finally:
            connection.terminate()

    async def scrub(self) -> None:
        """Nothing to do: vacuum is the server's, and its files are not ours."""

    async def close(self) -> None:
        """Finish the commits under way, then close the pool."""
        await super().close()
        if self._running:
            await asyncio.wait(self._running, timeout=self.seconds)
        with suppress(TimeoutError):  # a server that is silent takes no leave
            async with asyncio.timeout(self.seconds):
                await self._engine.dispose()


class _Attempt:
    """One transaction, run until it succeeds; it knows whether COMMIT was sent."""

    def __init__(self, engine: AsyncEngine, *, read_only: bool) -> None:
        self._engine = engine
        self._read_only = read_only
        self.committing = False

    async def run(self, work: Callable[[Transaction], R]) -> tuple[R, set[str]]:
        self.committing = False
        async with self._engine.connect() as connection:
            if self._read_only:
                _ = await connection.execution_options(postgresql_readonly=True)
            return await connection.run_sync(self._transact, work)

    def _transact(self, tx: Transaction, work: Callable[[Transaction], R]) -> tuple[R, set[str]]:
        forget_last(tx)
        with tx.begin() as transaction:
            result = work(tx)
            notices = take_notices(tx)
            self.committing = not self._read_only
            transaction.commit()
        has_committed(tx)
        return result, notices

    def may_repeat(self, error: Exception) -> bool:
        """Whether it surely changed nothing, and may well succeed if run again."""
        if sqlstate(error) in CONFLICT_CODES:
            return True
        return (is_lost(error) or is_outdated(error)) and not self.committing


def create(database: DatabaseUrl, *, connections: int, wait_seconds: float) -> AsyncEngine:
    """Build an engine whose connections give up in time."""
    milliseconds = str(int(wait_seconds * 1000))
    engine = create_async_engine(
        database.url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=wait_seconds,
        hide_parameters=True,
        connect_args=database.connect_args
        | {
            "async_creator_fn": connect,
            "timeout": min(CONNECT_SECONDS, wait_seconds),
            "server_settings": {
                "application_name": "reach",
                "statement_timeout": milliseconds,
                "lock_timeout": milliseconds,
                "idle_in_transaction_session_timeout": milliseconds,
                "jit": "off",  # our statements are too short for it to pay
                # It takes what a statement is given for 100 rows, and read up to 20,000 people
                # to find one: slow, and by the time it took a stranger knew that one is there.
                "enable_hashjoin": "off",
                "enable_mergejoin": "off",
            },
        },
    )
    spans.watch(engine.sync_engine)
    return engine


def is_away(error: BaseException) -> bool:
    """Whether an error means "not now" rather than "not like this"."""
    if not isinstance(error, DBAPIError) or is_lost(error):
        return True
    state = sqlstate(error)
    return state[:2] in AWAY_CLASSES or state in AWAY_CODES + CONFLICT_CODES


def is_lost(error: BaseException) -> bool:
    """Whether the connection was lost on the way."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def is_outdated(error: BaseException) -> bool:
    """Whether a statement was prepared before a migration changed the type of what it gives.

    SQLAlchemy has every connection of the pool prepare its statements anew then.
    """
    cause = getattr(getattr(error, "orig", None), "__cause__", None)
    return isinstance(cause, asyncpg.InvalidCachedStatementError)


def away_reason(error: BaseException) -> str | None:
    """Say in what way the database is away; None if there is nothing to add."""
    if isinstance(error, TimeoutError | PoolTimeoutError):
        return LATE
    if isinstance(error, OSError):
        return "It cannot be reached."
    return AWAY_CLASSES.get(sqlstate(error)[:2])


def sqlstate(error: BaseException) -> str:
    """The five characters by which Postgres names an error; empty if it is not Postgres's."""
    found: str | None = getattr(getattr(error, "orig", error), "sqlstate", None)
    return found or ""
