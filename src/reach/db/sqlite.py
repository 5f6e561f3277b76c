"""SQLite: one writer thread, a few reader threads, full durability."""

import asyncio
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from reach.db.away import LATE, UNKNOWN, DatabaseAway, NotMigrated
from reach.db.engine import Database, Transaction, take_notices
from reach.db.threads import DatabaseThread
from reach.db.turns import take_turn
from reach.db.wal import Scrubber, empty_log, switch_on
from reach.problems import Unavailable
from reach.settings import Settings
from reach.urls import DatabaseUrl

R = TypeVar("R")

READERS = 2
WATCH_SECONDS = 0.02
UNMIGRATED = re.compile(r"no such (table|column): |table \w+ has no column named ")
WATCH_AGAIN_SECONDS = 1
#: Primary result codes that mean "not now", with what to say about each.
AWAY = {
    sqlite3.SQLITE_BUSY: "It is locked by another program.",
    sqlite3.SQLITE_LOCKED: "It is locked by another program.",
    sqlite3.SQLITE_READONLY: "It cannot be written to.",
    sqlite3.SQLITE_IOERR: "Its disk does not answer as it should.",
    sqlite3.SQLITE_FULL: "Its disk is full.",
    sqlite3.SQLITE_CANTOPEN: "Its file cannot be opened (`reach migrate` makes a new one).",
    sqlite3.SQLITE_NOMEM: "It is out of memory.",
    sqlite3.SQLITE_CORRUPT: "Its file is damaged.",
    sqlite3.SQLITE_NOTADB: "Its file is damaged.",
}


class SqliteDatabase(Database):
    """A file, for as many processes of one machine as like to share it."""

    def __init__(self, settings: Settings) -> None:
        """Start the threads; open nothing yet."""
        super().__init__(settings)
        self._file = Path(settings.database.url.database or "")
        # Shorter than the caller's patience, so that the answer says what is wrong.
        busy_seconds = settings.database_seconds * 0.6
        self._writer = _Station("reach-writer", settings.database, busy_seconds, writes=True)
        self._readers = [
            _Station(f"reach-reader-{n}", settings.database, busy_seconds, writes=False)
            for n in range(READERS)
        ]
        self._next_reader = cycle(self._readers)
        self._scrubber = Scrubber(self._empty_log)

    async def look(self, work: Callable[[Transaction], R]) -> R:
        """Run ``work`` in a reader thread, in a snapshot of its own."""
        return await self._patiently(next(self._next_reader), work)

    async def transact(self, work: Callable[[Transaction], R]) -> R:
        """Run ``work`` in the writer thread; it is on the disk when this returns."""
        notices: set[str] = set()

        def run(tx: Transaction) -> R:
            result = work(tx)
            notices.update(take_notices(tx))
            return result

        result = await self._patiently(self._writer, run)
        for channel in notices:
            self.announce(channel)
        return result

    async def _patiently(self, station: "_Station", work: Callable[[Transaction], R]) -> R:
        attempt = _Attempt()
        try:
            async with asyncio.timeout(self.seconds):
                return await station.thread.call(lambda: station.run(work, attempt))
        except TimeoutError:
            attempt.is_given_up = True
            detail = UNKNOWN if attempt.is_committing else LATE
            raise DatabaseAway(detail) from None
        except asyncio.CancelledError:
            attempt.is_given_up = True
            raise

    async def relay(self, channel: str) -> None:
        """Notice other processes' commits: ``data_version`` changes with every one.

        It takes microseconds and never waits, so it runs on the event loop.
        """
        while True:
            with suppress(sqlite3.Error, OSError):
                await self._watch(channel)
            await asyncio.sleep(WATCH_AGAIN_SECONDS)  # the worker's own poll goes on meanwhile

    async def _watch(self, channel: str) -> None:
        """Watch until the file is another one."""
        address = f"{self._file.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=0)) as watcher:
            seen, file = None, identity(self._file)
            while file == identity(self._file):
                (version,) = watcher.execute("PRAGMA data_version").fetchone()
                if version != seen:
                    seen = version
                    self.announce(channel)
                await asyncio.sleep(WATCH_SECONDS)

    async def scrub(self) -> None:
        """Empty the log: ``secure_delete`` has overwritten the rows, but not their pages there."""
        await self._scrubber.scrub()

    async def _empty_log(self) -> bool:
        try:
            async with asyncio.timeout(self.seconds):
                return await self._writer.thread.call(self._writer.empty_log)
        except (Unavailable, DBAPIError, sqlite3.Error, TimeoutError):
            return False

    async def close(self) -> None:
        """Finish the commits under way, then close the file."""
        await super().close()
        await self._scrubber.close()
        await asyncio.gather(*map(self._end, (self._writer, *self._readers)))

    async def _end(self, station: "_Station") -> None:
        """Close a connection and end its thread.

        One that hangs at a lock or a disk is left behind: it ends with the process.
        """
        closing_it = asyncio.ensure_future(station.thread.call(station.close))
        done, _ = await asyncio.wait({closing_it}, timeout=self.seconds)
        closing_it.cancel()
        station.thread.stop()
        await asyncio.to_thread(station.thread.join, self.seconds if done else 0)


