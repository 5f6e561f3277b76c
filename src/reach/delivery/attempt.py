"""One attempt at delivering a message: composed, sent, and recorded however long that takes."""

import os
import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import cache

import anyio
import anyio.abc
import structlog
from opentelemetry.trace import Span, SpanContext, SpanKind

from reach.delivery.leases import Holding, Leases
from reach.delivery.recording import Ended, Recorder, expect
from reach.delivery.relays import Relays
from reach.mail import samples
from reach.mail.compose import CannotCompose, Composer
from reach.messages.model import Message
from reach.messages.outcome import Deferred, Outcome, Rejected, Sent, Unavailable, Unknown
from reach.messages.queue import MOST_VANISHED, AttemptOutcome
from reach.settings import Settings
from reach.telemetry import traces
from reach.telemetry.logging import frames
from reach.telemetry.metrics import ATTEMPT_SECONDS, ATTEMPTS, SLOTS_BUSY

log = structlog.get_logger("reach.worker")

JITTER = 0.2
#: How long an attempt is taken to last before the first has.
FIRST_GUESS_SECONDS = 0.25

#: By the first digit of the mail server's reply code; others are no last reply.
_CLASSES = {2: "2xx", 4: "4xx", 5: "5xx"}

_attempts = cache(ATTEMPTS.labels)
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


class Attempts:
    """What a worker attempts; what became of it is the ``recorder``'s."""

    def __init__(
        self,
        settings: Settings,
        composer: Composer,
        relays: Relays,
        leases: Leases,
        on_recorded: Callable[[], None],
    ) -> None:
        """Take the collaborators; ``on_recorded`` is called when a message is out of hand."""
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self.recorder = Recorder(settings, leases, self._is_busy, on_recorded)
        self._settings = settings
        self._composer = composer
        self._relays = relays
        self._leases = leases
        self._on_recorded = on_recorded
        self._usual_seconds = FIRST_GUESS_SECONDS
        #: When the attempts under way began, on the monotonic clock.
        self._began: dict[Holding, float] = {}
        for template in composer.templates:
            expect(template)

    def _is_busy(self) -> bool:
        return bool(self._began)

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
        caused_by = traces.parse(message.trace_context) if message.trace_context else None
        token = traces.current.set(caused_by)
        self._began[holding] = began = time.monotonic()
        SLOTS_BUSY.inc()
        try:
            with _span_of(message, caused_by) if traces.process.tracer else traces.OFF as span:
                try:
                    outcome = await self._send(holding)
                except anyio.get_cancelled_exc_class():
                    with anyio.CancelScope(shield=True):
                        await self._cut_off(holding, started_at, deliveries)
                    raise
                finally:
                    SLOTS_BUSY.dec()
                    self._began.pop(holding, None)
                took = time.monotonic() - began
                self._usual_seconds += 0.1 * (took - self._usual_seconds)
                if holding.waited_seconds:  # for a rate: that was no attempt yet
                    took -= holding.waited_seconds
                    started_at += timedelta(seconds=holding.waited_seconds)
                if span.is_recording():
                    _describe(span, outcome)
                if not self.recorder.has_place:
                    with anyio.CancelScope(shield=True):
                        await self.recorder.wait_for_place()
                self._end(holding, outcome, started_at, took, deliveries)
        finally:
            traces.current.reset(token)

    async def _send(self, holding: Holding) -> Outcome:
        message = holding.message
        if message.lease - message.recorded_lease > MOST_VANISHED:
            return Deferred(f"{MOST_VANISHED} workers in a row vanished while they held it")
        try:
            whole = samples.filled(message, self._composer)
            mail = await self._composer.compose_beside(whole)
            return await self._relays.send(mail, holding)
        except CannotCompose as error:
            log.warning("message cannot be composed", **_uncomposed(message, error))
            return Rejected(f"cannot be composed: {error}")
        except Exception as error:  # noqa: BLE001 - it must not take its neighbours down
            log.error("attempt crashed", reach_message_id=str(message.id), **frames(error))
            return Unknown("crashed here") if holding.content_began else Deferred("crashed here")

    async def _cut_off(
        self, holding: Holding, started_at: datetime, deliveries: anyio.abc.TaskGroup
    ) -> None:
        """The grace time is over in the middle of an attempt."""
        took = time.monotonic() - self._began.pop(holding)
        if holding.content_began:
            self._end(holding, Unknown("the worker was stopped"), started_at, took, deliveries)
        else:
            await self._leases.give_back([holding])

    def _end(
        self,
        holding: Holding,
        outcome: Outcome,
        started_at: datetime,
        took: float,
        deliveries: anyio.abc.TaskGroup,
    ) -> None:
        """Count it, tell it and have it recorded; release what met an open breaker."""
        message, finished_at = holding.message, datetime.now(UTC)
        smtp_class = _CLASSES.get((outcome.code or 0) // 100, "none")
        _attempts(outcome.name, smtp_class).inc()
        ATTEMPT_SECONDS.observe(took)
        ended = Ended(holding, outcome, took, traces.current.get())
        if isinstance(outcome, Sent):
            log.info("sent", **ended.told())
        else:
            log.info("not sent", **ended.told())
        if isinstance(outcome, Unavailable):
            deliveries.start_soon(self._give_back, holding, outcome)
            return
        delay_seconds = 0.0
        if not isinstance(outcome, Sent):
            delay_seconds = next_delay_seconds(
                message.failures + 1,
                first_seconds=self._settings.retry_first_seconds,
                cap_seconds=self._settings.retry_cap_seconds,
            )
        attempt = AttemptOutcome(
            holding.held, self.worker, started_at, finished_at, outcome, delay_seconds
        )
        self.recorder.take(ended, attempt, deliveries)

    async def _give_back(self, holding: Holding, unavailable: Unavailable) -> None:
        """Release what met an open breaker, and what waits for it."""
        with anyio.CancelScope(shield=True):
            delay_seconds = self._relays.hold_seconds if unavailable.was_heard else 0
            await self._leases.give_back([holding], unavailable, delay_seconds=delay_seconds)
            if self._relays.is_open:
                await self._leases.give_back(self._leases.take_waiting(), unavailable)
        self._on_recorded()


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
