"""The circuit breaker before a mail server.

Closed, messages are sent. Open, nothing is sent, and a probe asks now and then whether the server
takes messages again. Half-open, one message at a time is sent, until the server deals with one.
"""

import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import structlog

from reach.messages.model import Message
from reach.messages.outcome import Deferred, Outcome, Rejected, Sent, Unavailable
from reach.settings import Settings
from reach.telemetry.metrics import CIRCUIT_BREAKER_OPENINGS, SERVER_CIRCUIT_BREAKER_OPEN

log = structlog.get_logger("reach.worker")

#: So many recipients refused in a row, and nobody served, means that it is us they refuse.
REFUSALS_TO_OPEN = 20
#: So many recipients refused for what may be our fault, and nobody served between them, mean us.
SUSPECTS_TO_OPEN = 2
#: A message that is "too many" so often, while others are sent, is what the server means.
EXCESSES_TO_DEFER = 10
#: The server says "never" (RFC 5321 §4.2.1).
FINAL = range(500, 600)
#: So many messages are remembered that opened the breaker: more are not under suspicion at once.
MOST_SUSPECTS = 1000


class CircuitBreaker:
    """One worker's view of the mail server, in memory: closed, open or half-open.

    Each opening in a row waits longer than the one before, so a server that accepts a login and
    then refuses everything is not hammered.

    Whether the server refuses us or a message cannot always be told from one reply. A message that
    opens the breaker is put behind the others. If it does so again after the server has dealt with
    another, it is the message's fault, and it fails like any other. Two recipients in a row who
    are refused for reasons that may be ours mean us. One who is refused so for a day, while others
    are served, is rejected.

    While it is half-open, what is refused so goes behind the others, and it stays half-open.
    Otherwise each of a stranger's addresses that the server refuses would stop everybody's mail.

    A server that says "too many" is sent less at a time (see ``slots``). It may say so of one
    recipient: a message that is told so time and again, while others are sent, is deferred.
    """

    def __init__(
        self, settings: Settings, number: int = 1, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """Begin closed, before the server of that ``number``; tell ``on_change`` of changes."""
        self.number = number
        self._gauge = SERVER_CIRCUIT_BREAKER_OPEN.labels(str(number))
        self._on_change = on_change
        #: Whether nothing may be sent, and why.
        self.is_open = False
        self.reason: Unavailable | None = None
        #: Whether it has opened, and no message has been dealt with since.
        self.is_half_open = False
        #: How many messages may be sent at the same time: half as many after each "too many", one
        #: more after as many were sent, which is what TCP does.
        self.slots = settings.worker_slots
        self._first_seconds = settings.breaker_first_seconds
        self._cap_seconds = settings.breaker_cap_seconds
        self._openings_in_a_row = 0
        self._most_slots = settings.worker_slots
        self._slots = float(settings.worker_slots)
        self._suspect_seconds = settings.suspect_seconds
        self._lease_seconds = settings.lease_seconds
        #: Recipients refused for what may be our fault, since a message was sent.
        self._suspected: set[str] = set()
        #: When the last message was sent, on the monotonic clock.
        self._sent_at = -math.inf
        self._refused: set[str] = set()
        self._rejected_while_half_open = 0
        #: Messages that opened the breaker: has the server dealt with another one since?
        self._suspects: dict[object, bool] = {}
        #: How many messages the server has dealt with.
        self._served = 0
        #: Messages that were "too many": how often since another was dealt with, and ``_served``.
        self._excesses: dict[object, tuple[int, int]] = {}
        self._has_opened = anyio.Event()
        #: Whether the server takes nothing, to all we know: so the metrics say.
        self.stops = False
        self._gauge.set(0)

    def _show(self, *, stops: bool) -> None:
        """Tell whether the server takes nothing."""
        self.stops = stops
        self._gauge.set(stops)
        self._on_change()

    @property
    def wait_seconds(self) -> float:
        """How long to wait before the next probe."""
        doubled = self._first_seconds * 2.0 ** min(self._openings_in_a_row - 1, 32)
        return float(min(self._cap_seconds, doubled))

    @property
    def hold_seconds(self) -> float:
        """How long a message waits that opened it: until others have had their turn."""
        return self.wait_seconds if self.is_open else self._cap_seconds

    def judge(self, outcome: Outcome, message: Message) -> Outcome:
        """Note an attempt's outcome, and return what it means for its message."""
        if isinstance(outcome, Deferred) and outcome.is_suspect:
            outcome = self._judge_suspect(outcome, message)
        elif isinstance(outcome, Unavailable):
            return self._judge_unavailable(outcome, message)
        if isinstance(outcome, Rejected):
            outcome = self._judge_refusal(outcome, message.recipient)
        is_doubtful = isinstance(outcome, Deferred) and outcome.is_suspect
        if outcome.code is not None and not isinstance(outcome, Unavailable) and not is_doubtful:
            self._note_service(outcome, message)
        return outcome

    def _judge_refusal(self, rejected: Rejected, recipient: str) -> Outcome:
        """Make the twentieth in a row, each for another recipient, an Unavailable.

        From then on, until one is sent, none counts.
        """
        if rejected.code is None:
            return rejected  # our own doing: the server was not even asked
        self._refused.add(recipient)
        if len(self._refused) < REFUSALS_TO_OPEN:
            return rejected
        words = f"{REFUSALS_TO_OPEN} recipients in a row were refused; {rejected.text}"
        return self._put_behind(
            Unavailable(words, rejected.code, rejected.enhanced, was_heard=True)
        )

    def _put_behind(self, unavailable: Unavailable) -> Unavailable:
        """Open; but while it is half-open, only after twenty of these.

        So recipients who are rejected, for good or for what may be our fault, do not keep the
        others waiting. The metric says that nothing goes out, though it is tried.
        """
        self._show(stops=True)
        self._rejected_while_half_open += 1
        if not self.is_half_open or self._rejected_while_half_open >= REFUSALS_TO_OPEN:
            self.open(unavailable)
        return unavailable

    def _judge_suspect(self, deferred: Deferred, message: Message) -> Outcome:
        """Decide by the other messages whether it is us or this one."""
        now = time.monotonic()
        suspected_seconds = 0.0
        if message.suspected_at is not None:
            # Both by the database's clock: ``due_at`` is the lease's end.
            leased_at = message.due_at.timestamp() - self._lease_seconds
            suspected_seconds = leased_at - message.suspected_at.timestamp()
        is_lasting = suspected_seconds >= self._suspect_seconds
        if is_lasting and now - self._sent_at < suspected_seconds and is_final(deferred):
            return Rejected(deferred.text, deferred.code, deferred.enhanced)
        self._suspected.add(message.recipient)
        has_opened_alone = self._suspects.pop(message.id, False)
        if has_opened_alone or len(self._suspected) < SUSPECTS_TO_OPEN:
            return deferred
        self._suspect(message)
        return self._put_behind(
            Unavailable(deferred.text, deferred.code, deferred.enhanced, was_heard=True)
        )

    def _judge_unavailable(self, unavailable: Unavailable, message: Message) -> Outcome:
        if unavailable.is_rate:
            return self._judge_excess(unavailable, message)
        if unavailable.was_heard and self._suspects.get(message.id):
            return Deferred(unavailable.text, unavailable.code, unavailable.enhanced)
        if unavailable.was_heard:
            self._suspect(message)
        self.open(unavailable)
        return unavailable

    def _judge_excess(self, unavailable: Unavailable, message: Message) -> Outcome:
        times, served = self._excesses.pop(message.id, (0, 0))
        times += self._served > served
        if times > EXCESSES_TO_DEFER:
            return Deferred(unavailable.text, unavailable.code, unavailable.enhanced)
        self._excesses[message.id] = times, self._served
        _keep_few(self._excesses)
        self._slots = max(1.0, self._slots / 2)
        self.slots = int(self._slots)
        self.open(unavailable)
        return unavailable

    def _suspect(self, message: Message) -> None:
        self._suspects.setdefault(message.id, False)
        _keep_few(self._suspects)

    def _note_service(self, outcome: Outcome, message: Message) -> None:
        """The server has dealt with a message."""
        self._served += 1
        self._excesses.pop(message.id, None)
        if isinstance(outcome, Sent):
            self._refused.clear()
            self._suspected.clear()
            self._sent_at = time.monotonic()
            self._slots = min(self._most_slots, self._slots + 1 / self._slots)
            self.slots = int(self._slots)
        if not self.is_open:
            if self.is_half_open or self.stops:
                self.is_half_open = False
                self._show(stops=False)
            self._openings_in_a_row = 0
        if self._suspects:
            self._suspects.pop(message.id, None)
            self._suspects = dict.fromkeys(self._suspects, True)

    def open(self, reason: Unavailable) -> None:
        """Send nothing from now on, until a probe is answered."""
        if not self.is_open:
            self._openings_in_a_row += 1
            self.is_open = self.is_half_open = True
            self._rejected_while_half_open = 0
            CIRCUIT_BREAKER_OPENINGS.inc()
            self._show(stops=True)
        self.reason = reason
        self._has_opened.set()

    def half_open(self) -> None:
        """Let one message through: a probe was answered."""
        self.is_open, self.reason = False, None
        self._has_opened = anyio.Event()
        self._show(stops=False)

    async def wait_until_open(self) -> None:
        """Wait until it is open."""
        await self._has_opened.wait()

    async def keep(
        self,
        probe: Callable[[], Awaitable[Unavailable | None]],
        on_open: Callable[[], None],
        tell: Callable[[], Awaitable[None]],
    ) -> None:
        """While it is open, probe until the mail server lets us in; runs until cancelled.

        ``tell`` tells operators, when it opens, before each probe, and when it is open no more.
        """
        while True:
            await self._has_opened.wait()
            code = self.reason.code if self.reason else None
            log.warning("circuit breaker open", server=self.number, smtp_code=code)
            while self.is_open:
                await tell()
                await anyio.sleep(self.wait_seconds)
                if await probe() is None:
                    self.half_open()
                else:
                    self._openings_in_a_row += 1
            log.info("circuit breaker half-open", server=self.number)
            on_open()
            await tell()


def _keep_few(known: dict[object, Any]) -> None:
    """Forget the oldest message if there are too many: it is another worker's by now."""
    if len(known) > MOST_SUSPECTS:
        del known[next(iter(known))]


def is_final(outcome: Outcome) -> bool:
    """Whether the server said "never" (5yz), of whatever it was."""
    return outcome.code in FINAL
