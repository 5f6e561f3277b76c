"""Tallies are what counting would give, whatever is done, by whomever, and however it ends."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from sqlalchemy import delete, func, select, text, update

from reach.db import counters
from reach.db.database import Database
from reach.db.migrate import VERSIONS, newest, upgrade
from reach.db.transaction import Transaction
from reach.db.types import new_id, now
from reach.messages.model import STATES, messages
from reach.people.model import people
from reach.settings import Settings
from tests.support.databases import create_database, drop_database
from tests.support.db import rule
from tests.support.db.tallied import OTHERS, are_true, counted, flows, levels, row_count
from tests.support.db.walks import Walk
from tests.support.messages.outboxes import DAY
from tests.support.promises.stored import addresses, opened, sign_up

#: By their numbers: statements of migration 0006 that count, on Postgres.
COUNTING = (28, 31, 35)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """An empty database."""
    async with opened(settings) as found:
        yield found


@pytest.mark.parametrize("seed", [1, 2])
async def test_they_follow_all_that_is_done(
    database: Database, settings: Settings, seed: int
) -> None:
    """Sign-ups, links, deliveries, erasures, sweeps; and what is rolled back counts nothing."""
    walk, seen = Walk(database, settings, seed), Counter[str]()
    expected: dict[str, int] = {}
    for _ in range(12):
        await walk.go(10)
        assert await database.read(levels) == await database.read(counted)
        seen.update(await database.read(levels))
        expected = {"sign_ups": walk.sign_ups, "deliveries": walk.deliveries}
        assert {**dict.fromkeys(expected, 0), **await database.read(flows)} == expected
    assert all(seen.values()), seen
    assert all(expected.values())


async def test_they_hold_among_many_writers(database: Database, settings: Settings) -> None:
    """Who write at the same time, and of whom some fold, take nothing from each other.

    At each moment in between, too, a reader finds them true.
    """
    walks = [Walk(database, settings, seed) for seed in range(10, 14)]
    finished = anyio.Event()
    tallied = select(func.sum(counters.counters.c["count"])).where(
        counters.counters.c.name.in_(STATES), counters.counters.c.hour == counters.LEVEL
    )
    every = select(func.count()).select_from(messages)
    difference = select(tallied.scalar_subquery() - every.scalar_subquery())

    def is_true(tx: Transaction) -> bool:
        return (tx.execute(difference).scalar() or 0) == 0  # in one statement, and so at one moment

    async def look() -> None:
        while not finished.is_set():
            assert await database.read(is_true)
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as around:
        around.start_soon(look)
        async with anyio.create_task_group() as group:
            for walk in walks:
                group.start_soon(walk.go, 40)
        finished.set()
    assert await database.read(levels) == await database.read(counted)
    found = await database.read(flows)
    assert found["sign_ups"] == sum(walk.sign_ups for walk in walks) > 0
    assert found["deliveries"] == sum(walk.deliveries for walk in walks) > 0


async def test_they_follow_an_operators_own_sql(database: Database, settings: Settings) -> None:
    """Any number of rows in a statement; a state and back; everything deleted."""
    await sign_up(database, settings, *addresses(300))

    def change(tx: Transaction) -> None:
        tx.execute(update(messages).values(state="sent", finished_at=now()))
        tx.execute(update(people).values(confirmed_at=now()))

    def change_back(tx: Transaction) -> None:
        some = select(messages.c.id).limit(100)
        tx.execute(update(messages).where(messages.c.id.in_(some)).values(state="failed"))
        tx.execute(update(people).values(confirmed_at=None))

    await database.write(change)
    assert await are_true(database)
    assert await database.read(flows) == {"sign_ups": 300, "deliveries": 300}
    await database.write(change_back)
    assert await are_true(database)
    assert await database.read(flows) == {"sign_ups": 300, "deliveries": 200}
    await database.write(lambda tx: tx.execute(delete(people)))
    assert set((await database.read(levels)).values()) == {0}
    assert await database.read(flows) == {"sign_ups": 300, "deliveries": 200}


async def test_emptying_a_table_empties_them(
    make_settings: Callable[..., Settings], postgres: str
) -> None:
    """TRUNCATE, which deletes no row; SQLite has none."""
    settings = make_settings(database_url=postgres)
    async with opened(settings) as database:
        await sign_up(database, settings, *addresses(3))
        await database.write(lambda tx: tx.execute(text("TRUNCATE messages CASCADE")))
        assert await database.read(levels) == {"people": 3, **dict.fromkeys(OTHERS, 0)}
        await database.write(lambda tx: tx.execute(text("TRUNCATE people CASCADE")))
        await sign_up(database, settings, *addresses(2))
        assert await are_true(database)


async def test_they_begin_with_what_is_there(database: Database, settings: Settings) -> None:
    """Migrating a database that has been used for weeks; who signs up before it counts too."""
    try:
        await database.write(make_old)
        walk = Walk(database, settings, 3, folds=False)
        await walk.go(60)
        some = select(people.c.id).order_by(people.c.id).limit(2)
        old = update(people).where(people.c.id.in_(some)).values(created_at=now(-20 * DAY))
        await database.write(lambda tx: tx.execute(old))
    finally:
        await count_again(database, settings)
    assert await are_true(database)
    found, there = await database.read(flows), await database.read(counted)
    assert found["sign_ups"] == there["people"] - 2 > 0
    assert found["deliveries"] == there["sent"] > 0
    await walk.go(30)
    assert await are_true(database)


@pytest.mark.parametrize("after", COUNTING)
async def test_they_begin_while_others_write(
    make_settings: Callable[..., Settings], postgres_url: str, after: int
) -> None:
    """On Postgres counting locks nothing, and may be interrupted: what is done meanwhile counts."""
    url = create_database(postgres_url)
    try:
        await rule.run(url, partial(upgrade, to="head"))
        settings = make_settings(database_url=url)
        async with opened(settings) as database:
            await database.write(make_old)
            walk = Walk(database, settings, 5, folds=False)
            await walk.go(40)
            interrupt = partial(rule.interrupt, folder=VERSIONS.parent, number="0006")
            assert await rule.run(url, partial(interrupt, after=after))
            assert await database.read(row_count) > 0
            await walk.go(40)
            assert not await rule.run(url, partial(interrupt, after=1000))
            await walk.go(40)
            assert await are_true(database)
    finally:
        drop_database(postgres_url, url)


async def count_again(database: Database, settings: Settings) -> None:
    """Do migration 0006 once more; what came after it is there."""
    only_this = partial(upgrade, to="0006")
    if settings.database.is_sqlite:
        await database.write(only_this)
    else:
        await rule.run(settings.database_url.get_secret_value(), only_this)
    stamp = text("UPDATE alembic_version SET version_num = :newest").bindparams(newest=newest())
    await database.write(lambda tx: tx.execute(stamp))


def make_old(tx: Transaction) -> None:
    """As if people had come and gone for weeks, before there was a tally.

    What later migrations added stays: this version needs it.
    """
    drop_tallies(tx)
    tx.execute(text("UPDATE alembic_version SET version_num = '0005'"))


def drop_tallies(tx: Transaction) -> None:
    """Take back what migration 0006 made."""
    if tx.dialect.name == "sqlite":
        made = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'tally_%'"
        drop = "DROP TRIGGER {}"
        tx.execute(text("DELETE FROM sqlite_stat1 WHERE tbl = 'tallies'"))
    else:
        made = "SELECT proname FROM pg_proc WHERE proname LIKE 'tally_%'"
        drop = "DROP FUNCTION {} CASCADE"
    for name in tx.execute(text(made)).scalars().all():
        tx.execute(text(drop.format(name)))
    tx.execute(text("DROP TABLE tallies"))


async def test_another_role_needs_no_right_on_them(
    make_settings: Callable[..., Settings], postgres: str
) -> None:
    """Nor does it need to know of them: it changes people and messages, and they follow."""
    settings = make_settings(database_url=postgres)
    role = f"helper_{new_id().hex[:8]}"
    async with opened(settings) as database:
        await sign_up(database, settings, *addresses(2))

        def help_out(tx: Transaction) -> None:
            tx.execute(text(f"CREATE ROLE {role}"))
            tx.execute(text(f"GRANT SELECT, DELETE ON people, messages, attempts TO {role}"))
            tx.execute(text(f"SET LOCAL ROLE {role}"))
            tx.execute(text("DELETE FROM people"))
            tx.execute(text("RESET ROLE"))
            tx.execute(text(f"DROP OWNED BY {role}"))
            tx.execute(text(f"DROP ROLE {role}"))

        await database.write(help_out)
        assert await database.read(levels) == dict.fromkeys(("people", *OTHERS), 0)
