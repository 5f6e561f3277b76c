"""Postgres through asyncpg: on the event loop, no threads."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from reach.db import postgres_connection, tracing
from reach.db.database import Database, Kind
from reach.db.errors import (
    DISK_FULL,
    OUTCOME_UNKNOWN,
    READ_ONLY_DATABASE,
    TIMED_OUT,
    DatabaseUnavailable,
    NoDatabase,
    NotMigrated,
    ReadOnlyDatabase,
)
from reach.db.group import Group
from reach.db.postgres_connection import READ_ONLY, Opener, PostgresConnection, Session
from reach.db.transaction import Transaction, forget_last, has_committed, notified
from reach.settings import Settings
from reach.settings.database_url import DatabaseUrl
from reach.telemetry import traces

R = TypeVar("R")

log = structlog.get_logger("reach.db")

NAME = "reach"
CONNECT_SECONDS = 3
RELISTEN_SECONDS = 1
LISTEN_CHECK_SECONDS = 10
#: How often it is looked whether there still is a pooler, through which nobody can listen.
POOLER_CHECK_SECONDS = 60

#: SQLSTATE classes that mean "not now", with what to say about each.
UNAVAILABLE_CLASSES = {
    "08": "The connection to it was lost.",
    "53": "It is out of connections, memory or disk.",
    "57": "It is stopping, starting or busy.",
    "58": "Its disk does not answer as it should.",
}
#: … and single codes: a lock not granted in time; no writes; idle, or in a transaction, too long.
UNAVAILABLE_CODES = ("55P03", READ_ONLY, "25P03", "25P04")
#: Those by which a server that answers says that it stores nothing.
UNWRITABLE = {READ_ONLY: READ_ONLY_DATABASE, "53100": DISK_FULL}
#: A transaction failed only because another one ran beside it: deadlock, serialisation failure.
CONFLICT_CODES = ("40P01", "40001")
MOST_TRIES = 5
#: A table or a column that is not there yet.
UNMIGRATED_CODES = ("42P01", "42703")
#: A role that lacks a privilege; a schema that is not there, or not for it to see.
REFUSED_CODES = ("42501", "3F000")
#: What trying again does not help against: the settings are wrong, or what was granted.
NO_DATABASE = {
    "28P01": "It does not let us in: the user or the password is wrong.",
    "28": "It does not let this user in: see its pg_hba.conf, and whether it asks for TLS.",
    "3D": "There is no database of that name on this server.",
    "42501": "The role may not use it: it lacks a privilege (GRANT).",
}
MAY_NOT_CREATE = (
    "The role may not create tables there: make it the database's owner "
    "(or GRANT USAGE, CREATE ON SCHEMA public, and let it own what Reach has made)."
)
#: What a transaction can fail with. asyncpg's own come from connecting alone: SQLAlchemy wraps
#: the others.
FAILURES = (DBAPIError, PoolTimeoutError, *postgres_connection.FAILURES)


class PostgresDatabase(Database):
    """A server, for any number of processes and machines."""

    def __init__(self, settings: Settings) -> None:
        """Prepare the pool; connect to nothing yet."""
        super().__init__(settings, settings.database_connections)
        session = Session(NAME, {})
        self._listener = Opener(settings.direct_database, session, seconds=CONNECT_SECONDS)
        self._has_said_that_it_polls = False
        self._engine = create(
            settings.database,
            connections=settings.database_connections,
            wait_seconds=settings.database_seconds,
        )
        self._apart = Group(self.run, "write", settings.database_seconds)
        self._running: set[asyncio.Task[Any]] = set()

    async def _run(
        self, kind: Kind, fn: Callable[..., R], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> R:
        """Run it in a task of its own, so that its caller waits so long and no longer.

        Giving up on a server that does not answer takes time too (the connection is closed, or its
        late answer would poison the pool), and that time is not the caller's.
        """
        attempt = _Attempt(kind)
        with tracing.transaction("postgresql", kind) if traces.process.tracer else traces.OFF:
            task = asyncio.create_task(self._repeat(attempt, fn, args, kwargs))
            self._running.add(task)
            task.add_done_callback(self._forget)
            give_up = asyncio.get_running_loop().call_later(self.seconds, task.cancel)
            task.add_done_callback(lambda _: give_up.cancel())
            # Not by awaiting it: that it is cancelled must not look as if its caller were.
            await asyncio.wait({task}, timeout=self.seconds)
            if task.done() and not task.cancelled():
                return task.result()
            task.cancel()
            raise DatabaseUnavailable(OUTCOME_UNKNOWN if attempt.is_committing else TIMED_OUT)

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # its caller has it, or has given up

    async def _repeat(
        self,
        attempt: "_Attempt",
        fn: Callable[..., R],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> R:
        """Run it; again if a race is lost, or before COMMIT a pooled connection proves dead.

        Or if what it has prepared proves older than the schema.
        """
        for tries_left in reversed(range(MOST_TRIES)):
            attempt.is_committing = False
            try:
                async with self._engine.connect() as connection:
                    if attempt.kind == "read":
                        _ = await connection.execution_options(postgresql_readonly=True)
                    result, channels = await connection.run_sync(
                        _transact, attempt, fn, args, kwargs
                    )
            except FAILURES as error:
                if not tries_left or not attempt.may_repeat(error):
                    raise attempt.explained(error) from error
            else:
                for channel in channels:
                    self.announce(channel)
                return result
        raise AssertionError("unreachable")  # pragma: no cover

    async def relay(self, *channels: str) -> None:
        """LISTEN on a connection of its own, made again whenever it is lost."""
        while True:
            pause_seconds: float = RELISTEN_SECONDS  # the worker's poll goes on meanwhile
            with suppress(DatabaseUnavailable, *postgres_connection.FAILURES):
                connection = await self._listener.open()
                try:
                    if connection.is_shared:
                        self._say_that_it_polls()
                        pause_seconds = POOLER_CHECK_SECONDS
                    else:
                        await self._listen(connection, channels)
                finally:
                    connection.terminate()
            await asyncio.sleep(pause_seconds)

    async def _listen(self, connection: PostgresConnection, channels: Sequence[str]) -> None:
        """Listen until the connection is lost."""
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        for channel in channels:
            await connection.add_listener(channel, self._heard)
            self.announce(channel)  # something may have been promised before we listened
        while not ended.is_set():
            try:
                await asyncio.wait_for(ended.wait(), LISTEN_CHECK_SECONDS)
            except TimeoutError:
                await connection.execute("SELECT 1", timeout=CONNECT_SECONDS)

    def _say_that_it_polls(self) -> None:
        """A pooler would have another's connection listen, for ever, and tell us nothing."""
        if not self._has_said_that_it_polls:
            self._has_said_that_it_polls = True
            log.info("no listening through a pooler")

    def _heard(self, _: object, __: int, channel: str, ___: object) -> None:
        """Take what asyncpg tells a listener: of which connection and process, and what."""
        self.announce(channel)

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


