"""Whether a database takes writes: anybody may ask, by ``/readyz``."""

import asyncio

from reach.db.database import Database
from tests.support.telemetry.metrics import value

TRANSACTIONS = "reach_database_transaction_duration_seconds_count"


async def test_who_asks_at_once_is_one_question(database: Database) -> None:
    """A flood of questions must not take the turns of those who sign up."""

    def written() -> float:
        return value(TRANSACTIONS, kind="write", result="ok")

    before = written()
    await asyncio.gather(*(database.require_writes() for _ in range(100)))
    assert written() - before == 1
    await database.require_writes()
    assert written() - before == 2


async def test_one_who_leaves_takes_the_answer_from_nobody(database: Database) -> None:
    """Nor does the first one to ask."""
    first, second = (asyncio.create_task(database.require_writes()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()
