"""One attempt at delivering a message: composed, sent, and recorded however long that takes."""

import math
import os
import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from functools import cache, partial

import anyio
import anyio.abc
import structlog
from opentelemetry.trace import Span, SpanContext, SpanKind

from reach.delivery.circuit_breaker import CircuitBreaker
from reach.delivery.leases import FAILURES, Holding, Leases, reason_of
from reach.mail.compose import CannotCompose, Composer
from reach.messages import queue
from reach.messages.model import Message, State
from reach.messages.outcome import Deferred, Outcome, Rejected, Sent, Unavailable, Unknown
from reach.messages.queue import MOST_VANISHED, AttemptOutcome, record_outcomes
from reach.settings import Settings
from reach.smtp.sender import Sender
from reach.telemetry import traces
from reach.telemetry.logging import frames
from reach.telemetry.metrics import ATTEMPT_SECONDS, ATTEMPTS, FINISHED, SENT_SECONDS, SLOTS_BUSY

log = structlog.get_logger("reach.worker")

JITTER = 0.2
#: How long an attempt is taken to last before the first has.
FIRST_GUESS_SECONDS = 0.25
#: A slot goes on while what it did is being recorded. What is accepted and not recorded when a
#: worker dies is sent again, so this is a trade: with 1 a slot, a third fewer emails a second.
UNRECORDED_PER_SLOT = 3
#: How often it is looked whether the database is back.
LOOK_SECONDS = 1.0
#: What the database did not take is recorded again this soon: before anybody else can lease the
#: message and send it a second time.
RECORD_AGAIN_SECONDS = 0.1

#: By the first digit of the mail server's reply code; others are no last reply.
_CLASSES = {2: "2xx", 4: "4xx", 5: "5xx"}

_attempts = cache(ATTEMPTS.labels)
_sent_seconds = cache(SENT_SECONDS.labels)
#: What there can be is there from the start, at 0: ``rate`` does not see a series' first event.
_EXPECTED: Mapping[type[Outcome], Sequence[str]] = {
    Sent: ("2xx",),
    Deferred: ("4xx", "none"),
    Rejected: ("5xx", "none"),
    Unknown: ("none",),
    Unavailable: ("4xx", "5xx", "none"),
}
for _outcome, _found in _EXPECTED.items():
    for _class in _found:
        _attempts(_outcome.name, _class)
_finished = {state: FINISHED.labels(state) for state in ("sent", "failed")}


