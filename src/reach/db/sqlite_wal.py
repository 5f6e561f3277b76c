"""SQLite's write-ahead log: switched on, and emptied of what was deleted."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from typing import Any

import structlog

log = structlog.get_logger("reach.db")

AGAIN_SECONDS = 1
SWITCH_SECONDS = 0.1
#: ``SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE``, which Python 3.11 does not name.
NO_CHECKPOINT_ON_CLOSE = 1006


class Scrubber:
    """Empties the log at once, or in the background as soon as nobody is in the way."""

    def __init__(self, attempt: Callable[[], Awaitable[bool]]) -> None:
        """Take how to try it once, which says whether it was done, and never fails."""
        self._attempt = attempt
        self._task: asyncio.Task[None] | None = None

    async def scrub(self) -> None:
        """Try it; if somebody is in the way, see to it that it is tried again until it is done."""
        if await self._attempt():
            return
        if self._task and not self._task.done():
            self._task.cancel()  # it may end with a try that began before this deletion
        else:
            log.warning("what was deleted stays in the write-ahead log until it can be emptied")
        self._task = asyncio.create_task(self._again(), context=Context())

    async def close(self) -> None:
        """Try what is left to do a last time."""
        if self._task and not self._task.done():
            self._task.cancel()
            await self._attempt()

    async def _again(self) -> None:
        while True:
            await asyncio.sleep(AGAIN_SECONDS)
            if await self._attempt():
                return


def switch_on(connection: sqlite3.Connection) -> None:
    """Make the file keep a log, if nobody is in the way: a copy put in place may have lost it.

    What is in the way now is gone when the next connection is made; until then all works,
    only slower. Where the log is on already, it waits for nobody.
    """
    with suppress(sqlite3.OperationalError), waiting(connection, SWITCH_SECONDS):
        connection.execute("PRAGMA journal_mode=WAL")


def empty_log(connection: Any) -> bool:
    """Fold the log into the database and empty it; whether nobody was in the way.

    It waits for no lock, and so keeps no writer waiting.
    """
    with waiting(connection, seconds=0):
        is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not is_busy


def keep_log(connection: Any) -> None:
    """Have a connection leave the log as it is when it is closed, though it be the last.

    Python knows how from 3.12 on.
    """
    if hasattr(connection, "setconfig"):
        connection.setconfig(NO_CHECKPOINT_ON_CLOSE, True)  # noqa: FBT003 - it takes no names


@contextmanager
def waiting(connection: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Wait no longer than this for locks, for a while."""
    (usual,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout={int(seconds * 1000)}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout={usual}")
