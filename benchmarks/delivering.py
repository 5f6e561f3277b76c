"""What a worker's transactions do with messages that are due, without the mail."""

from datetime import UTC, datetime

from reach.db.database import Database
from reach.messages import queue
from reach.messages.front import Front
from reach.messages.outcome import Sent
from reach.messages.queue import AttemptOutcome, Held
from reach.messages.recording import record_outcomes
from reach.settings import Settings

BATCH = 16


async def deliver(database: Database, settings: Settings, front: Front) -> None:
    """Look, lease ``BATCH`` messages, and record that they were sent. At least so many are due."""
    assert (await database.read(queue.look, front=front))[0] <= 0
    leased = await database.write(queue.lease_due, limit=BATCH, lease_seconds=60, since=front.since)
    at = datetime.now(UTC)
    outcomes = [
        AttemptOutcome(Held(one.id, one.lease), "w:1", at, at, Sent("250 ok", 250), 0)
        for one in leased
    ]
    states = await database.write(record_outcomes, outcomes, settings)
    assert list(states) == ["sent"] * BATCH, states
