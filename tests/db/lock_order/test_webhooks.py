"""Postgres alone: who turns a webhook on, and who records what became of attempts at it."""

import asyncio
from datetime import UTC, datetime
from functools import partial

import asyncpg
import pytest

from reach.db.database import Database
from reach.people import record
from reach.settings import Settings
from reach.webhooks import endpoints, queue
from reach.webhooks.health import record_all
from tests.support.clock import eventually
from tests.support.database.lock_order import are_blocked
from tests.support.database.locks import held
from tests.support.database.stored import addresses, sign_up
from tests.support.webhooks import add_webhook, events_in

LOCK = "SELECT id FROM webhooks FOR UPDATE"
MOVE = "UPDATE webhook_events SET due_at = now() + interval '1 hour' WHERE id = $1"


@pytest.mark.parametrize("two", ["small"], indirect=True)
async def test_turning_on_while_attempts_are_recorded(
    two: tuple[Database, Database],
    settings: Settings,
    errors: list[str],
) -> None:
    """Both lock the events by their ids, and then the webhook."""
    webhook, _ = await add_webhook(two[0], settings, "https://example.org/hooks")
    await sign_up(two[0], settings, *addresses(10))
    lease = partial(queue.lease_due, webhook_id=webhook.id, limit=40, lease_seconds=1000)
    failed = partial(queue.Tried, milliseconds=1, result="refused", status=500, answer="")
    at = datetime.now(UTC)
    first, _ = await two[0].write(lease)
    await two[0].write(record_all, [failed(one, at) for one in first], settings)
    again, _ = await two[0].write(lease)

    async with held(settings, LOCK):
        enabling = asyncio.create_task(two[0].write(endpoints.enable, webhook.id))
        await eventually(partial(are_blocked, settings, 1))
        recording = asyncio.create_task(
            two[1].write(record_all, [failed(one, at) for one in again], settings)
        )
        await eventually(partial(are_blocked, settings, 2))
    assert (await enabling).failures == 0
    assert await recording == ["waiting"] * 10
    assert errors == []


@pytest.mark.parametrize("two", ["small"], indirect=True)
async def test_the_next_event_is_called_though_it_is_being_moved(
    two: tuple[Database, Database], settings: Settings, errors: list[str]
) -> None:
    """Somebody found it behind one that ended meanwhile; nobody waits for the end of a lease."""
    webhook, _ = await add_webhook(two[0], settings, "https://example.org/hooks")
    await sign_up(two[0], settings, "ada@example.com")
    first, *_ = await events_in(two[0])
    await two[0].write(record.change, first.person_id, {"name": "Ada L."}, settings)
    _, second = await events_in(two[0])
    lease = partial(queue.lease_due, webhook_id=webhook.id, limit=1, lease_seconds=1000)
    (due,), _ = await two[0].write(lease)
    done = queue.Tried(due, datetime.now(UTC), 1, "delivered", 204, "")
    mover = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        await mover.execute("BEGIN")
        await mover.execute(MOVE, second.id)
        recording = asyncio.create_task(two[1].write(queue.record, [done]))
        await eventually(partial(are_blocked, settings, 1))
        await mover.execute("COMMIT")
    finally:
        mover.terminate()
    assert await recording == ["delivered"]
    (called,), _ = await two[0].write(lease)
    assert (called.id, errors) == (second.id, [])
