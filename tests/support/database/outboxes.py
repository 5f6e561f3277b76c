"""The outbox as its workers use it, with rows moved about so that time passes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, update

from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.messages import queue
from reach.messages.model import Attempt, Message, State, messages
from reach.messages.outcome import Outcome
from reach.messages.queue import AttemptOutcome, Held
from reach.messages.recording import record_outcomes
from reach.people.model import people
from reach.settings import Settings
from tests.support.database.stored import addresses, attempts_in, messages_in, sign_up

MINUTE, HOUR, DAY = 60, 3600, 86_400
#: How long the tests hold messages, and how long they wait before a next try. Both are longer
#: than any test takes: what is to be over, a test moves.
LEASE_SECONDS, DELAY_SECONDS = 1000.0, 5000.0
#: How far a time may be from what it should be, on a busy machine.
ABOUT_SECONDS = 60.0


class Outbox:
    """The outbox of one database."""

    def __init__(self, database: Database, settings: Settings) -> None:
        """Take where it is, and the settings of its workers."""
        self.database = database
        self.settings = settings

    async def fill(self, count: int = 1) -> Sequence[Message]:
        """Promise welcomes to so many people; the oldest first."""
        await sign_up(self.database, self.settings, *addresses(count))
        return await self.all()

    async def all(self) -> Sequence[Message]:
        """Every message, the oldest first."""
        return await messages_in(self.database)

    async def only(self) -> Message:
        """The only message."""
        (message,) = await self.all()
        return message

    async def attempts(self) -> Sequence[Attempt]:
        """Every attempt, the oldest first."""
        return await attempts_in(self.database)

    async def lease(self, limit: int = 100) -> Sequence[Message]:
        """Take what is due; what is suppressed is ended, as a worker does."""
        leased = await self.database.write(
            queue.lease_due, limit=limit, lease_seconds=LEASE_SECONDS
        )
        if ended := [held_by(one) for one in leased if one.state == "suppressed"]:
            await self.database.write(queue.end_suppressed, ended)
        return leased

    async def lease_one(self) -> Message:
        """Take the one message that is due."""
        (message,) = await self.lease()
        return message

    async def record(
        self, message: Message, outcome: Outcome, delay_seconds: float = DELAY_SECONDS
    ) -> State | None:
        """Say what became of an attempt by the lease that ``message`` was taken with."""
        return (await self.record_outcomes([(message, outcome)], delay_seconds))[0]

    async def record_outcomes(
        self,
        outcomes: Sequence[tuple[Message, Outcome]],
        delay_seconds: float = DELAY_SECONDS,
    ) -> Sequence[State | None]:
        """Say what became of several in one transaction."""
        given = attempt_outcomes(outcomes, delay_seconds)
        return await self.database.write(record_outcomes, given, self.settings)

    async def renew(self, *held: Message, seconds: float = LEASE_SECONDS) -> set[UUID]:
        """Hold on to messages; the ids of those that are still held."""
        return await self.database.write(
            queue.renew, [held_by(message) for message in held], lease_seconds=seconds
        )

    async def release(self, *held: Message, reason: str | None = None) -> None:
        """Give messages back."""
        await self.database.write(
            queue.release, [held_by(message) for message in held], reason=reason
        )

    async def change(self, message: Message | None = None, **values: Any) -> None:
        """Change columns of a message (of all, if none is named)."""
        statement = update(messages).values(**values)
        if message is not None:
            statement = statement.where(messages.c.id == message.id)

        def execute(tx: Transaction) -> None:
            tx.execute(statement)

        await self.database.write(execute)

    async def erase_everybody(self) -> None:
        """Delete all people, and by cascade what is theirs."""

        def execute(tx: Transaction) -> None:
            tx.execute(delete(people))

        await self.database.write(execute)


def attempt_outcomes(
    outcomes: Sequence[tuple[Message, Outcome]], delay_seconds: float
) -> Sequence[AttemptOutcome]:
    """Say what became of attempts that have just been made."""
    time = datetime.now(UTC)
    return [
        AttemptOutcome(held_by(message), "tester:1", time, time, outcome, delay_seconds)
        for message, outcome in outcomes
    ]


def held_by(message: Message) -> Held:
    """The hold that a message was leased with."""
    return Held(message.id, message.lease)


def seconds_ahead(time: datetime | None) -> float:
    """How far a time lies in the future."""
    assert time is not None
    return (time - datetime.now(UTC)).total_seconds()
