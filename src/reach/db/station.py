"""A thread with its connection to the SQLite file, and how that is mended."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from reach.db.away import (
    UNKNOWN,
    DatabaseAway,
    HalfCopied,
    NoDatabase,
    NotMigrated,
    TakesNoWrites,
)
from reach.db.engine import Transaction, forget_last, has_committed
from reach.db.sqlite_file import (
    AWAY,
    UNWRITABLE,
    away_reason,
    create,
    identity,
    is_half_copied,
    is_unmigrated,
    no_database,
)
from reach.db.threads import DatabaseThread
from reach.db.turns import take_turn
from reach.db.wal import empty_log
from reach.urls import DatabaseUrl

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

    def __init__(
        self, name: str, database: DatabaseUrl, busy_seconds: float, *, writes: bool
    ) -> None:
        self.thread = DatabaseThread(name)
        self._engine = create(database, busy_seconds=busy_seconds, writes=writes)
        self._file = Path(database.url.database or "")
        self._writes = writes
        self._connection: Connection | None = None
        self._opened: tuple[int, int] | None = None

    def run(self, work: Callable[[Transaction], R], attempt: Attempt) -> R:
        """Run ``work`` in a transaction. Raises DatabaseAway, and what ``work`` raises."""
        turn = take_turn(self._file) if self._writes else nullcontext()
        with self._mending(attempt), turn:
            connection = self._connect()
            forget_last(connection)
            with connection.begin():
                result = work(connection)
                if self._writes:
                    attempt.begin_commit()
            has_committed(connection)
            return result

    def _connect(self) -> Connection:
        """Keep one connection, but to the file that is there now.

        SQLite goes on writing to a file that was moved or removed, where nobody would find it.
        """
        file = identity(self._file)
        if file != self._opened:
            self.close()
        if self._connection is None:
            self._connection, self._opened = self._engine.connect(), file
            # A copy has the file to itself, but for a process that opens it between two runs.
            if is_half_copied(self._connection.connection.driver_connection):
                self.close()
                raise HalfCopied
        return self._connection

    @contextmanager
    def _mending(self, attempt: Attempt) -> Iterator[None]:
        """If the database is away, say how, and open it anew the next time."""
        try:
            yield
        except (DBAPIError, sqlite3.Error, OSError) as error:
            if is_unmigrated(error):
                raise NotMigrated from error
            if (why := no_database(error, self._file)) is not None:
                self.close()
                raise NoDatabase(why) from error
            away = away_reason(error)
            if away is None:
                raise
            self.close()
            # Of the ways to fail in COMMIT, a failed fsync leaves open what is on the disk.
            is_unknown = attempt.is_committing and away == AWAY[sqlite3.SQLITE_IOERR]
            if self._writes and away in UNWRITABLE:
                raise TakesNoWrites(away, is_unknown=is_unknown) from error
            raise DatabaseAway(UNKNOWN if is_unknown else away) from error

    def empty_log(self) -> bool:
        """Empty the write-ahead log; whether nobody was in the way."""
        with self._mending(Attempt()):
            driver: Any = self._connect().connection.driver_connection
            return empty_log(driver)

    def close(self) -> None:
        """Let go of the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()  # no ROLLBACK, which may fail where all else does
            connection.close()
