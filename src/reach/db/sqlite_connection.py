"""A SQLite file's connections: how one is opened, and the thread that owns one and mends it."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from contextvars import Context, copy_context
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from reach.db import tracing
from reach.db.errors import (
    OTHERS,
    OUTCOME_UNKNOWN,
    REVISION,
    TIMED_OUT,
    DatabaseUnavailable,
    NoDatabase,
    NotMigrated,
    ReadOnlyDatabase,
)
from reach.db.sqlite_errors import (
    UNAVAILABLE,
    UNWRITABLE,
    is_unmigrated,
    no_database,
    unavailable_reason,
)
from reach.db.sqlite_files import Change, Files, Header, Place, note_log, require_own_log, take_turn
from reach.db.sqlite_wal import empty_log, keep_log, switch_on
from reach.db.transaction import forget_last, has_committed
from reach.problems import ServiceUnavailable

log = structlog.get_logger("reach.db")

R = TypeVar("R")


def create(place: Place, *, busy_seconds: float, writes: bool, make: bool = False) -> Engine:
    """Build an engine whose connections keep Reach's rules.

    ``make`` creates a missing file (0600); otherwise that is an error: an empty database that
    nobody asked for would hide a wrong path. Connecting raises NoDatabase, Replaced too.
    """
    file = place.file

    def connect() -> sqlite3.Connection:
        if make:
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        return opened(
            place,
            partial(_prepare, writes=writes, make=make),
            timeout=busy_seconds,
            check_same_thread=False,
            cached_statements=256,
        )

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)
    tracing.watch(engine)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # IMMEDIATE: a transaction that reads first and writes later could fail with a lock
        # that no busy wait helps against.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def opened(
    place: Place, prepare: Callable[[sqlite3.Connection], None] | None = None, **options: Any
) -> sqlite3.Connection:
    """Open a file that is there, unless it does not fit to its log.

    Transactions begin as their owners say, not as the driver guesses. Raises NoDatabase, Replaced,
    and what sqlite3 raises.
    """
    file, files = place.file, place.look()
    require_own_log(file, files)
    note_log(file, files, is_open=False)
    address = f"{file.absolute().as_uri()}?mode=rw"
    connection: sqlite3.Connection
    connection = sqlite3.connect(address, uri=True, isolation_level=None, **options)
    try:
        place.require_whole(Header(files.database), files)
        if prepare is not None:
            prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, *, writes: bool, make: bool) -> None:
    """Set what a connection keeps for its life."""
    if writes and not make and revision_of(connection):  # another program's is left as it is
        switch_on(connection)
    for pragma in (
        "journal_mode=WAL" if make else "wal_autocheckpoint=1000",
        "synchronous=FULL",
        "foreign_keys=ON",
        "secure_delete=ON",
        "journal_size_limit=67108864",
        f"query_only={'OFF' if writes else 'ON'}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def revision_of(connection: Any) -> str | None:
    """Which schema a file says it has; None if it is not Reach's. Asked of the driver itself."""
    named = "SELECT name FROM sqlite_schema WHERE name = 'alembic_version'"
    if connection.execute(named).fetchone() is None:
        return None
    (found,) = connection.execute("SELECT max(version_num) FROM alembic_version").fetchone()
    return str(found) if REVISION.fullmatch(str(found)) else None


