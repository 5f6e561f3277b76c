"""The messages that a worker holds: taken for a time, renewed, given back."""

import sqlite3
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import structlog
from sqlalchemy.exc import DBAPIError

from reach.db.database import Database
from reach.messages import queue
from reach.messages.front import Front
from reach.messages.model import Message
from reach.messages.outcome import Unavailable
from reach.messages.queue import Held
from reach.problems import ServiceUnavailable
from reach.telemetry.metrics import FINISHED, LEASES_HELD, LEASES_RECLAIMED

if TYPE_CHECKING:
    import asyncio

log = structlog.get_logger("reach.worker")

#: What a database may raise that is unavailable, or out of order. Neither may end a worker: what it
#: has sent and not recorded would be sent again.
FAILURES = (ServiceUnavailable, DBAPIError, sqlite3.Error)


def now_seconds() -> float:
    """Tell the time by a clock that nothing sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def reason_of(error: Exception) -> str | None:
    """Say what a failure of FAILURES was, without the row that it was about."""
    return error.detail if isinstance(error, ServiceUnavailable) else type(error).__name__


@dataclass(slots=True, eq=False)
class Holding:
    """A message in hand, and by which lease.

    ``expires`` is on the machine's clock (see ``now_seconds``): past it, another worker may have
    leased the message.
    """

    message: Message
    held: Held
    expires: float
    is_lost: bool = False
    content_began: bool = False
    #: How long its attempt has waited for a mail server's rate.
    waited_seconds: float = 0.0

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
        #: All that is held, whether it waits for its turn or not.
        self.in_hand: set[Holding] = set()
        #: What waits for its turn, the longest first.
        self.waiting: deque[Holding] = deque()
        #: What is to go within a second, when its domain may be sent it; and what then puts it
        #: among those that wait.
        self.parked: dict[Holding, asyncio.TimerHandle] = {}
        #: How many of these the last lease has added.
        self.newest = 0
        #: Where what is due begins.
        self.front = Front()

    async def take(self, limit: int) -> int:
        """Lease up to ``limit`` messages, which then wait; returns how many. Raises Unavailable.

        Those that are suppressed are counted, and ended: first, for once the others wait, any slot
        may take one, and they are to be sorted (see ``Throttle.sort``) before anything else runs.
        """
        expires = now_seconds() + self._seconds
        leased = await self.database.write(
            queue.lease_due,
            limit=limit,
            lease_seconds=self._seconds,
            since=self.front.since,
        )
        self.front.note_leased(len(leased))
        if suppressed := [one for one in leased if one.state == "suppressed"]:
            await self._end(suppressed)
        to_send = [message for message in leased if message.state == "queued"]
        for message in to_send:
            holding = Holding(message, Held(message.id, message.lease), expires)
            self.in_hand.add(holding)
            self.waiting.append(holding)
            if message.lease - message.recorded_lease > 1:
                LEASES_RECLAIMED.inc()
        self.newest = len(to_send)
        LEASES_HELD.inc(self.newest)
        return len(leased)

    async def _end(self, suppressed: Collection[Message]) -> None:
        """End messages that are not to be sent; if that fails, they fall due by themselves."""
        held = [Held(message.id, message.lease) for message in suppressed]
        try:
            await self.database.write(queue.end_suppressed, held)
        except FAILURES as error:
            log.warning("cannot release", reason=reason_of(error))
            return
        FINISHED.labels("suppressed").inc(len(held))
        log.info("messages suppressed", count=len(held))

    def take_waiting(self) -> Sequence[Holding]:
        """Take all that wait, or are parked; they stay in hand."""
        for timer in self.parked.values():
            timer.cancel()
        waiting = [*self.waiting, *self.parked]
        self.waiting.clear()
        self.parked.clear()
        return waiting

    def drop(self, holding: Holding) -> None:
        """Forget it: its outcome is recorded, or it is another worker's."""
        if holding in self.in_hand:
            self.in_hand.remove(holding)
            LEASES_HELD.dec()

    async def give_back(
        self,
        holdings: Collection[Holding],
        reason: Unavailable | None = None,
        *,
        delay_seconds: float = 0,
    ) -> None:
        """Release what is not to be tried now; if that fails, it falls due by itself."""
        text = reason.words if reason else None
        await self.put_off(dict.fromkeys(holdings, delay_seconds), text)

    async def put_off(self, delays: Mapping[Holding, float], reason: str | None) -> None:
        """Release each, to be due after a time in seconds of its own."""
        holdings = [*delays]
        held = {holding.held: delay for holding, delay in delays.items()}
        try:
            if held:
                await self.database.write(queue.release, held, reason=reason, delays=held)
        except FAILURES as error:
            log.warning("cannot release", reason=reason_of(error))
        for holding in holdings:
            self.drop(holding)

    async def keep(self) -> None:
        """Renew every lease in hand each third of its time; runs until cancelled.

        What has waited for a whole third is given back instead: this worker's slots are all
        taken by a mail server that does not answer, and another worker's may not be.
        """
        stale: set[Holding] = set()
        while True:
            await anyio.sleep(self._seconds / 3)
            stale.intersection_update(self.waiting)
            for holding in stale:
                self.waiting.remove(holding)
            await self.give_back(stale)
            stale = set(self.waiting)
            if self.in_hand:
                await self._renew(list(self.in_hand))

    async def _renew(self, holdings: Sequence[Holding]) -> None:
        expires = now_seconds() + self._seconds
        held = [holding.held for holding in holdings]
        try:
            kept = await self.database.write(queue.renew, held, lease_seconds=self._seconds)
        except FAILURES as error:
            log.warning("cannot renew leases", reason=reason_of(error))
            return
        for holding in holdings:
            if holding.message.id in kept:
                holding.expires = expires
            else:
                holding.is_lost = True
