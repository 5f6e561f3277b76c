"""SQLite: one writer thread, a few reader threads, full durability."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from itertools import cycle
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from reach.db import spans
from reach.db.away import LATE, UNKNOWN, DatabaseAway
from reach.db.engine import Database, Transaction, take_notices
from reach.db.sqlite_file import identity
from reach.db.station import Attempt, Station
from reach.db.wal import Scrubber
from reach.problems import Unavailable
from reach.settings import Settings

R = TypeVar("R")

READERS = 2
WATCH_SECONDS = 0.02
WATCH_AGAIN_SECONDS = 1


class SqliteDatabase(Database):
    """A file, for as many processes of one machine as like to share it."""

    def __init__(self, settings: Settings) -> None:
        """Start the threads; open nothing yet."""
        super().__init__(settings, connections=1 + READERS)
        self._file = Path(settings.database.url.database or "")
        # Shorter than the caller's patience, so that the answer says what is wrong.
        busy_seconds = settings.database_seconds * 0.6
        self._writer = Station("reach-writer", settings.database, busy_seconds, writes=True)
        self._readers = [
            Station(f"reach-reader-{n}", settings.database, busy_seconds, writes=False)
            for n in range(READERS)
        ]
        self._next_reader = cycle(self._readers)
        self._scrubber = Scrubber(self._empty_log)

    async def _look(self, work: Callable[[Transaction], R]) -> R:
        """Run ``work`` in a reader thread, in a snapshot of its own."""
        return await self._patiently(next(self._next_reader), work)

    async def _transact(self, work: Callable[[Transaction], R]) -> R:
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

    async def _patiently(self, station: Station, work: Callable[[Transaction], R]) -> R:
        attempt = Attempt()
        writes = station is self._writer
        try:
            with spans.transaction("sqlite", writes=writes):
                async with asyncio.timeout(self.seconds):
                    return await station.thread.call(lambda: station.run(work, attempt))
        except TimeoutError:
            attempt.is_given_up = True
            detail = UNKNOWN if attempt.is_committing else LATE
            raise DatabaseAway(detail) from None
        except asyncio.CancelledError:
            attempt.is_given_up = True
            raise

    async def relay(self, *channels: str) -> None:
        """Notice other processes' commits: ``data_version`` changes with every one.

        It takes microseconds and never waits, so it runs on the event loop.
        """
        while True:
            with suppress(sqlite3.Error, OSError):
                await self._watch(channels)
            await asyncio.sleep(WATCH_AGAIN_SECONDS)  # the worker's own poll goes on meanwhile

    async def _watch(self, channels: Sequence[str]) -> None:
        """Watch until the file is another one."""
        address = f"{self._file.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=0)) as watcher:
            seen, file = None, identity(self._file)
            while file == identity(self._file):
                (version,) = watcher.execute("PRAGMA data_version").fetchone()
                if version != seen:
                    seen = version
                    for channel in channels:
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

    async def _end(self, station: Station) -> None:
        """Close a connection and end its thread.

        One that hangs at a lock or a disk is left behind: it ends with the process.
        """
        closing_it = asyncio.ensure_future(station.thread.call(station.close))
        done, _ = await asyncio.wait({closing_it}, timeout=self.seconds)
        closing_it.cancel()
        station.thread.stop()
        await asyncio.to_thread(station.thread.join, self.seconds if done else 0)
