"""SQLite: one writer thread, a few reader threads, full durability."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from contextvars import Context, copy_context
from functools import partial
from itertools import cycle
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from reach.db import tracing
from reach.db.database import Database, Kind
from reach.db.errors import (
    OUTCOME_UNKNOWN,
    TIMED_OUT,
    DatabaseUnavailable,
    NoDatabase,
    NotMigrated,
    ReadOnlyDatabase,
)
from reach.db.sqlite_commits import watch
from reach.db.sqlite_connection import create
from reach.db.sqlite_errors import (
    UNAVAILABLE,
    UNWRITABLE,
    is_unmigrated,
    no_database,
    unavailable_reason,
)
from reach.db.sqlite_files import (
    Change,
    Place,
    note_closed,
    note_log,
    take_turn,
)
from reach.db.sqlite_wal import Scrubber, empty_log, keep_log
from reach.db.transaction import forget_last, has_committed
from reach.problems import ServiceUnavailable
from reach.settings import Settings
from reach.telemetry import traces

log = structlog.get_logger("reach.db")

R = TypeVar("R")

READERS = 2
#: How long one that hangs has to come round, and close its file, when all ends.
STUCK_SECONDS = 0.25


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
        self._busy_seconds, self._writes = busy_seconds, writes
        #: Whether a caller has given up what still is under way: a lock or a disk hangs.
        self.is_stuck, self.lock = False, threading.RLock()
        self._is_busy = False
        self._connection: Connection | None = None
        self._data_version: int | None = None
        place.connected.append(self)
        self.start()

    def call(self, fn: Callable[..., R], args: Sequence[Any] = ()) -> "asyncio.Future[R]":
        """Run ``fn`` there, in the caller's context (the request that it is for).

        A call that is cancelled before its turn is never run.
        """
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._calls.put((copy_context(), fn, args, answer))
        return answer

    def run(self) -> None:
        """Serve calls until ``stop``."""
        while (call := self._calls.get()) is not None:
            context, fn, args, answer = call
            if answer.cancelled():
                continue
            result, failure = None, None
            self._is_busy = True
            try:
                result = context.run(fn, *args)
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller
                failure = error
            self._is_busy = False
            loop = answer.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(_answer, answer, result, failure)
            del call, context, fn, args, answer, result, failure  # while it waits for the next

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing to do."""
        return not self._is_busy and self._calls.empty()

    def stop(self) -> None:
        """End it after the calls it has; does not wait."""
        self._calls.put(None)

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
                return empty_log((self._connection or self._open()).connection.driver_connection)
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
            files = self._place.look()
            note_log(self._place.file, files, is_open=True)
            self._place.note_opened(files)
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        self._connection = connection
        return connection

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


class SqliteDatabase(Database):
    """A file, for any number of processes of one machine to share."""

    def __init__(self, settings: Settings) -> None:
        """Start the threads; open nothing yet."""
        super().__init__(settings, connections=1 + READERS)
        self._place = Place(Path(settings.database.url.database or ""))
        # Shorter than the caller's patience, so that the answer says what is wrong.
        busy_seconds = settings.database_seconds * 0.6
        self._writer, *self._readers = (
            ConnectionThread(name, self._place, busy_seconds, writes=name == "reach-writer")
            for name in ("reach-writer", *(f"reach-reader-{n}" for n in range(READERS)))
        )
        self._next_reader = cycle(self._readers)
        self._scrubber = Scrubber(self._empty_log)

    async def _run(
        self, kind: Kind, fn: Callable[..., R], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> R:
        """Run it in the writer's thread, or in a reader's, in a snapshot of its own.

        What is written is on the disk when this returns.
        """
        thread = self._writer if kind == "write" else self._reader()
        attempt = Attempt()
        try:
            with tracing.transaction("sqlite", kind) if traces.process.tracer else traces.OFF:
                async with asyncio.timeout(self.seconds):
                    call = thread.call(thread.transact, (attempt, fn, args, kwargs))
                    done: tuple[R, set[str]] = await call
        except TimeoutError:
            thread.is_stuck = True
            attempt.is_given_up = True
            detail = OUTCOME_UNKNOWN if attempt.is_committing else TIMED_OUT
            raise DatabaseUnavailable(detail) from None
        except asyncio.CancelledError:
            attempt.is_given_up = True
            raise
        result, channels = done
        for channel in channels:
            for event in self._listeners[channel]:
                event.set()
        return result

    def _reader(self) -> ConnectionThread:
        """Choose a reader that has nothing to do, if there is one: one may wait for a disk."""
        idle = (one for one in self._readers if one.is_idle)
        return next(idle, None) or next(self._next_reader)

    async def relay(self, *channels: str) -> None:
        """Notice other processes' commits: ``data_version`` changes with every one.

        It does not say what was committed, so only the first channel is announced, whose listener
        looks for all.
        """
        await watch(self._place, self._writer, partial(self.announce, channels[0]))

    async def scrub(self) -> None:
        """Empty the log: ``secure_delete`` has overwritten the rows, but not their pages there."""
        await self._scrubber.scrub()

    async def _empty_log(self) -> bool:
        try:
            async with asyncio.timeout(self.patience_seconds):
                return await self._writer.call(self._writer.empty_log)
        except (ServiceUnavailable, DBAPIError, sqlite3.Error, TimeoutError):
            return False

    @property
    def patience_seconds(self) -> float:
        """How long to wait, at the end: not again for what has kept its callers waiting before.

        A process has to end within its grace time.
        """
        threads = (self._writer, *self._readers)
        return STUCK_SECONDS if any(one.is_stuck for one in threads) else self.seconds

    async def close(self) -> None:
        """Finish the commits under way, then close the file."""
        await super().close()
        await self._scrubber.close()
        await asyncio.gather(*map(self._end, (self._writer, *self._readers)))

    async def _end(self, thread: ConnectionThread) -> None:
        """Close a connection and end its thread.

        One that hangs at a lock or a disk is left behind: it ends with the process.
        """

        def close() -> None:
            thread.close()
            note_closed(self._place)

        closing_it = asyncio.ensure_future(thread.call(close))
        done, _ = await asyncio.wait({closing_it}, timeout=self.patience_seconds)
        closing_it.cancel()
        thread.stop()
        await asyncio.to_thread(thread.join, self.seconds if done else 0)
