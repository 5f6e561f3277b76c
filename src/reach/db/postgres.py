"""Postgres through asyncpg: on the event loop, no threads."""

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from reach.db.engine import NOT_MIGRATED, Database, DatabaseAway, Transaction, take_notices
from reach.settings import Settings
from reach.urls import DatabaseUrl

R = TypeVar("R")

CONNECT_SECONDS = 3
RELISTEN_SECONDS = 1
LISTEN_CHECK_SECONDS = 10

#: SQLSTATE classes that mean "not now": connection, resources, operator intervention, system.
AWAY_CLASSES = ("08", "53", "57", "58")
#: … and single codes: a lock not granted in time; a standby that takes no writes.
AWAY_CODES = ("55P03", "25006", "25P03")
#: A table or a column that is not there yet.
UNMIGRATED_CODES = ("42P01", "42703")


class PostgresDatabase(Database):
    """A server, for any number of processes and machines."""

    def __init__(self, settings: Settings) -> None:
        """Prepare the pool; connect to nothing yet."""
        super().__init__(settings)
        self._url = settings.database
        self._engine = create(
            settings.database,
            connections=settings.database_connections,
            wait_seconds=settings.database_seconds,
        )
        self._running: set[asyncio.Task[Any]] = set()

    async def look(self, work: Callable[[Transaction], R]) -> R:
        """Run ``work`` in a read-only transaction."""
        return await self._patiently(work, read_only=True)

    async def transact(self, work: Callable[[Transaction], R]) -> R:
        """Run ``work`` in a transaction; it is committed when this returns."""
        return await self._patiently(work, read_only=False)

    async def _patiently(self, work: Callable[[Transaction], R], *, read_only: bool) -> R:
        """Run it in a task of its own, so that its caller waits so long and no longer.

        Giving up on a server that does not answer takes time too (the connection is closed,
        lest its late answer poison the pool), and that time is not the caller's.
        """
        task = asyncio.create_task(self._run(work, read_only=read_only))
        self._running.add(task)
        task.add_done_callback(self._forget)
        give_up = asyncio.get_running_loop().call_later(self.seconds, task.cancel)
        task.add_done_callback(lambda _: give_up.cancel())
        try:
            async with asyncio.timeout(self.seconds):
                return await asyncio.shield(task)
        except TimeoutError:
            raise DatabaseAway("It did not answer in time.") from None

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # its caller has it, or has given up

    async def _run(self, work: Callable[[Transaction], R], *, read_only: bool) -> R:
        """Run it, and once more if a connection from the pool proves dead before COMMIT."""
        for again in (False, True):
            attempt = _Attempt(self._engine, read_only=read_only)
            try:
                result, notices = await attempt.run(work)
            except (DBAPIError, OSError, TimeoutError, PoolTimeoutError) as error:
                lost = isinstance(error, DBAPIError) and error.connection_invalidated
                if not lost or again or attempt.committing:
                    self._refuse(error, unknown=attempt.committing)
            else:
                for channel in notices:
                    self.announce(channel)
                return result
        raise AssertionError("unreachable")  # pragma: no cover

    @staticmethod
    def _refuse(error: Exception, *, unknown: bool) -> NoReturn:
        if sqlstate(error) in UNMIGRATED_CODES:
            raise DatabaseAway(NOT_MIGRATED) from error
        if not is_away(error):
            raise error
        detail = "Whether the change was made is not known." if unknown else None
        raise DatabaseAway(detail) from error

    async def relay(self, channel: str) -> None:
        """LISTEN on a connection of its own, made anew whenever it is lost."""
        while True:
            try:
                await self._listen(channel)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(RELISTEN_SECONDS)  # the worker's poll goes on meanwhile

    async def _listen(self, channel: str) -> None:
        arguments = driver_arguments(self._url)
        connection = await asyncpg.connect(**arguments)
        try:
            await connection.add_listener(channel, lambda *_: self.announce(channel))
            self.announce(channel)  # something may have been promised before we listened
            while True:
                await asyncio.sleep(LISTEN_CHECK_SECONDS)
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
        await self._engine.dispose()


class _Attempt:
    """One run of one transaction; it knows whether COMMIT was sent."""

    def __init__(self, engine: AsyncEngine, *, read_only: bool) -> None:
        self._engine = engine
        self._read_only = read_only
        self.committing = False

    async def run(self, work: Callable[[Transaction], R]) -> tuple[R, set[str]]:
        async with self._engine.connect() as connection:
            if self._read_only:
                _ = await connection.execution_options(postgresql_readonly=True)
            return await connection.run_sync(self._transact, work)

    def _transact(self, tx: Transaction, work: Callable[[Transaction], R]) -> tuple[R, set[str]]:
        take_notices(tx)
        with tx.begin() as transaction:
            result = work(tx)
            notices = take_notices(tx)
            self.committing = not self._read_only
            transaction.commit()
        return result, notices


def create(database: DatabaseUrl, *, connections: int, wait_seconds: float) -> AsyncEngine:
    """Build an engine whose connections give up in time."""
    milliseconds = str(int(wait_seconds * 1000))
    return create_async_engine(
        database.url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=wait_seconds,
        hide_parameters=True,
        connect_args=database.connect_args
        | {
            "timeout": min(CONNECT_SECONDS, wait_seconds),
            "server_settings": {
                "application_name": "reach",
                "statement_timeout": milliseconds,
                "lock_timeout": milliseconds,
                "idle_in_transaction_session_timeout": milliseconds,
                "jit": "off",  # our statements are too short for it to pay
            },
        },
    )


def driver_arguments(database: DatabaseUrl) -> dict[str, Any]:
    """What ``asyncpg.connect`` needs to reach the same database."""
    url = database.url
    place = {key: url.query[key] for key in ("host", "port", "user") if key in url.query}
    named = {
        "host": url.host,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "database": url.database,
    }
    given = {key: value for key, value in named.items() if value is not None}
    return place | given | database.connect_args | {"timeout": CONNECT_SECONDS}


def is_away(error: BaseException) -> bool:
    """Whether an error means "not now" rather than "not like this"."""
    if isinstance(error, OSError | TimeoutError | PoolTimeoutError):
        return True
    state = sqlstate(error)
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return lost or state[:2] in AWAY_CLASSES or state in AWAY_CODES


def sqlstate(error: BaseException) -> str:
    """The five characters by which Postgres names an error; empty if it is not Postgres's."""
    found: str | None = getattr(getattr(error, "orig", error), "sqlstate", None)
    return found or ""
