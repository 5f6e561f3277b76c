"""A worker remembers where what is due begins: what lies before that costs it nothing."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import asyncpg
import pytest
from sqlalchemy import text

from reach.db.transaction import Transaction
from reach.db.types import now
from reach.messages import front, queue
from reach.messages.front import MARGIN, WORN, Front
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.outboxes import HOUR, Outbox

COUNT = 300
LOOKED_AT = text("SELECT pg_stat_get_xact_tuples_returned('ix_messages_due'::regclass)")


@asynccontextmanager
async def idle_in_transaction(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Keep a snapshot of what the first query finds."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        yield connection
    finally:
        connection.terminate()


async def test_what_was_leased_is_not_gone_through_again(
    make_settings: Callable[..., Settings], postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a session idle in transaction, for which Postgres keeps every entry of the index."""
    settings = make_settings(database_url=postgres)
    monkeypatch.setattr(front, "MARGIN", timedelta(0))  # all is promised at one time here
    known = Front()

    def looked_at(tx: Transaction, do: Callable[[Transaction], object]) -> int:
        before = tx.execute(LOOKED_AT).scalar_one()
        assert do(tx)
        return int(tx.execute(LOOKED_AT).scalar_one() - before)

    look = partial(queue.look, front=known)

    def lease(tx: Transaction) -> object:
        return queue.lease_due(tx, limit=10, lease_seconds=HOUR, since=known.since)

    async with opened(settings) as database, idle_in_transaction(postgres) as idle:
        await idle.fetch("SELECT count(*) FROM people")
        outbox = Outbox(database, settings)
        await outbox.fill(COUNT)
        await outbox.change(due_at=now(-HOUR))
        while await outbox.lease():
            pass
        await outbox.fill(1)
        assert await database.read(looked_at, look) >= COUNT  # it knows nothing yet
        assert await database.read(looked_at, look) < COUNT / 10
        assert await database.write(looked_at, lease) < COUNT / 10


async def test_what_falls_due_before_the_front_is_found(outbox: Outbox) -> None:
    """It was promised by a transaction that took long, say, or its clock was set back."""
    known = Front()

    async def is_due() -> bool:
        return (await outbox.database.read(queue.look, front=known))[0] <= 0

    late, _ = await outbox.fill(2)
    assert await is_due()
    await outbox.lease()
    assert not await is_due()
    await outbox.change(late, due_at=now(-HOUR))
    await eventually(is_due)
    (leased,) = await outbox.database.write(
        queue.lease_due, limit=2, lease_seconds=HOUR, since=known.since
    )
    assert leased.id == late.id


def test_a_front_goes_where_the_first_was_seen() -> None:
    """Not beyond the time of the look: what is promised next falls due then."""
    known, time = Front(), datetime(2026, 3, 4, tzinfo=UTC)
    assert known.is_worn, "nothing was looked at yet"
    with known.looking():
        pass
    known.note(time, 100.0)
    assert known.since == time - MARGIN
    known.note_leased(WORN + 1)
    assert known.is_worn
    known.note(time, -MARGIN.total_seconds())
    assert known.since == time - 2 * MARGIN
    assert not known.is_worn