class _Attempt:
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
            raise _GivenUp


class _GivenUp(Exception):  # noqa: N818 - nobody is there to see it
    """The caller was told that it did not happen."""


class _Station:
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

    def run(self, work: Callable[[Transaction], R], attempt: _Attempt) -> R:
        """Run ``work`` in a transaction. Raises DatabaseAway, and what ``work`` raises."""
        turn = take_turn(self._file) if self._writes else nullcontext()
        with self._mending(attempt), turn:
            connection = self._connect()
            take_notices(connection)
            with connection.begin():
                result = work(connection)
                if self._writes:
                    attempt.begin_commit()
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
        return self._connection

    @contextmanager
    def _mending(self, attempt: _Attempt) -> Iterator[None]:
        """If the database is away, say how, and open it anew the next time."""
        try:
            yield
        except (DBAPIError, sqlite3.Error, OSError) as error:
            if is_unmigrated(error):
                raise NotMigrated from error
            away = away_reason(error)
            if away is None:
                raise
            self.close()
            # Of the ways to fail in COMMIT, a failed fsync leaves open what is on the disk.
            is_unknown = attempt.is_committing and away == AWAY[sqlite3.SQLITE_IOERR]
            raise DatabaseAway(UNKNOWN if is_unknown else away) from error

    def empty_log(self) -> bool:
        """Empty the write-ahead log; whether nobody was in the way."""
        with self._mending(_Attempt()):
            driver: Any = self._connect().connection.driver_connection
            return empty_log(driver)

    def close(self) -> None:
        """Let go of the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()  # no ROLLBACK, which may fail where all else does
            connection.close()


def create(
    database: DatabaseUrl, *, busy_seconds: float, writes: bool, make: bool = False
) -> Engine:
    """Build an engine whose connections keep Reach's rules.

    ``make`` creates a missing file (0600); otherwise that is an error: an empty database that
    nobody asked for would hide a wrong path.
    """
    file = Path(database.url.database or "")

    def connect() -> sqlite3.Connection:
        if make:
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(
            f"{file.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=busy_seconds,
            isolation_level=None,  # transactions begin as said below, not as the driver guesses
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            _prepare(connection, writes=writes, make=make)
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # IMMEDIATE: a transaction that reads first and writes later could fail with a lock
        # that no busy wait helps against.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _prepare(connection: sqlite3.Connection, *, writes: bool, make: bool) -> None:
    """Set what a connection keeps for its life."""
    if writes and not make:
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


def identity(file: Path) -> tuple[int, int]:
    """Tell a file from its successor of the same name. Raises OSError."""
    found = file.stat()
    return found.st_dev, found.st_ino


def is_unmigrated(error: BaseException) -> bool:
    """Whether it is about a table or a column that is not there yet."""
    return UNMIGRATED.match(str(getattr(error, "orig", error))) is not None


def away_reason(error: BaseException) -> str | None:
    """Say in what way the database is away; None if the error is something else."""
    if isinstance(error, DBAPIError):
        error = error.orig or error
    if isinstance(error, FileNotFoundError):
        return AWAY[sqlite3.SQLITE_CANTOPEN]
    if isinstance(error, OSError):
        return "Its folder cannot be written to."
    code: Any = getattr(error, "sqlite_errorcode", None)
    return None if code is None else AWAY.get(code & 0xFF)
