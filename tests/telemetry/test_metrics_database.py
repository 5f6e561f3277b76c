"""Transactions are counted by what came of them; and what is counted of one, once it is sure."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

import pytest
from sqlalchemy import text

from reach.db.connect import open_database
from reach.db.database import Database
from reach.db.errors import DatabaseUnavailable
from reach.db.transaction import Transaction, after_commit
from reach.problems import Conflict
from reach.settings import Settings
from tests.support.database.locks import TABLE_OF_MESSAGES, held
from tests.support.database.stored import addresses, sign_up
from tests.support.telemetry.metrics import Since

COUNT = "reach_database_transaction_duration_seconds_count"
BUSY, CONNECTIONS = "reach_database_pool_busy", "reach_database_pool_connections"


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """A database of little patience."""
    database = open_database(settings.model_copy(update={"database_seconds": 1}))
    await database.read(nothing)
    yield database
    await database.close()


def nothing(tx: Transaction) -> None:
    """Ask for what is always there."""
    tx.execute(text("SELECT 1"))


def refuse(tx: Transaction) -> None:
    """Find that it cannot be done."""
    nothing(tx)
    raise Conflict


def fail(tx: Transaction) -> None:
    """Ask for what is never there."""
    tx.execute(text("SELECT 1 FROM messages WHERE 1 / 0 = 1 AND nosuchfunction(1)"))


async def test_transactions_are_counted_by_what_came_of_them(
    database: Database, settings: Settings
) -> None:
    """Done, refused on purpose, failed by a fault, or not possible now."""
    since = Since()
    await database.read(nothing)
    await database.write(nothing)
    await asyncio.gather(database.write(refuse), database.read(refuse), return_exceptions=True)
    await asyncio.gather(database.write(fail), database.read(fail), return_exceptions=True)
    async with held(settings, TABLE_OF_MESSAGES):
        with pytest.raises(DatabaseUnavailable):
            await sign_up(database, settings, "ada@example.com")
    every = [(kind, result) for kind in ("read", "write") for result in ("ok", "refused", "failed")]
    assert since.all_of(COUNT, "kind", "result") == dict.fromkeys(
        [*every, ("write", "unavailable")], 1
    )


async def test_who_is_busy_with_the_database_is_seen(
    database: Database, settings: Settings
) -> None:
    """How many transactions there are at the moment, and how many connections there may be."""
    since, seen = Since(), []
    await asyncio.gather(*(database.write(lambda _: seen.append(since.of(BUSY))) for _ in range(3)))
    assert (max(seen), since.of(BUSY)) == (3, 0)
    other = open_database(settings.model_copy(update={"database_connections": 7}))
    assert since.of(CONNECTIONS) == (3 if settings.database.is_sqlite else 7)
    await other.close()
    assert since.of(CONNECTIONS) == 0


async def test_callers_that_share_a_commit_are_counted(database: Database) -> None:
    """Each of them once, and the commits that they shared."""

    def work(_: Transaction, items: Sequence[int]) -> Sequence[int]:
        return items

    since, join = Since(), database.group(work)
    await asyncio.gather(*map(join, range(20)))
    commits = since.of("reach_group_commit_members_count")
    assert since.of("reach_group_commit_members_sum") == 20
    assert 1 <= commits < 20
    assert since.of("reach_group_commit_duration_seconds_count") == commits
    assert since.of("reach_group_commit_duration_seconds_sum") > 0
    assert since.of(COUNT, kind="write", result="ok") == commits


async def test_what_is_rolled_back_is_not_counted(database: Database) -> None:
    """Nor with the next transaction of its connection, which knows nothing of it."""
    done: list[str] = []

    def lose(tx: Transaction) -> None:
        after_commit(tx, partial(done.append, "lost"))
        refuse(tx)

    def keep(tx: Transaction) -> None:
        after_commit(tx, partial(done.append, "kept"))
        nothing(tx)
        assert done.count("kept") == 0

    for _ in range(5):  # on Postgres, each connection of the pool at some time
        with pytest.raises(Conflict):
            await database.write(lose)
    await database.write(keep)
    assert done == ["kept"]


async def test_a_group_that_is_run_again_counts_nobody_twice(database: Database) -> None:
    """One member's statement fails; the others, run one by one, are counted once, it never."""
    done: list[int] = []

    def work(tx: Transaction, items: Sequence[int]) -> Sequence[int]:
        for item in items:
            after_commit(tx, partial(done.append, item))
        if 7 in items:
            fail(tx)
        return items

    join = database.group(work)
    await asyncio.gather(*map(join, range(12)), return_exceptions=True)
    assert sorted(done) == [number for number in range(12) if number != 7]


async def test_the_sign_ups_of_one_commit_are_counted_each(
    database: Database, settings: Settings
) -> None:
    """One of several for an address is new; the others, and those that come later, are known."""
    since = Since()
    await sign_up(database, settings, *addresses(3))
    assert since.all_of("reach_signups_total", "result") == {"new": 3}
    await sign_up(database, settings, *addresses(4), *addresses(1))
    assert since.all_of("reach_signups_total", "result") == {"new": 4, "known": 4}
