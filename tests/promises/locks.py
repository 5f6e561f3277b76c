"""Real locks that a test holds, and whether anybody stands before them."""

import fcntl
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import asyncpg

from reach.settings import Settings

#: So that a message's row can be read but not changed, or no message be added.
ROWS_OF_MESSAGES = "SELECT id FROM messages FOR UPDATE"
TABLE_OF_MESSAGES = "LOCK TABLE messages IN EXCLUSIVE MODE"


@asynccontextmanager
async def held(settings: Settings, lock: str) -> AsyncIterator[None]:
    """Hold ``lock`` on Postgres; on SQLite, which has but one, its write lock."""
    if settings.database.is_sqlite:
        file = settings.database.url.database or ""
        with closing(sqlite3.connect(file, isolation_level=None, timeout=10)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            yield
            holder.execute("ROLLBACK")
        return
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        async with connection.transaction():
            await connection.execute(lock)
            yield
    finally:
        connection.terminate()


async def is_awaited(settings: Settings, statement: str) -> bool:
    """Whether a writer stands before the lock: on Postgres, one whose statement begins so.

    On SQLite a writer has its turn among Reach's own and waits for the lock itself, before
    its transaction begins.
    """
    if settings.database.is_sqlite:
        return _turn_is_taken(Path(f"{settings.database.url.database}-turn"))
    blocked = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND wait_event_type = 'Lock' AND starts_with(query, $1)"
    )
    return bool(await fetch(settings, blocked, statement))


async def fetch(settings: Settings, query: str, *arguments: object) -> object:
    """Ask Postgres for one value, on a connection of its own."""
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        connection.terminate()


def _turn_is_taken(file: Path) -> bool:
    if not file.exists():  # nobody has written yet
        return False
    with file.open("rb") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
