"""Webhooks in tests: one that hears of everything, a worker's part in it, and a clock to turn."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from sqlalchemy import BigInteger, Table, func, select, type_coerce, update

from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import Instant
from reach.events.model import webhook_attempts, webhook_events, webhooks
from reach.settings import Settings
from reach.webhooks import endpoints, secrets
from reach.webhooks.delivery import Deliveries
from reach.webhooks.endpoints import Webhook
from reach.webhooks.secrets import Seals


async def add_webhook(
    database: Database, settings: Settings, url: str, *types: str
) -> tuple[Webhook, str]:
    """Add a webhook that hears of some types (of all, if none is named); and its secret."""
    secret, seals = secrets.generate(), Seals(settings)

    def add(tx: Transaction) -> Webhook:
        wanted = types or ("*",)
        return endpoints.add(tx, seals, url=url, name="test", types=wanted, secret=secret)

    return await database.write(add), secret


@asynccontextmanager
async def delivering(settings: Settings, database: Database) -> AsyncIterator[Deliveries]:
    """Run what a worker does for webhooks, and nothing else of it."""
    deliveries = Deliveries(settings, database)
    async with anyio.create_task_group() as group:
        group.start_soon(deliveries.run)
        yield deliveries
        group.cancel_scope.cancel()


async def events_in(database: Database) -> Sequence[Any]:
    """Every event, the oldest first."""

    def read(tx: Transaction) -> Sequence[Any]:
        columns = webhook_events.c
        return tx.execute(select(webhook_events).order_by(columns.created_at, columns.id)).all()

    return await database.read(read)


async def tries_in(database: Database) -> int:
    """How many attempts there were."""

    def count(tx: Transaction) -> int:
        return int(tx.execute(select(func.count()).select_from(webhook_attempts)).scalar_one())

    return await database.read(count)


async def turn_clock(database: Database, seconds: float) -> None:
    """Turn the clock ahead for webhooks: all that is stored of them is older by so much."""

    def turn(tx: Transaction) -> None:
        for table in (webhooks, webhook_events, webhook_attempts):
            _turn(tx, table, seconds)

    await database.write(turn)


def _turn(tx: Transaction, table: Table, seconds: float) -> None:
    times = [column for column in table.c if isinstance(column.type, Instant)]
    earlier: dict[str, Any] = {}
    for column in times:
        if tx.dialect.name == "sqlite":
            earlier[column.name] = type_coerce(column, BigInteger) - int(seconds * 1e6)
        else:
            earlier[column.name] = column - func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    tx.execute(update(table).values(earlier))
