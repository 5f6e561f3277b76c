"""SQLite: one writer thread, a few reader threads, full durability."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError

from reach.db import tracing
from reach.db.database import Database, Kind
from reach.db.errors import OUTCOME_UNKNOWN, TIMED_OUT, DatabaseUnavailable, NoDatabase
from reach.db.sqlite_connection import Attempt, ConnectionThread
from reach.db.sqlite_files import Place, note_closed, require_own_log
from reach.db.sqlite_wal import Scrubber
from reach.problems import ServiceUnavailable
from reach.settings import Settings
from reach.telemetry import traces

R = TypeVar("R")

READERS = 2
#: How often others' commits are looked for, and how often whether the files are still the same.
WATCH_SECONDS, LOOK_SECONDS = 0.02, 1.0
WATCH_AGAIN_SECONDS = 1
#: How long one that hangs has to come round, and close its file, when all ends.
STUCK_SECONDS = 0.25


class SqliteDatabase(Database):
    """A file, for any number of processes of one machine to share."""

    def __init__(self, settings: Settings) -> None:
        """Start the threads; open nothing yet."""
        super().__init__(settings, connections=1 + READERS)
        self._place = Place(Path(settings.database.url.database or ""))
        # Shorter than the caller's patience, so that the answer says what is wrong.
        busy_seconds = settings.database_seconds * 0.6
        self._writer = ConnectionThread("reach-writer", self._place, busy_seconds, writes=True)
        self._readers = [
            ConnectionThread(f"reach-reader-{n}", self._place, busy_seconds, writes=False)
            for n in range(READERS)
        ]
        self._next_reader = cycle(self._readers)
        self._scrubber = Scrubber(self._empty_log)

    async def _run(
        self, kind: Kind, fn: Callable[..., R], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> R:
        """Run it in the writer's thread, or in a reader's, in a snapshot of its own.

        What is written is on the disk when this returns.
        """
        thread = self._writer if kind == "write" else next(self._next_reader)
        attempt = Attempt()
        try:
            with tracing.transaction("sqlite", kind) if traces.are_on() else traces.OFF:
                async with asyncio.timeout(self.seconds):
                    done: tuple[R, set[str]] = await thread.call(
                        thread.transact, attempt, fn, args, kwargs
                    )
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
            self.announce(channel)
        return result

    async def relay(self, *channels: str) -> None:
        """Notice other processes' commits: ``data_version`` changes with every one.

        It takes microseconds and never waits, so it runs on the event loop. What was committed it
        does not say, so only the first channel is announced, whose listener looks for all.
        """
        while True:
            with suppress(sqlite3.Error, OSError, NoDatabase):
                await self._watch(channels[0])
            await asyncio.sleep(WATCH_AGAIN_SECONDS)  # the worker's own poll goes on meanwhile

    async def _watch(self, channel: str) -> None:
        """Watch until the files are others."""
        file, found = self._place.file, self._place.look()
        if self._place.opened not in (None, found):
            return  # those who read and write see to it
        require_own_log(file, found)
        address = f"{file.absolute().as_uri()}?mode=ro"
        self._place.unwatched.clear()  # from here on, nobody reopens without us
        try:
            if found == self._place.look():
                with closing(sqlite3.connect(address, uri=True, timeout=0)) as watcher:
                    await self._watch_by(watcher, channel)
        finally:
            self._place.unwatched.set()

    async def _watch_by(self, watcher: sqlite3.Connection, channel: str) -> None:
        """Announce ``channel`` after each commit that is not this process's own.

        The version changes with our own commits too; whether there was another's beside, only the
        connection that makes ours can tell.
        """
        seen, files, look_at = None, None, 0.0
        asking: asyncio.Task[None] | None = None
        while not self._place.is_closing:
            (version,) = watcher.execute("PRAGMA data_version").fetchone()
            if version != seen and (asking is None or asking.done()):
                seen, asking = version, asyncio.create_task(self._announce_others(channel))
            if time.monotonic() >= look_at:
                found = self._place.look()
                if files not in (None, found):
                    return
                files, look_at = found, time.monotonic() + LOOK_SECONDS
            await asyncio.sleep(WATCH_SECONDS)

    async def _announce_others(self, channel: str) -> None:
        have_others = True
        with suppress(sqlite3.Error, DBAPIError):  # then nobody knows
            have_others = await self._writer.call(self._writer.have_others_committed)
        if have_others:
            self.announce(channel)

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