class Attempts:
    """What a worker attempts, and records; it knows whether the database is unavailable.

    ``is_unavailable`` may be set by others who find it so; ``gives_up_at`` is on anyio's clock:
    from then on, what the database did not take is given up, and while it takes nothing, all.
    """

    def __init__(
        self,
        settings: Settings,
        composer: Composer,
        sender: Sender,
        leases: Leases,
        on_recorded: Callable[[], None],
    ) -> None:
        """Take the collaborators; ``on_recorded`` is called when a message is out of hand."""
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self.breaker = CircuitBreaker(settings)
        self.is_unavailable = False
        self.gives_up_at = math.inf
        self._settings = settings
        self._database = leases.database
        self._composer = composer
        self._sender = sender
        self._leases = leases
        self._on_recorded = on_recorded
        # Sign-ups cancel messages of their own choice first: in one transaction with them,
        # recording would lock messages in two orders.
        self._record_outcome = leases.database.group(
            partial(record_outcomes, settings=settings), apart=True
        )
        self._places = anyio.Semaphore(UNRECORDED_PER_SLOT * settings.worker_slots)
        self._unrecorded = 0
        #: Whether the last answer of the database, to any of them, was none.
        self._has_failed = False
        self._usual_seconds = FIRST_GUESS_SECONDS
        #: When the attempts under way began, on the monotonic clock.
        self._began: dict[Holding, float] = {}
        for template in composer.templates:
            _sent_seconds(template)

    def expected_seconds(self, slots: int) -> float:
        """How long an attempt takes, to all we know: longer if every one under way already does."""
        if len(self._began) < slots:
            return self._usual_seconds
        return max(self._usual_seconds, time.monotonic() - max(self._began.values()))

    async def make(self, holding: Holding, deliveries: anyio.abc.TaskGroup) -> None:
        """Attempt it; what became of it is recorded beside the next attempt."""
        if not holding.is_current():
            self._leases.drop(holding)
            return
        message, started_at = holding.message, datetime.now(UTC)
        # Its lines carry the trace of its request, which may be days old, and of another process.
        caused_by = traces.parse(message.trace_context or "")
        token = traces.current.set(caused_by)
        self._began[holding] = time.monotonic()
        SLOTS_BUSY.inc()
        try:
            with _span_of(message, caused_by) if traces.process.tracer else traces.OFF as span:
                try:
                    outcome = await self._send(holding)
                except anyio.get_cancelled_exc_class():
                    with anyio.CancelScope(shield=True):
                        await self._cut_off(holding, started_at)
                    raise
                finally:
                    SLOTS_BUSY.dec()
                    took = time.monotonic() - self._began.pop(holding)
                self._usual_seconds += 0.1 * (took - self._usual_seconds)
                outcome = self.breaker.judge(outcome, message)
                if span.is_recording():
                    _describe(span, outcome)
                with anyio.CancelScope(shield=True):
                    await self._places.acquire()
                deliveries.start_soon(self._record_beside, holding, outcome, started_at, took)
        finally:
            traces.current.reset(token)

    async def _send(self, holding: Holding) -> Outcome:
        message = holding.message
        if message.lease - message.recorded_lease > MOST_VANISHED:
            return Deferred(f"{MOST_VANISHED} workers in a row vanished while they held it")
        try:
            mail = self._composer.compose(message)
            return await self._sender.send(mail, still_held=holding.may_send_content)
        except CannotCompose as error:
            log.warning("message cannot be composed", **_uncomposed(message, error))
            return Rejected(f"cannot be composed: {error}")
        except Exception as error:  # noqa: BLE001 - it must not take its neighbours down
            log.error("attempt crashed", reach_message_id=str(message.id), **frames(error))
            return Unknown("crashed here") if holding.content_began else Deferred("crashed here")

    async def _cut_off(self, holding: Holding, started_at: datetime) -> None:
        """The grace time is over in the middle of an attempt."""
        if holding.content_began:
            took = time.monotonic() - self._began[holding]
            await self._record(holding, Unknown("the worker was stopped"), started_at, took)
        else:
            await self._leases.give_back([holding])
        self._leases.drop(holding)

    async def _record_beside(
        self, holding: Holding, outcome: Outcome, started_at: datetime, took: float
    ) -> None:
        try:
            with anyio.CancelScope(shield=True):
                if not traces.process.tracer:
                    await self._record(holding, outcome, started_at, took)
                    return
                with traces.child("record the outcome", of_ended=True):
                    await self._record(holding, outcome, started_at, took)
        finally:
            self._leases.drop(holding)
            self._places.release()
            self._on_recorded()

    async def _record(
        self, holding: Holding, outcome: Outcome, started_at: datetime, took: float
    ) -> None:
        """Count it, tell it and record it; release what met an open breaker."""
        message, finished_at = holding.message, datetime.now(UTC)
        smtp_class = _CLASSES.get((outcome.code or 0) // 100, "none")
        _attempts(outcome.name, smtp_class).inc()
        ATTEMPT_SECONDS.observe(took)
        if isinstance(outcome, Sent):
            log.info("sent", **_told(message, outcome, took))
        else:
            log.info("not sent", **_told(message, outcome, took))
        if isinstance(outcome, Unavailable):
            await self._give_back(holding, outcome)
            return
        delay_seconds = 0.0
        if not isinstance(outcome, Sent):
            delay_seconds = next_delay_seconds(
                message.failures + 1,
                first_seconds=self._settings.retry_first_seconds,
                cap_seconds=self._settings.retry_cap_seconds,
            )
        state = await self._keep(
            AttemptOutcome(
                holding.held, self.worker, started_at, finished_at, outcome, delay_seconds
            )
        )
        _count(message, state, finished_at)
        if state == "failed":
            log.warning("message failed", **_told(message, outcome, took))
        if state is None:
            log.warning(
                "outcome recorded too late", reach_message_id=str(message.id), outcome=outcome.name
            )

    async def _keep(self, attempt_outcome: AttemptOutcome) -> State | None:
        """Record it, however long the database is unavailable: the state; None if too late.

        Repeating one whose COMMIT was lost is harmless: a lease is recorded once.
        """
        self._unrecorded += 1
        has_said = False
        try:
            while not (self._has_failed and anyio.current_time() > self.gives_up_at):
                try:
                    state = await self._record_outcome(attempt_outcome)
                except FAILURES as error:
                    if not has_said:
                        log.warning("cannot record the outcome yet", reason=reason_of(error))
                    self.is_unavailable = self._has_failed = has_said = True
                    await anyio.sleep(RECORD_AGAIN_SECONDS)
                else:
                    self._has_failed = False
                    return state
            return None
        finally:
            self._unrecorded -= 1

    async def _give_back(self, holding: Holding, unavailable: Unavailable) -> None:
        """Release what met an open breaker, and what waits for it."""
        delay_seconds = self.breaker.hold_seconds if unavailable.was_heard else 0
        await self._leases.give_back([holding], unavailable, delay_seconds=delay_seconds)
        if self.breaker.is_open:
            await self._leases.give_back(self._leases.take_waiting(), unavailable)

    async def wait_until_back(self) -> None:
        """Wait until the database is back, and what became of attempts is recorded.

        Leases ran out meanwhile: to lease before that would be to send again what was accepted,
        and could not be recorded, by another worker or by this one.
        """
        while self.is_unavailable:
            with suppress(*FAILURES):
                await self._database.read(queue.look)
                self.is_unavailable = self._unrecorded > 0
            await anyio.sleep(LOOK_SECONDS)


def next_delay_seconds(
    failures: int, *, first_seconds: float = 30.0, cap_seconds: float = 4 * 3600.0
) -> float:
    """Choose how long to wait after the ``failures``-th failure: doubling to a cap, ±20 %.

    The jitter keeps the end of an outage from becoming a stampede. RFC 5321 §4.5.4.1 asks
    relays for 30 minutes between tries and 4-5 days before giving up; first tries are sooner
    here because we hand over to a relay, whose own outages are short.

    Raises ValueError if ``failures`` < 1.
    """
    if failures < 1:
        raise ValueError("nothing has failed yet")
    # The exponent is bounded first: 2.0 ** 5000 would overflow.
    delay_seconds = min(cap_seconds, first_seconds * 2.0 ** min(failures - 1, 64))
    return delay_seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - jitter needs no secrecy


def _span_of(message: Message, caused_by: SpanContext | None) -> AbstractContextManager[Span]:
    """Begin the span of an attempt: a trace of its own, linked to that of the request.

    A trace that goes on for days, or begins again with each retry, no tool can show.
    """
    names: dict[str, str | int] = {
        "reach.message.id": str(message.id),
        "reach.message.template": message.template,
        "reach.message.attempt": message.attempts + 1,
    }
    links = [caused_by] if caused_by else []
    return traces.root(f"deliver {message.template}", links, SpanKind.CLIENT, names)


def _describe(span: Span, outcome: Outcome) -> None:
    """Write what became of it on its span: codes, and never the mail server's words."""
    span.set_attribute("reach.attempt.outcome", outcome.name)
    if outcome.code is not None:
        span.set_attribute("reach.smtp.code", outcome.code)
    if outcome.enhanced is not None:
        span.set_attribute("reach.smtp.enhanced_code", outcome.enhanced)
    if not isinstance(outcome, Sent):
        traces.fail(span, outcome.name)


def _told(message: Message, outcome: Outcome, seconds: float) -> dict[str, str | int | None]:
    """Describe an attempt for a log line."""
    return {
        "reach_message_id": str(message.id),
        "message_id": message.message_id,
        "outcome": outcome.name,
        "smtp_code": outcome.code,
        "enhanced_code": outcome.enhanced,
        "nanoseconds": int(seconds * 1e9),
    }


def _uncomposed(message: Message, why: CannotCompose) -> dict[str, str | int | None]:
    """Describe for a log line why a message cannot be composed: nothing that it was given."""
    file, line, kind = why.fault[1:] if why.fault else (None, None, None)
    return {
        "reach_message_id": str(message.id),
        "reason": why.reason,
        "template_file": file,
        "template_line": line,
        "error_type": kind,
    }


def _count(message: Message, state: State | None, finished_at: datetime) -> None:
    """Count what an attempt, which ended at ``finished_at``, has brought a message to."""
    if state in _finished:
        _finished[state].inc()
    # One that an operator retried has failed before, and was counted then. Each try is a failure
    # until it succeeds, but for those before a retry.
    was_retried = message.attempts > message.failures
    if state == "sent" and not was_retried:
        # The worker's clock may be behind the database's, by which it was promised.
        seconds = (finished_at - message.created_at).total_seconds()
        _sent_seconds(message.template).observe(max(0.0, seconds))
