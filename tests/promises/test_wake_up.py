"""A promise wakes the workers of other processes: none waits for its poll."""

import asyncio

import anyio

from reach.db.database import Database
from reach.messages.outbox import CHANNEL
from reach.settings import Settings
from tests.support.eventually import eventually
from tests.support.promises.stored import opened, sign_up


async def test_a_commit_elsewhere_wakes_whoever_waits_for_messages(
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
