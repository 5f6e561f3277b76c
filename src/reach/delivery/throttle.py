"""What receiving domains are sent: messages to one that has a rate wait, and hold up no others.

Of what was leased, that which may go within a second is parked: it is held, and takes no slot. The
rest goes back to the outbox at once, each message due when its turn comes, to all we know. So a
long queue for one domain costs one release a message, and no look at it before its time.

The rate is that of one process. What is due is not promised to a worker: whichever leases it sends
it, if it has a turn left.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from reach.delivery.leases import Holding, Leases
from reach.settings import Settings
from reach.settings.rates import DomainRates, Rate

#: What is to go within this is held meanwhile.
PARKED_SECONDS = 1.0
#: So much sooner than its turn a message comes back: then no turn is lost to a look that is late.
LEAD_SECONDS = 0.5
#: So many messages are held meanwhile, and no more.
MOST_PARKED = 1000
#: So many domains are known; then those are forgotten that wait for nothing.
MOST_DOMAINS = 10_000


@dataclass(slots=True)
class Turns:
    """The turns of one domain, by the event loop's clock: the next, and that to come back at."""

    next_at: float = 0.0
    back_at: float = 0.0


class Throttle:
    """Sorts what was leased by when its domain may be sent it."""

    def __init__(
        self, rates: DomainRates, leases: Leases, cap_seconds: float, on_turn: Callable[[], None]
    ) -> None:
        """Begin with every domain free; ``on_turn`` is called when something may go."""
        self._rates = rates
        self._leases = leases
        self._cap_seconds = cap_seconds
        self._on_turn = on_turn
        self._domains: dict[str, Turns] = {}

    @classmethod
    def of(
        cls, settings: Settings, leases: Leases, on_turn: Callable[[], None]
    ) -> "Throttle | None":
        """Make what ``settings`` ask for; None if no domain has a rate."""
        rates = settings.receiving_rates
        return cls(rates, leases, settings.retry_cap_seconds, on_turn) if rates else None

    async def sort(self, count: int) -> None:
        """Park, or put off, those of the last ``count`` that wait whose domain is not to have them.

        Nothing else runs until they are sorted: no slot takes one of them too soon.
        """
        waiting = self._leases.waiting
        taken = [waiting.pop() for _ in range(min(count, len(waiting)))]
        delays: dict[Holding, float] = {}
        for holding in reversed(taken):
            found = self._rates.of(holding.message.recipient)
            delay_seconds = None if found is None else self._sort_one(holding, *found)
            if delay_seconds is not None:
                delays[holding] = delay_seconds
            elif holding not in self._leases.parked:
                waiting.append(holding)
        if delays:
            await self._leases.put_off(delays, "waits for its turn (REACH_DOMAIN_RATES)")

    def _sort_one(self, holding: Holding, domain: str, rate: Rate) -> float | None:
        """Give it a turn, and park it until then; or say in how many seconds it is to come back."""
        loop, interval_seconds = asyncio.get_running_loop(), rate.interval_seconds
        now = loop.time()
        turns = self._domains.get(domain) or self._know(domain, now)
        at = max(turns.next_at, now)
        if at - now <= PARKED_SECONDS and len(self._leases.parked) < MOST_PARKED:
            turns.next_at = at + interval_seconds
            if at > now:
                self._leases.parked[holding] = loop.call_at(at, self._unpark, holding)
            return None
        turns.back_at = max(turns.back_at + interval_seconds, turns.next_at - LEAD_SECONDS, now)
        delay_seconds = turns.back_at - now
        if delay_seconds > self._cap_seconds:
            # What is due later than that would be taken for the work of a clock that was wrong.
            turns.back_at -= interval_seconds
            return self._cap_seconds * random.uniform(0.5, 1)  # noqa: S311 - needs no secrecy
        return delay_seconds

    def _unpark(self, holding: Holding) -> None:
        """Have it sent before what waits: its turn is now."""
        if self._leases.parked.pop(holding, None) is not None:
            self._leases.waiting.appendleft(holding)
            self._on_turn()

    def _know(self, domain: str, now: float) -> Turns:
        if len(self._domains) >= MOST_DOMAINS:
            waiting = {name: one for name, one in self._domains.items() if one.back_at > now}
            self._domains = waiting if len(waiting) < MOST_DOMAINS else {}
        turns = self._domains[domain] = Turns()
        return turns
