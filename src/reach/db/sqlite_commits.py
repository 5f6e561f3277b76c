"""Other processes' commits to a SQLite file, noticed.

``PRAGMA data_version`` changes with each of them. To read it takes microseconds and never waits,
so it is read on the event loop.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Protocol

from sqlalchemy.exc import DBAPIError

from reach.db.errors import NoDatabase
from reach.db.sqlite_files import Place, require_own_log

#: How often others' commits are looked for (5 µs each), and whether the files are still the same.
WATCH_SECONDS, LOOK_SECONDS = 0.005, 1.0
WATCH_AGAIN_SECONDS = 1


class Writer(Protocol):
    """The thread with the connection that makes this process's own commits."""

    def call(self, fn: Callable[[], bool]) -> "asyncio.Future[bool]":
        """Run ``fn`` there."""

    def have_others_committed(self) -> bool:
        """Whether another connection has committed since this was last asked, or nobody knows."""


async def watch(place: Place, writer: Writer, announce: Callable[[], None]) -> None:
    """Call ``announce`` after commits that are not this process's own; runs until cancelled."""
    while True:
        with suppress(sqlite3.Error, OSError, NoDatabase):
            await _watch_files(place, writer, announce)
        await asyncio.sleep(WATCH_AGAIN_SECONDS)  # the worker's own poll goes on meanwhile


async def _watch_files(place: Place, writer: Writer, announce: Callable[[], None]) -> None:
    """Watch until the files are others."""
    file, found = place.file, place.look()
    if place.opened not in (None, found):
        return  # those who read and write see to it
    require_own_log(file, found)
    address = f"{file.absolute().as_uri()}?mode=ro"
    place.unwatched.clear()  # from here on, nobody reopens without us
    try:
        if found == place.look():
            with closing(sqlite3.connect(address, uri=True, timeout=0)) as watcher:
                await _watch_by(watcher, place, writer, announce)
    finally:
        place.unwatched.set()


async def _watch_by(
    watcher: sqlite3.Connection, place: Place, writer: Writer, announce: Callable[[], None]
) -> None:
    """Look at the version, which changes with our own commits too.

    Whether there was another's beside, only the connection that makes ours can tell.
    """
    seen, files, look_at = None, None, 0.0
    asking: asyncio.Task[None] | None = None
    try:
        while not place.is_closing:
            (version,) = watcher.execute("PRAGMA data_version").fetchone()
            if version != seen and (asking is None or asking.done()):
                seen, asking = version, asyncio.create_task(_announce_others(writer, announce))
            if time.monotonic() >= look_at:
                found = place.look()
                if files not in (None, found):
                    return
                files, look_at = found, time.monotonic() + LOOK_SECONDS
            await asyncio.sleep(WATCH_SECONDS)
    finally:
        if asking is not None:
            asking.cancel()


async def _announce_others(writer: Writer, announce: Callable[[], None]) -> None:
    have_others = True
    with suppress(sqlite3.Error, DBAPIError):  # then nobody knows
        have_others = await writer.call(writer.have_others_committed)
    if have_others:
        announce()
