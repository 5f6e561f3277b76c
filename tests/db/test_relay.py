"""Waking up: a commit is heard in other processes, a rollback is not."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import asyncpg
import pytest
from sqlalchemy import text

from reach.db.connect import open_database
from reach.db.database import Database
from reach.db.sqlite_commits import WATCH_SECONDS
from reach.db.transaction import Transaction, notify
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.times import LATE_SECONDS

CHANNEL = "reach_test"


@asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[asyncio.Event]:
    """Listen as a process of its own does: on connections of its own, first word heard."""
    database = open_database(settings)
    heard = database.subscribe(CHANNEL)
    async with anyio.create_task_group() as group:
        group.start_soon(database.relay, CHANNEL)
        await asyncio.wait_for(heard.wait(), 10)
        heard.clear()
        yield heard
        group.cancel_scope.cancel()
    await database.close()


@pytest.fixture
async def speaker(settings: Settings) -> AsyncIterator[Database]:
    """The process that commits, with a table of its own."""
    database = open_database(settings)
    await database.write(make)
    yield database
    await database.close()


def make(tx: Transaction) -> None:
    """Make a table, empty."""
    tx.execute(text("DROP TABLE IF EXISTS numbers"))
    tx.execute(text("CREATE TABLE numbers (name varchar(20))"))


def change(tx: Transaction) -> None:
    """Change something, and announce nothing."""
    tx.execute(text("INSERT INTO numbers VALUES ('two')"))


def say(tx: Transaction, *, fail: bool = False) -> None:
    """Change something and announce it."""
    tx.execute(text("INSERT INTO numbers VALUES ('one')"))
    notify(tx, CHANNEL)
    notify(tx, CHANNEL)
    if fail:
        raise ZeroDivisionError


async def test_a_commit_is_heard(settings: Settings, speaker: Database) -> None:
    """In the process that commits, at once; in another soon; and again the next time."""
    own = speaker.subscribe(CHANNEL)
    async with listening(settings) as heard:
        for _ in range(2):
            await speaker.write(say)
            assert own.is_set()
            await asyncio.wait_for(heard.wait(), LATE_SECONDS)
            own.clear()
            heard.clear()


async def test_its_own_commits_are_no_news(
    make_settings: Callable[..., Settings], sqlite: str
) -> None:
    """What a process commits itself wakes nobody; what another one commits beside, does.

    SQLite's ``data_version`` alone tells of both.
    """
    settings = make_settings(database_url=sqlite)
    database, speaker = open_database(settings), open_database(settings)
    await database.write(make)
    heard = database.subscribe(CHANNEL)
    async with anyio.create_task_group() as group:
        group.start_soon(database.relay, CHANNEL)
        await asyncio.wait_for(heard.wait(), 10)
        heard.clear()
        ends_at = time.monotonic() + 5 * WATCH_SECONDS
        while time.monotonic() < ends_at:
            await database.write(change)
        assert not heard.is_set()
        for _ in range(3):
            await asyncio.gather(speaker.write(change), database.write(change))
            await asyncio.wait_for(heard.wait(), LATE_SECONDS)
            heard.clear()
        group.cancel_scope.cancel()
    await database.close()
    await speaker.close()


async def test_a_rollback_is_not_announced(speaker: Database) -> None:
    """Nothing happened; and what it wanted to say is not said by the next commit."""
    own, other = speaker.subscribe(CHANNEL), speaker.subscribe("another")
    with pytest.raises(ZeroDivisionError):
        await speaker.write(say, fail=True)
    assert not own.is_set()
    await speaker.write(notify, "another")
    assert other.is_set()
    assert not own.is_set()


async def test_another_process_does_not_hear_a_rollback(
    make_settings: Callable[..., Settings], postgres: str
) -> None:
    """Two that were rolled back and one commit are one word."""
    speaker = open_database(make_settings(database_url=postgres))
    await speaker.write(make)
    words: list[object] = []
    connection = await asyncpg.connect(postgres)
    await connection.add_listener(CHANNEL, lambda *word: words.append(word))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await speaker.write(say, fail=True)
    await speaker.write(say)
    await speaker.write(notify, "another")
    await eventually(lambda: words)
    await connection.execute("SELECT 1")
    assert len(words) == 1
    await connection.close()
    await speaker.close()


async def test_a_lost_listener_listens_again(
    make_settings: Callable[..., Settings], postgres: str
) -> None:
    """Its connection is ended by the server: it is soon back, and lets nothing pass unheard."""
    settings = make_settings(database_url=postgres)
    speaker = open_database(settings)
    await speaker.write(make)
    async with listening(settings) as heard:
        connection = await asyncpg.connect(postgres)
        ended = await connection.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE query ILIKE '%LISTEN%' AND pid <> pg_backend_pid() "
            "AND datname = current_database()"
        )
        assert ended == 1
        await asyncio.wait_for(
            heard.wait(), 2 * LATE_SECONDS
        )  # said of its own accord: it may have missed some
        heard.clear()
        await speaker.write(say)
        await asyncio.wait_for(heard.wait(), LATE_SECONDS)
        await connection.close()
    await speaker.close()


async def test_a_file_that_comes_late_is_heard(
    make_settings: Callable[..., Settings], sqlite: str
) -> None:
    """A file that is missing, or is another one than it was, is watched once it is there."""
    settings = make_settings(database_url=sqlite)
    file = settings.database.url.database
    assert file is not None
    aside = await anyio.Path(file).rename(f"{file}-aside")
    database = open_database(settings)
    heard = database.subscribe(CHANNEL)
    async with anyio.create_task_group() as group:
        group.start_soon(database.relay, CHANNEL)
        await anyio.lowlevel.checkpoint()
        assert not heard.is_set()
        await aside.rename(file)
        await eventually(heard.is_set)
        group.cancel_scope.cancel()
    await database.close()
