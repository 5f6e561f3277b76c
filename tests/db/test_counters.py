"""Counters are what counting would give, whatever is done, by whichever process."""

from collections import Counter
from collections.abc import Callable

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from sqlalchemy import delete, func, select, text, update

from reach.db import counters
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import new_id, now
from reach.messages.model import STATES, messages
from reach.people.model import people
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.database.outboxes import Outbox
from tests.support.database.stored import addresses, sign_up
from tests.support.database.walks import OTHERS, Walk, are_true, counted, current, hourly

#: How many hourly counts there are.
HOURLY = 6


@pytest.mark.parametrize("seed", [1, 3])
async def test_they_follow_all_that_is_done(
    database: Database, settings: Settings, seed: int
) -> None:
    """Sign-ups, links, deliveries, erasures, sweeps; and what is rolled back counts nothing."""
    walk, seen = Walk(database, settings, seed), Counter[str]()
    for _ in range(12):
        await walk.go(10)
        assert await database.read(current) == await database.read(counted)
        seen.update(await database.read(current))
        assert +await database.read(hourly) == walk.done
    assert all(seen.values()), seen
    assert len(walk.done) == HOURLY, walk.done


async def test_a_failure_counts_once(database: Database, settings: Settings) -> None:
    """Whatever else is written about it later; and once more if it fails once more."""
    outbox = Outbox(database, settings)
    message = (await outbox.fill())[0]
    for count in (1, 2):
        await outbox.change(message, state="failed", finished_at=now())
        await outbox.change(message, state="failed", last_error="550 no", finished_at=now())
        assert (await database.read(hourly))["failures"] == count
        await outbox.change(message, state="queued", finished_at=None)


async def test_they_hold_among_many_writers(database: Database, settings: Settings) -> None:
    """Who write at the same time, and of whom some fold, take nothing from each other.

    At each moment in between, too, a reader finds them true.
    """
    walks = [Walk(database, settings, seed) for seed in range(10, 14)]
    finished = anyio.Event()
    tallied = select(func.sum(counters.counters.c["count"])).where(
        counters.counters.c.name.in_(STATES), counters.counters.c.hour == counters.CURRENT
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
    assert await database.read(current) == await database.read(counted)
    found = await database.read(hourly)
    assert found["sign_ups"] == sum(walk.done["sign_ups"] for walk in walks) > 0
    assert found["deliveries"] == sum(walk.done["deliveries"] for walk in walks) > 0


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
    assert await database.read(hourly) == {"sign_ups": 300, "deliveries": 300}
    await database.write(change_back)
    assert await are_true(database)
    assert await database.read(hourly) == {"sign_ups": 300, "deliveries": 200, "failures": 100}
    await database.write(lambda tx: tx.execute(delete(people)))
    assert set((await database.read(current)).values()) == {0}
    assert await database.read(hourly) == {"sign_ups": 300, "deliveries": 200, "failures": 100}


async def test_emptying_a_table_empties_them(
    make_settings: Callable[..., Settings], postgres: str
) -> None:
    """TRUNCATE, which deletes no row; SQLite has none."""
    settings = make_settings(database_url=postgres)
    async with opened(settings) as database:
        await sign_up(database, settings, *addresses(3))
        await database.write(lambda tx: tx.execute(text("TRUNCATE messages CASCADE")))
        assert await database.read(current) == {"people": 3, **dict.fromkeys(OTHERS, 0)}
        await database.write(lambda tx: tx.execute(text("TRUNCATE people CASCADE")))
        await sign_up(database, settings, *addresses(2))
        assert await are_true(database)


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
        assert await database.read(current) == dict.fromkeys(("people", *OTHERS), 0)
