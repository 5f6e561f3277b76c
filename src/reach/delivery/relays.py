"""The ways out: mail servers in order of preference, each with its circuit breaker and its rate.

The first one that is not open sends everything. One that is half-open gets a message at a time, and
the next one gets the others. So mail moves on within the attempt that finds a server unavailable,
and comes back as soon as the server has dealt with one message.
"""

import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import anyio

from reach.delivery.circuit_breaker import CircuitBreaker
from reach.delivery.leases import Holding
from reach.delivery.pace import Pace
from reach.mail.compose import Mail
from reach.messages.outcome import Outcome, Unavailable
from reach.settings import Settings
from reach.settings.urls import SmtpUrl
from reach.smtp.oauth import tokens_of
from reach.smtp.sender import Sender
from reach.telemetry.metrics import CIRCUIT_BREAKER_OPEN

#: While there is a next server, one may take so long to be reached, and again for each of its first
#: words: the greeting, TLS, EHLO, the login.
FAILOVER_SECONDS = 4.0
NONE_LEFT = "no mail server takes messages now"


class Relay:
    """One mail server of this worker. ``number`` is its place in the order, from 1."""

    def __init__(
        self,
        settings: Settings,
        server: SmtpUrl,
        sender: Sender,
        number: int = 1,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin with its circuit breaker closed."""
        self.number, self.sender = number, sender
        self.host = f"{server.host}:{server.port}"
        self.pace = Pace(server.rate) if server.rate else None
        self.breaker = CircuitBreaker(settings, number, on_change)
        #: How many messages it is given at this moment, those that wait for their turn among them.
        self.under_way = 0


class Relays:
    """The mail servers of a worker."""

    def __init__(self, settings: Settings, servers: Sequence[SmtpUrl]) -> None:
        """Connect to nothing yet. Raises BadSettings if a file that TLS needs cannot be used."""
        self._most_slots = settings.worker_slots
        self._changed = anyio.Event()
        self.all: Sequence[Relay] = ()
        tokens = tokens_of(settings)
        self.all = [
            Relay(
                settings,
                server,
                Sender(
                    settings,
                    server,
                    tokens=tokens,
                    connect_seconds=FAILOVER_SECONDS if number < len(servers) else None,
                ),
                number,
                self._note_change,
            )
            for number, server in enumerate(servers, 1)
        ]
        self._note_change()

    def _note_change(self) -> None:
        """A circuit breaker has opened, or closed."""
        CIRCUIT_BREAKER_OPEN.set(bool(self.all) and all(one.breaker.stops for one in self.all))
        self._changed.set()
        self._changed = anyio.Event()

    @property
    def is_open(self) -> bool:
        """Whether no server may be sent anything."""
        return all(relay.breaker.is_open for relay in self.all)

    @property
    def is_half_open(self) -> bool:
        """Whether no server may be sent more than one message at a time."""
        return all(relay.breaker.is_half_open for relay in self.all)

    @property
    def slots(self) -> int:
        """How many messages may be sent at the same time: one to each that is half-open.

        What comes after the first that is closed is not needed.
        """
        slots = 0
        for relay in self.all:
            breaker = relay.breaker
            if not breaker.is_half_open:
                slots += breaker.slots
                break
            slots += not breaker.is_open
        return min(self._most_slots, max(slots, 1))

    @property
    def reason(self) -> Unavailable | None:
        """Why nothing can be sent, by the first one's words; None if something can."""
        return self.all[0].breaker.reason if self.is_open else None

    @property
    def hold_seconds(self) -> float:
        """How long a message waits that no server took: until others have had their turn."""
        return min(relay.breaker.hold_seconds for relay in self.all)

    async def wait_until_not_open(self) -> None:
        """Wait until one is half-open or closed."""
        while self.is_open:
            await self._changed.wait()

    async def send(self, mail: Mail, holding: Holding) -> Outcome:
        """Hand it to the first server that takes messages; to the next if that is unavailable.

        A refusal that is about the message is not tried elsewhere. Unavailable: none took it.
        """
        refusal: Unavailable | None = None
        tried: list[Relay] = []
        while (relay := self._choose(tried)) is not None:
            relay.under_way += 1
            try:
                if relay.pace is not None and not await self._turn(relay, relay.pace, holding):
                    continue
                outcome = await relay.sender.send(mail, still_held=holding.may_send_content)
            finally:
                relay.under_way -= 1
            outcome = relay.breaker.judge(outcome, holding.message)
            if len(self.all) > 1:
                outcome = _signed(outcome, relay, refusal)
            if not isinstance(outcome, Unavailable):
                return outcome
            refusal = outcome
            tried.append(relay)
        return refusal or Unavailable(NONE_LEFT)

    def _choose(self, tried: Sequence[Relay]) -> Relay | None:
        """Find the first that may be sent something now; None if there is none, or all had it."""
        busy: Relay | None = None
        for relay in self.all:
            breaker = relay.breaker
            if breaker.is_open or relay in tried:
                continue
            if not breaker.is_half_open or not relay.under_way:
                return relay
            busy = busy or relay
        return busy

    @staticmethod
    async def _turn(relay: Relay, pace: Pace, holding: Holding) -> bool:
        began = time.monotonic()
        try:
            return await pace.turn(relay.breaker)
        finally:
            holding.waited_seconds += time.monotonic() - began

    def keepers(
        self, on_open: Callable[[], None], tell: Callable[[Relay], Awaitable[None]]
    ) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """Give what is to run as long as the worker: it probes each server that is open."""

        def keeper(relay: Relay) -> Callable[[], Coroutine[Any, Any, None]]:
            async def keep() -> None:
                await relay.breaker.keep(relay.sender.probe, on_open, lambda: tell(relay))

            return keep

        return [keeper(relay) for relay in self.all]

    async def close(self) -> None:
        """Close what is idle."""
        async with anyio.create_task_group() as group:
            for relay in self.all:
                group.start_soon(relay.sender.close)


def _signed(outcome: Outcome, relay: Relay, before: Unavailable | None) -> Outcome:
    """Say in an outcome's words which server it was, and what those before it said."""
    moved = f" (after {before.words})" if before else ""
    return replace(outcome, text=f"{relay.host}: {outcome.text}{moved}")
