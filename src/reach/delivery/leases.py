"""The messages that a worker holds: taken for a time, renewed, given back."""

import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import anyio
import structlog
from sqlalchemy.exc import DBAPIError

from reach.db.database import Database
from reach.messages import outbox
from reach.messages.model import Message
from reach.messages.outbox import Held
from reach.messages.outcome import Unavailable
from reach.problems import ServiceUnavailable
from reach.telemetry.metrics import LEASES_HELD, LEASES_RECLAIMED

log = structlog.get_logger("reach.worker")

#: What a database may raise that is unavailable, or out of order. Neither may end a worker: what it
#: has sent and not recorded would be sent again.
FAILURES = (ServiceUnavailable, DBAPIError)


def now_seconds() -> float:
    """Tell the time by a clock that nothing sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def reason_of(error: Exception) -> str | None:
    """Say what a failure of FAILURES was, without the row that it was about."""
    return error.detail if isinstance(error, ServiceUnavailable) else type(error).__name__


@dataclass(slots=True, eq=False)
class Holding:
    """A message in hand.

    ``expires`` is on the machine's clock (see ``now_seconds``): past it, another worker may have
    leased the message.
    """

    message: Message
    expires: float
    is_lost: bool = False
    content_began: bool = False
    held: Held = field(init=False)

    def __post_init__(self) -> None:
        """Remember by which lease."""
        self.held = Held(self.message.id, self.message.lease)

    def is_current(self) -> bool:
        """Whether nobody else can have leased it by now."""
        return not self.is_lost and now_seconds() < self.expires

    def may_send_content(self) -> bool:
        """Asked by the sender just before the content: after it there is no way back."""
        self.content_began = self.is_current()
        return self.content_began


class Leases:
    """Everything one worker holds: what it sends, what waits for that, what is not recorded yet."""

    def __init__(self, database: Database, lease_seconds: float) -> None:
        """Hold nothing yet."""
        self.database = database
        self._seconds = lease_seconds
        self._in_hand: set[Holding] = set()
        self._counted = 0
        self._waiting: deque[Holding] = deque()

    def __len__(self) -> int:
        """How many messages are in hand, waiting or not."""
        return len(self._in_hand)

    @property
    def waiting(self) -> int:
        """How many messages wait for their first step."""
        return len(self._waiting)

    async def next_due_seconds(self) -> float:
        """Look how soon a message falls due; that writes nothing. Raises Unavailable."""
        return await self.database.read(outbox.next_due_seconds)

    async def take(self, limit: int) -> int:
        """Lease up to ``limit`` messages, which then wait; returns how many. Raises Unavailable."""
        expires = now_seconds() + self._seconds
        leased = await self.database.write(
            outbox.lease_due, limit=limit, lease_seconds=self._seconds
        )
        holdings = [Holding(message, expires) for message in leased]
        self._in_hand.update(holdings)
        self._count()
        LEASES_RECLAIMED.inc(sum(one.lease - one.recorded_lease > 1 for one in leased))
        self._waiting.extend(holdings)
        return len(holdings)

    def take_next(self) -> Holding:
        """Take the longest waiting; it stays in hand. Raises IndexError."""
        return self._waiting.popleft()

    def take_waiting(self) -> Sequence[Holding]:
        """Take all that wait; they stay in hand."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    def drop(self, holding: Holding) -> None:
        """Forget it: its outcome is recorded, or it is another worker's."""
        self._in_hand.discard(holding)
        self._count()

    async def give_back(
        self,
        holdings: Collection[Holding],
        reason: Unavailable | None = None,
        *,
        delay_seconds: float = 0,
    ) -> None:
        """Release what is not to be tried now; if that fails, it falls due by itself."""
        held = [holding.held for holding in holdings]
        text = reason.words if reason else None
        try:
            if held:
                await self.database.write(
                    outbox.release, held, reason=text, delay_seconds=delay_seconds
                )
        except FAILURES as error:
            log.warning("cannot release", reason=reason_of(error))
        self._in_hand.difference_update(holdings)
        self._count()

    async def keep(self) -> None:
        """Renew every lease in hand each third of its time; runs until cancelled.

        What has waited for a whole third is given back instead: this worker's slots are all
        taken by a mail server that does not answer, and another worker's may not be.
        """
        stale: set[Holding] = set()
        while True:
            await anyio.sleep(self._seconds / 3)
            stale.intersection_update(self._waiting)
            self._waiting = deque(one for one in self._waiting if one not in stale)
            await self.give_back(stale)
            stale = set(self._waiting)
            if self._in_hand:
                await self._renew(list(self._in_hand))

    def _count(self) -> None:
        LEASES_HELD.inc(len(self._in_hand) - self._counted)
        self._counted = len(self._in_hand)

    async def _renew(self, holdings: Sequence[Holding]) -> None:
        expires = now_seconds() + self._seconds
        held = [holding.held for holding in holdings]
        try:
            kept = await self.database.write(outbox.renew, held, lease_seconds=self._seconds)
        except FAILURES as error:
            log.warning("cannot renew leases", reason=reason_of(error))
            return
        for holding in holdings:
            if holding.message.id in kept:
                holding.expires = expires
            else:
                holding.is_lost = True
