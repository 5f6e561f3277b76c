"""Two processes that come from opposite ends, and what meets in the middle."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import asyncpg

from reach.db.database import Database
from reach.idempotency.stored import IdempotencyKey
from reach.messages.model import Message
from reach.messages.outcome import Deferred
from reach.messages.queue import AttemptOutcome
from reach.people.address import parse_address
from reach.people.schemas import SignUp, Submission
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import fetch
from tests.support.database.outboxes import attempt_outcomes
from tests.support.database.stored import addresses, messages_in

COUNT = 200
#: One that lies in the middle, from either end.
MIDDLE = addresses(COUNT)[COUNT // 2]
BLOCKED = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
#: How many messages nobody has locked.
FREE = "SELECT count(*) FROM (SELECT id FROM messages FOR UPDATE SKIP LOCKED) AS free"


async def are_blocked(settings: Settings, count: int) -> bool:
    """Whether so many wait for a lock."""
    return await fetch(settings, BLOCKED) == count


@asynccontextmanager
async def both_meet(settings: Settings, lock: str) -> AsyncIterator[None]:
    """Hold a row that lies in the middle of two ways, until both stand still on theirs.

    Those who come from opposite ends have each locked half of what the other wants by then.
    """
    holder = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        await holder.execute("BEGIN")
        await holder.execute(lock, MIDDLE)
        yield
        await eventually(partial(are_blocked, settings, 2))
        await holder.execute("ROLLBACK")
    finally:
        holder.terminate()


def requests(*, with_keys: bool = False) -> list[Submission[SignUp]]:
    """Everybody's sign-up, each with a key of its own, or with none."""
    return [
        Submission(
            SignUp.model_construct(email=parse_address(address), name="Ada", description=None),
            IdempotencyKey((("public", "/v1/signups", address),), ("f",)) if with_keys else None,
        )
        for address in addresses(COUNT)
    ]


async def waiting_in(database: Database) -> list[str]:
    """Whom the messages are for that wait: of each person's, only the newest does."""
    return [one.recipient for one in await messages_in(database) if one.state == "queued"]


def deferred(shares: Sequence[Message]) -> Sequence[AttemptOutcome]:
    """Say of each message that it was not taken."""
    return attempt_outcomes([(message, Deferred("busy")) for message in shares], 1000)
