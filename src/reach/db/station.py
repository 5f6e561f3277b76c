"""A thread with its connection to the SQLite file, and how that is mended."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from threading import RLock
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from reach.db.engine import forget_last, has_committed
from reach.db.errors import (
    OUTCOME_UNKNOWN,
    TIMED_OUT,
    DatabaseUnavailable,
    HalfCopied,
    NoDatabase,
    NotMigrated,
    ReadOnlyDatabase,
)
from reach.db.sqlite_connection import DatabaseThread, create, is_half_copied
from reach.db.sqlite_errors import (
    UNAVAILABLE,
    UNWRITABLE,
    is_unmigrated,
    no_database,
    unavailable_reason,
)
from reach.db.sqlite_files import Files, Place, note_log, take_turn
from reach.db.sqlite_wal import empty_log, keep_log
from reach.db.transaction import Transaction

log = structlog.get_logger("reach.db")

R = TypeVar("R")


class Attempt:
    """One transaction of the writer, as its caller and its thread see it.

    The thread notes that it commits before it looks whether it may, the caller that it gives
    up before it looks whether a commit began: so never both "not made" and made.
    """

    is_committing = False
    is_given_up = False

    def begin_commit(self) -> None:
        """Raise GivenUp rather than commit what nobody waits for any more."""
        self.is_committing = True
        if self.is_given_up:
            raise GivenUp


class GivenUp(Exception):  # noqa: N818 - nobody is there to see it
    """The caller was told that it did not happen."""


class Station:
    """A thread, its connection, and how to mend it."""

    def __init__(self, name: str, place: Place, busy_seconds: float, *, writes: bool) -> None:
        self.thread = DatabaseThread(name)
        self._engine = create(place, busy_seconds=busy_seconds, writes=writes)
        self._place = place
        self._busy_seconds = busy_seconds
        self._writes = writes
        #: Whether a caller has given up what still is under way: a lock or a disk hangs.
        self.is_stuck = False
        self.lock = RLock()
        self._connection: Connection | None = None
        place.connected.append(self)

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def run(self, work: Callable[[Transaction], R], attempt: Attempt) -> R:
        """Run ``work`` in a transaction. Raises DatabaseUnavailable, and what ``work`` raises."""
        turn = take_turn(self._place.file) if self._writes else nullcontext()
        try:
            with self._mending(attempt), turn, self._connected(in_turn=self._writes) as connection:
                forget_last(connection)
                with connection.begin():
                    result = work(connection)
                    if self._writes:
                        attempt.begin_commit()
                has_committed(connection)
                return result
        finally:
            self.is_stuck = False

    @contextmanager
    def _connected(self, *, in_turn: bool) -> Iterator[Connection]:
        """Have a connection to the files that are there now. Raises NoDatabase, Replaced.

        SQLite goes on writing to a file that was moved or removed, where nobody would find it.
        Until it is known that another one may be opened, the connection stays: so the files that it
        has keep their numbers, and if they are put back, all goes on.
        """
        change = self._place.change(writes=self._writes, may_lag=self.is_open)
        if change == "fold":
            self._make_new_log(in_turn=in_turn)
        elif change == "reopen":
            self._place.close_all(self._busy_seconds)
        with self.lock:
            yield self._connection or self._open()

    def _make_new_log(self, *, in_turn: bool) -> None:
        """Save what is in a log that was removed, and have all opened again. Raises DatabaseUnavailable.

        Whoever only reads does it too: a process that starts meanwhile would make another log. If
        somebody is in the way, it reads on by the log that it has; and nobody opens another beside.
        """
        may_go_on = self.is_open and not in_turn
        try:
            with nullcontext() if in_turn else take_turn(self._place.file, waits=not may_go_on):
                self._fold()
                self._place.close_all(self._busy_seconds)
        except (DatabaseUnavailable, BlockingIOError):
            if not may_go_on:
                raise

    def _open(self) -> Connection:
        opened = self._engine.connect()
        try:
            self._place.note_opened(self._checked(opened))
        except BaseException:
            opened.invalidate()
            opened.close()
            raise
        self._connection = opened
        return opened

    def _checked(self, connection: Connection) -> Files:
        """See which files a new connection has. Raises HalfCopied."""
        # A copy has the file to itself, but for a process that opens it between two runs.
        if is_half_copied(connection.connection.driver_connection):
            raise HalfCopied
        files = self._place.look()
        note_log(self._place.file, files, is_open=True)
        return files

    def _fold(self) -> None:
        """Save what is in a log that was removed. Raises DatabaseUnavailable if somebody is in the way.

        By whichever connection there is: an error may have ended this one's.
        """
        if any(one.fold() for one in self._place.connected):
            log.warning("write-ahead log removed")

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

    @contextmanager
    def _mending(self, attempt: Attempt) -> Iterator[None]:
        """If the database is away, say how, and open it anew the next time."""
        try:
            yield
        except (DBAPIError, sqlite3.Error, OSError) as error:
            if is_unmigrated(error):
                raise NotMigrated from error
            why = no_database(error, self._place.file)
            away = why or unavailable_reason(error, self._place.file)
            if away is None:
                raise
            if not isinstance(error, OSError):  # that is about other files than the connection's
                self.close()
            if why is not None:
                lost = NoDatabase(why)
                self._place.tell(lost)
                raise lost from error
            # Of the ways to fail in COMMIT, a failed fsync leaves open what is on the disk.
            is_unknown = attempt.is_committing and away == UNAVAILABLE[sqlite3.SQLITE_IOERR]
            if self._writes and away in UNWRITABLE:
                raise ReadOnlyDatabase(away, is_unknown=is_unknown) from error
            raise DatabaseUnavailable(OUTCOME_UNKNOWN if is_unknown else away) from error

    def empty_log(self) -> bool:
        """Empty the write-ahead log; whether nobody was in the way."""
        with self._mending(Attempt()), self._connected(in_turn=False) as connection:
            driver: Any = connection.connection.driver_connection
            return empty_log(driver)

    def close(self) -> None:
        """Let go of the connection; the next call opens another."""
        with self.lock:
            connection, self._connection = self._connection, None
            if connection is None:
                return
            if self._place.is_overwritten:
                keep_log(connection.connection.driver_connection)
            connection.invalidate()  # no ROLLBACK, which may fail where all else does
            connection.close()
