"""SQLite: one writer thread, a few reader threads, full durability.

Writers of several processes take turns by a lock file: SQLite's own busy wait polls, and
starves one of two busy processes. The lock file orders our own writers; SQLite's lock still
guards against everybody else's.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from reach.db.engine import NOT_MIGRATED, Database, DatabaseAway, Transaction, take_notices
from reach.db.threads import DatabaseThread
from reach.settings import Settings
from reach.urls import DatabaseUrl

R = TypeVar("R")

READERS = 2
WATCH_SECONDS = 0.02
#: Primary result codes that mean "not now", with what to say about each.
AWAY = {
    sqlite3.SQLITE_BUSY: "It is locked by another program.",
    sqlite3.SQLITE_LOCKED: "It is locked by another program.",
    sqlite3.SQLITE_READONLY: "It cannot be written to.",
    sqlite3.SQLITE_IOERR: "Its disk does not answer as it should.",
    sqlite3.SQLITE_FULL: "Its disk is full.",
    sqlite3.SQLITE_CANTOPEN: "Its file cannot be opened.",
    sqlite3.SQLITE_NOMEM: "It is out of memory.",
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
        try:
            async with asyncio.timeout(self.seconds):
                return await station.thread.call(lambda: station.run(work))
        except TimeoutError:
            raise DatabaseAway("It did not answer in time.") from None

    async def relay(self, channel: str) -> None:
        """Notice other processes' commits: ``data_version`` changes with every one.

        It takes microseconds and never waits, so it runs on the event loop.
        """
        while True:
            try:
                await self._watch(channel)
            except sqlite3.Error:
                await asyncio.sleep(1)  # away; the worker's own poll goes on meanwhile

    async def _watch(self, channel: str) -> None:
        with closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True)) as watcher:
            seen = None
            while True:
                (version,) = watcher.execute("PRAGMA data_version").fetchone()
                if version != seen:
                    seen = version
                    self.announce(channel)
                await asyncio.sleep(WATCH_SECONDS)

    async def scrub(self) -> None:
        """Fold the write-ahead log into the database and empty it.

        ``secure_delete`` has overwritten the rows; the log still holds their pages. A reader
        or another process can hold it up; the next scrub, or the next restart, does it then.
        """
        try:
            async with asyncio.timeout(self.seconds):
                await self._writer.thread.call(self._writer.checkpoint)
        except TimeoutError:
            raise DatabaseAway("It did not answer in time.") from None

    async def close(self) -> None:
        """Finish the commits under way, then close the file."""
        await super().close()
        for station in (self._writer, *self._readers):
            await station.thread.call(station.close)
            station.thread.stop()
            await asyncio.to_thread(station.thread.join, self.seconds)


class _Station:
    """A thread, its connection, and how to mend it."""

    def __init__(
        self, name: str, database: DatabaseUrl, busy_seconds: float, *, writes: bool
    ) -> None:
        self.thread = DatabaseThread(name)
        self._engine = create(database, busy_seconds=busy_seconds, writes=writes)
        self._turns = Path(f"{database.url.database}-turn") if writes else None
        self._connection: Connection | None = None

    def run(self, work: Callable[[Transaction], R]) -> R:
        """Run ``work`` in a transaction. Raises DatabaseAway, and what ``work`` raises."""
        try:
            with take_turn(self._turns):
                if self._connection is None:
                    self._connection = self._engine.connect()
                take_notices(self._connection)
                with self._connection.begin():
                    return work(self._connection)
        except (DBAPIError, sqlite3.Error, OSError) as error:
            away = away_reason(error)
            if away is None:
                raise
            self.close()
            raise DatabaseAway(away) from error

    def checkpoint(self) -> None:
        """Empty the write-ahead log as far as readers let it."""
        with take_turn(self._turns):
            if self._connection is not None:
                driver = self._connection.connection.driver_connection
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # type: ignore[union-attr]

    def close(self) -> None:
        """Let go of the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def create(
    database: DatabaseUrl, *, busy_seconds: float, writes: bool, make: bool = False
) -> Engine:
    """Build an engine whose connections keep Reach's rules.

    ``make`` creates a missing file (0600); otherwise a missing file is an error, for an
    empty database that nobody asked for would hide a wrong path.
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
        for pragma in (
            "journal_mode=WAL" if make else "wal_autocheckpoint=1000",
            "synchronous=FULL",
            "foreign_keys=ON",
            "secure_delete=ON",
            "journal_size_limit=67108864",
            f"query_only={'OFF' if writes else 'ON'}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # IMMEDIATE: a transaction that reads first and writes later could fail with a lock
        # that no busy wait helps against.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def take_turn(file: Path | None) -> Iterator[None]:
    """Wait for this process's turn to write."""
    if file is None:
        yield
        return
    turn = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield
    finally:
        os.close(turn)


def away_reason(error: BaseException) -> str | None:
    """Say in what way the database is away; None if the error is something else."""
    if isinstance(error, DBAPIError):
        error = error.orig or error
    if isinstance(error, OSError):
        return "Its folder cannot be written to."
    code: Any = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_ERROR and str(error).startswith(("no such table", "no such column")):
        return NOT_MIGRATED
    return None if code is None else AWAY.get(code & 0xFF)
