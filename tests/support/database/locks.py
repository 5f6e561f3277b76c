"""Real locks that a test holds, and whether anybody stands before them."""

import asyncio
import fcntl
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import asyncpg

from reach.settings import Settings
from tests.support.clock import eventually

#: So that a message's row can be read but not changed, or no message be added.
ROWS_OF_MESSAGES = "SELECT id FROM messages FOR UPDATE"
#: How a sign-up first touches the table of messages.
SIGNS_UP = "WITH older"
TABLE_OF_MESSAGES = "LOCK TABLE messages IN EXCLUSIVE MODE"
#: COMMITs that are on the disk, and not answered: how many, and their end.
COUNT_HANGING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
END_HANGING = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


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
    return await ask(settings.database_url.get_secret_value(), query, *arguments)


async def ask(url: str, query: str, *arguments: object) -> object:
    """Ask the Postgres at ``url`` for one value, on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        connection.terminate()


async def hanging_commits(url: str) -> int:
    """Count the COMMITs of a server that are on its disk, and not answered."""
    return int(str(await ask(url, COUNT_HANGING)))


async def hang_commits(url: str) -> None:
    """Let every COMMIT of a server wait, once it is on the disk, for a standby that there is not.

    The server takes a new configuration when it likes, so this waits until a COMMIT hangs.
    """
    await ask(url, "ALTER SYSTEM SET synchronous_standby_names = 'ghost'")
    await ask(url, "SELECT pg_reload_conf()")
    probe = asyncio.create_task(ask(url, "COMMENT ON TABLE people IS 'probed'"))

    async def one_hangs() -> int:
        nonlocal probe
        if probe.done():
            probe = asyncio.create_task(ask(url, "COMMENT ON TABLE people IS 'probed'"))
        return await hanging_commits(url)

    await eventually(one_hangs)
    await ask(url, END_HANGING)
    await probe


async def let_commits_go(url: str) -> None:
    """End what ``hang_commits`` began."""
    await ask(url, "ALTER SYSTEM RESET synchronous_standby_names")
    await ask(url, "SELECT pg_reload_conf()")


def _turn_is_taken(file: Path) -> bool:
    if not file.exists():  # nobody has written yet
        return False
    with file.open("rb") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


#: Ways to hold the row of the person with the address ``$1``.
ADD_PERSON = (
    "INSERT INTO people (id, email, email_key, name, links_version, created_at, updated_at, "
    "version) VALUES (gen_random_uuid(), $1, $1, 'Eve', 0, now(), now(), 1)"
)