@dataclass(slots=True)
class _Attempt:
    """One transaction, run until it succeeds; it knows whether COMMIT was sent."""

    kind: Kind
    is_committing: bool = False

    def may_repeat(self, error: Exception) -> bool:
        """Whether it surely changed nothing, and may well succeed if run again."""
        if sqlstate(error) in CONFLICT_CODES:
            return True
        return (is_lost(error) or is_outdated(error)) and not self.is_committing

    def explained(self, error: Exception) -> Exception:
        """What its caller is told: why the database is unavailable; or the error itself."""
        state = sqlstate(error)
        if state in UNMIGRATED_CODES:
            return NotMigrated()
        if (why := no_database(error)) is not None:
            return NoDatabase(why)
        if not is_unavailable(error) or (state == READ_ONLY and self.kind == "read"):
            return error  # it was we who said that it would only read
        if state in UNWRITABLE:
            return ReadOnlyDatabase(UNWRITABLE[state], is_unknown=self.is_committing)
        return DatabaseUnavailable(
            OUTCOME_UNKNOWN if self.is_committing else unavailable_reason(error)
        )


def _transact(
    tx: Transaction,
    attempt: _Attempt,
    fn: Callable[..., R],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> tuple[R, set[str]]:
    """Run ``fn(tx, …)`` and commit it: its result, and the channels to announce."""
    if tx.info:
        forget_last(tx)
    with tx.begin() as transaction:
        result = fn(tx, *args, **kwargs)
        if channels := notified(tx):
            # Other processes LISTEN (see ``relay``), and hear of it when this commits.
            driver: PostgresConnection | Any = tx.connection.driver_connection
            driver.announce_at_commit(channels)
        attempt.is_committing = attempt.kind == "write"
        transaction.commit()
    return result, has_committed(tx) if tx.info else set()


def create(database: DatabaseUrl, *, connections: int, wait_seconds: float) -> AsyncEngine:
    """Build an engine whose connections give up in time."""
    milliseconds = str(int(wait_seconds * 1000))
    parameters = {
        "statement_timeout": milliseconds,
        "lock_timeout": milliseconds,
        "idle_in_transaction_session_timeout": milliseconds,
        "jit": "off",  # our statements are too short for it to pay
        # It would keep the plan of a table's first hundred rows until that is analysed, a minute
        # later, when there may be a hundred thousand. And it would lock rows as they lie there.
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        # It takes what a statement is given for 100 rows, and read up to 20,000 people
        # to find one: slow, and by the time it took a stranger knew that one is there.
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
    }
    seconds = min(CONNECT_SECONDS, wait_seconds)
    session = Session(NAME, parameters, may_be_renamed=True)
    opener = Opener(database, session, seconds=seconds)
    engine = postgres_connection.create_engine(
        database, opener, pool_size=connections, max_overflow=0, pool_timeout=wait_seconds
    )
    tracing.watch(engine.sync_engine)
    return engine


def no_database(error: BaseException) -> str | None:
    """Say why there is no database for us; None if the error is something else."""
    state = sqlstate(error)
    return NO_DATABASE.get(state) or NO_DATABASE.get(state[:2])


def is_unavailable(error: BaseException) -> bool:
    """Whether an error means "not now" rather than "not like this"."""
    if not isinstance(error, DBAPIError) or is_lost(error):
        return True
    state = sqlstate(error)
    return state[:2] in UNAVAILABLE_CLASSES or state in UNAVAILABLE_CODES + CONFLICT_CODES


def is_lost(error: BaseException) -> bool:
    """Whether the connection was lost on the way, or while it was being opened."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated
    # An InterfaceError of the driver's own: it was closed before a first word could be said on it.
    return isinstance(error, (*postgres_connection.LOST, ConnectionResetError))


def is_outdated(error: BaseException) -> bool:
    """Whether a statement was prepared before a migration changed the type of what it gives.

    SQLAlchemy has every connection of the pool prepare its statements again then.
    """
    cause = getattr(getattr(error, "orig", None), "__cause__", None)
    return isinstance(cause, asyncpg.InvalidCachedStatementError)


def unavailable_reason(error: BaseException) -> str | None:
    """Say why the database is unavailable; None if there is nothing to add."""
    if isinstance(error, TimeoutError | PoolTimeoutError):
        return TIMED_OUT
    if isinstance(error, OSError):
        return "It cannot be reached."
    state = sqlstate(error)
    return UNWRITABLE.get(state) or UNAVAILABLE_CLASSES.get(state[:2])


def sqlstate(error: BaseException) -> str:
    """The five characters by which Postgres names an error; empty if it is not Postgres's."""
    found: str | None = getattr(getattr(error, "orig", error), "sqlstate", None)
    return found or ""
