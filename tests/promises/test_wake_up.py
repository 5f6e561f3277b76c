"""A promise wakes the workers of other processes; until then they rest."""

import asyncio

import anyio

from reach.db.database import Database
from reach.messages.outbox import CHANNEL
from reach.messages.queue import look
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import all_sent, sign_up
from tests.support.processes.reach import running_worker
from tests.support.telemetry.metrics import value


async def test_a_commit_elsewhere_wakes_who_waits_for_messages(
    settings: Settings, database: Database
) -> None:
    """The cause itself: the event that a worker waits on is set by another's COMMIT.

    There is no worker here, so no poll could have done it.
    """
    async with opened(settings) as elsewhere, anyio.create_task_group() as group:
        due = database.subscribe(CHANNEL)
        group.start_soon(database.relay, CHANNEL)
        await eventually(due.is_set)  # it listens
        for number in range(3):
            due.clear()
            await sign_up(elsewhere, settings, f"ada{number}@example.com")
            async with asyncio.timeout(10):
                await due.wait()
        group.cancel_scope.cancel()


def transactions() -> float:
    """Count the transactions of this process that succeeded, reads and writes."""
    name = "reach_database_transaction_duration_seconds_count"
    return sum(value(name, kind=kind, result="ok") for kind in ("read", "write"))


async def test_a_worker_that_finds_nothing_rests(mailing: Settings, database: Database) -> None:
    """It asks less often than once for each ten reads that somebody does one after the other."""
    none = transactions()
    await sign_up(database, mailing, "ada@example.com")
    async with running_worker(mailing):
        await all_sent(database)
        before = transactions()
        assert before > none
        for _ in range(300):
            await database.read(look)
        assert transactions() - before - 300 < 30