def require_ours(file: Path) -> None:
    """Refuse to change a file of another program. Raises NoDatabase, Replaced."""
    if not os.path.isfile(file):
        return
    require_own_log(file, Place(file).look())
    address = f"{file.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=0)) as connection:
            (tables,) = connection.execute(
                "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            ).fetchone()
            if tables and not revision_of(connection):
                raise NoDatabase(OTHERS)
    except sqlite3.Error as error:
        if (reason := no_database(error, file)) is not None:
            raise NoDatabase(reason) from error


class Attempt:
    """One transaction of the writer, as its caller and its thread see it.

    The thread notes that it commits before it looks whether it may, the caller that it gives
    up before it looks whether a commit began: so never both "not made" and made.
    """

    is_committing = False
    is_given_up = False


class GivenUp(Exception):
    """The caller was told that it did not happen."""


class ConnectionThread(threading.Thread):
    """A thread with its connection, which it opens, mends and closes.

    It runs calls one after another, in the order they came. It is a daemon, unlike an executor's
    threads: a disk or a lock that never answers must not keep a process from ending.
    """

    def __init__(self, name: str, place: Place, busy_seconds: float, *, writes: bool) -> None:
        """Start it; open nothing yet."""
        super().__init__(name=name, daemon=True)
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._engine = create(place, busy_seconds=busy_seconds, writes=writes)
        self._place = place
        self._busy_seconds = busy_seconds
        self._writes = writes
        #: Whether a caller has given up what still is under way: a lock or a disk hangs.
        self.is_stuck = False
        self.lock = threading.RLock()
        self._connection: Connection | None = None
        self._data_version: int | None = None
        place.connected.append(self)
        self.start()

    # Calls

    async def call(self, fn: Callable[..., R], *args: Any) -> R:
        """Run ``fn`` there, in the caller's context (the request that it is for).

        A call that is cancelled before its turn is never run.
        """
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._calls.put((copy_context(), fn, args, answer))
        return await answer

    def run(self) -> None:
        """Serve calls until ``stop``."""
        while (call := self._calls.get()) is not None:
            context, fn, args, answer = call
            if answer.cancelled():
                continue
            result, failure = None, None
            try:
                result = context.run(fn, *args)
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller
                failure = error
            loop = answer.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(_answer, answer, result, failure)
            del call, context, fn, args, answer, result, failure  # while it waits for the next

    def stop(self) -> None:
        """End it after the calls it has; does not wait."""
        self._calls.put(None)

    # In the thread

    def transact(
        self,
        attempt: Attempt,
        fn: Callable[..., R],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> tuple[R, set[str]]:
        """Run ``fn(tx, …)`` in a transaction: its result, and the channels to announce.

        Raises DatabaseUnavailable, and what ``fn`` raises.
        """
        try:
            with take_turn(self._place.file) if self._writes else nullcontext():
                change = self._place.change(
                    writes=self._writes, may_lag=self._connection is not None
                )
                if change != "none":
                    self._follow(change, in_turn=self._writes)
                with self.lock:
                    tx = self._connection or self._open()
                    if tx.info:
                        forget_last(tx)
                    with tx.begin():
                        result = fn(tx, *args, **kwargs)
                        if self._writes:
                            attempt.is_committing = True
                            if attempt.is_given_up:
                                raise GivenUp
                    return result, has_committed(tx) if tx.info else set()
        except (DBAPIError, sqlite3.Error, OSError) as error:
            raise self._explained(error, attempt) from error
        finally:
            self.is_stuck = False

    def empty_log(self) -> bool:
        """Empty the write-ahead log; whether nobody was in the way."""
        try:
            self._follow(self._place.change(writes=self._writes, may_lag=self.is_open))
            with self.lock:
                driver: Any = (self._connection or self._open()).connection.driver_connection
                return empty_log(driver)
        except (DBAPIError, sqlite3.Error, OSError) as error:
            raise self._explained(error, Attempt()) from error

    def have_others_committed(self) -> bool:
        """Whether another connection has committed since this was last asked, or nobody knows.

        A connection's own commits do not change its ``data_version``.
        """
        with self.lock:
            before, self._data_version = self._data_version, None
            if self._connection is None:
                return True
            driver: Any = self._connection.connection.driver_connection
            (self._data_version,) = driver.execute("PRAGMA data_version").fetchone()
            return self._data_version != before

    # Its connection, and the files it has

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def _follow(self, change: Change, *, in_turn: bool = False) -> None:
        """Have other connections made where the files are others now.

        SQLite goes on writing to a file that was moved or removed, where nobody would find it.
        Until it is known that another one may be opened, the connection stays: so the files that it
        has keep their numbers, and if they are put back, all goes on.
        """
        if change == "fold":
            self._make_new_log(in_turn=in_turn)
        elif change == "reopen":
            self._place.close_all(self._busy_seconds)

    def _make_new_log(self, *, in_turn: bool) -> None:
        """Save what is in a log that was removed, and have all opened again.

        One that only reads does it too: a process that starts meanwhile would make another log. If
        somebody is in the way, it reads on by the log that it has; and nobody opens another beside.
        Raises DatabaseUnavailable.
        """
        may_go_on = self.is_open and not in_turn
        try:
            with nullcontext() if in_turn else take_turn(self._place.file, waits=not may_go_on):
                # By whichever connection there is: an error may have ended this one's.
                if any(one.fold() for one in self._place.connected):
                    log.warning("write-ahead log removed")
                self._place.close_all(self._busy_seconds)
        except (DatabaseUnavailable, BlockingIOError):
            if not may_go_on:
                raise

    def _open(self) -> Connection:
        connection = self._engine.connect()
        try:
            self._place.note_opened(self._checked(connection))
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        self._connection = connection
        return connection

    def _checked(self, connection: Connection) -> Files:
        """See which files a new connection has."""
        files = self._place.look()
        note_log(self._place.file, files, is_open=True)
        return files

    def fold(self) -> bool:
        """Fold the log that the connection has into the database; whether there is one.

        Raises DatabaseUnavailable.
        """
        if not self.lock.acquire(timeout=self._busy_seconds):
            raise DatabaseUnavailable(TIMED_OUT)
        try:
            if self._connection is None:
                return False
            driver: Any = self._connection.connection.driver_connection
            if not empty_log(driver):
                raise DatabaseUnavailable(UNAVAILABLE[sqlite3.SQLITE_BUSY])
            return True
        finally:
            self.lock.release()

    def _explained(
        self, error: DBAPIError | sqlite3.Error | OSError, attempt: Attempt
    ) -> ServiceUnavailable:
        """Say why the database is unavailable, and open another connection next; or raise it."""
        if is_unmigrated(error):
            return NotMigrated()
        missing = no_database(error, self._place.file)
        reason = missing or unavailable_reason(error, self._place.file)
        if reason is None:
            raise error
        if not isinstance(error, OSError):  # that is about other files than the connection's
            self.close()
        if missing is not None:
            lost = NoDatabase(missing)
            self._place.tell(lost)
            return lost
        # Of the ways to fail in COMMIT, a failed fsync leaves open what is on the disk.
        is_unknown = attempt.is_committing and reason == UNAVAILABLE[sqlite3.SQLITE_IOERR]
        if self._writes and reason in UNWRITABLE:
            return ReadOnlyDatabase(reason, is_unknown=is_unknown)
        return DatabaseUnavailable(OUTCOME_UNKNOWN if is_unknown else reason)

    def close(self) -> None:
        """Let go of the connection; the next call opens another."""
        with self.lock:
            connection, self._connection = self._connection, None
            self._data_version = None
            if connection is None:
                return
            if self._place.is_overwritten:
                keep_log(connection.connection.driver_connection)
            connection.invalidate()  # no ROLLBACK, which may fail where all else does
            connection.close()


#: A call's context, function, arguments and answer.
_Call = tuple[Context, Callable[..., Any], Sequence[Any], "asyncio.Future[Any]"]


def _answer(answer: "asyncio.Future[Any]", result: object, failure: BaseException | None) -> None:
    if answer.done():
        return  # its caller has given up
    if failure is None:
        answer.set_result(result)
    else:
        answer.set_exception(failure)
