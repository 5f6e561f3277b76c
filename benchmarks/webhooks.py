"""What a webhook costs a sign-up: two API processes take the same flood in turns, one with it.

`python -m benchmarks webhooks`. No worker runs: what is measured is the sign-up alone. Any answer
but a 202 is an error, and afterwards each person must have their event.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from sqlalchemy import func, select

from benchmarks.context import POSTGRES, Context
from benchmarks.figures import Figure, Goal
from benchmarks.watched import Api, api, take_turns, written
from reach.db.transaction import Transaction
from reach.events.model import webhook_events
from reach.webhooks import endpoints, secrets
from reach.webhooks.secrets import Seals
from tests.support.database.databases import create_database

WITHOUT = "without"


def measure(context: Context) -> list[Figure]:
    """Measure sign-ups a second, and the processor time of one, beside those without a webhook."""
    found = []
    for database in context.size.databases:
        new_url = partial(_new_url, context, database)
        with _api("webhook", context, new_url) as told, _api("none", context, new_url) as untold:
            add = partial(_add, seals=Seals(told.settings))
            asyncio.run(written(told.settings, add))
            for each in (told, untold):
                each.sign_ups = context.size.turn_sign_ups
            take_turns(told, untold, context.size.turns)
            rows = [asyncio.run(written(each.settings, _count)) for each in (told, untold)]
            assert rows == [told.sign_ups * (context.size.turns + 1), 0], rows
        title = f"sign-ups/s, {database}, one process, with a webhook"
        goal = Goal(0.9, is_least=True, beside=WITHOUT)
        found.append(Figure(title, "/s", told.per_second, {WITHOUT: untold.per_second}, goal))
        title = f"processor time of such a sign-up, {database}, with a webhook"
        goal = Goal(1.1, is_least=False, beside=WITHOUT)
        found.append(Figure(title, "µs", told.microseconds, {WITHOUT: untold.microseconds}, goal))
    return found


def _api(name: str, context: Context, new_url: Callable[[str], str]) -> AbstractContextManager[Api]:
    return api(f"webhooks-{name}", context.folder, new_url)


def _new_url(context: Context, database: str, name: str) -> str:
    if database == POSTGRES:
        return create_database(context.postgres.url)
    return f"sqlite:///{context.folder}/{name}.sqlite3"


def _add(tx: Transaction, seals: Seals) -> None:
    url, secret = "https://example.org/hooks", secrets.generate()
    endpoints.add(tx, seals, url=url, name="one", types=["*"], secret=secret)


def _count(tx: Transaction) -> int:
    return tx.execute(select(func.count()).select_from(webhook_events)).scalar_one()
