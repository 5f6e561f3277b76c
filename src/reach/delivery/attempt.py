"""Settling by a worker: an attempt did happen, so that is noted however long it takes."""

import math
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache, partial

import anyio
import structlog
from opentelemetry.trace import Span, SpanKind

from reach.db.database import Database
from reach.delivery.leases import FAILURES, reason_of
from reach.mail.compose import CannotCompose
from reach.messages import outbox
from reach.messages.model import Message, State
from reach.messages.outcome import Outcome, Sent
from reach.messages.queue import AttemptOutcome, record_outcomes
from reach.settings import Settings
from reach.telemetry import trace_context, traces
from reach.telemetry.metrics import ATTEMPT_SECONDS, ATTEMPTS, FINISHED, SENT_SECONDS

JITTER = 0.2
#: What other workers may have been told to wait, whatever this one's settings are.
USUAL_CAP_SECONDS = 4 * 3600.0


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


def longest_wait_seconds(settings: Settings) -> float:
    """Tell how far ahead ``due_at`` can lie by any rule: a delay or a pause, then a lease."""
    cap = max(settings.retry_cap_seconds, settings.breaker_cap_seconds, USUAL_CAP_SECONDS)
    return cap * (1 + JITTER) + settings.lease_seconds


#: By the first digit of the mail server's reply code; others are no last reply.
_CLASSES = {2: "2xx", 4: "4xx", 5: "5xx"}

_attempts = cache(ATTEMPTS.labels)
_sent_seconds = cache(SENT_SECONDS.labels)
#: What there can be is there from the start, at 0: ``rate`` does not see a series' first event.
_EXPECTED = {
    "sent": ("2xx",),
    "later": ("4xx", "none"),
    "refused": ("5xx", "none"),
    "unknown": ("none",),
    "paused": ("4xx", "5xx", "none"),
}
for _outcome, _found in _EXPECTED.items():
    for _class in _found:
        _attempts(_outcome, _class)
_finished = {state: FINISHED.labels(state) for state in ("sent", "failed")}


def expect_templates(names: Iterable[str]) -> None:
    """Begin to count for each template that there is."""
    for name in names:
        _sent_seconds(name)


def note_attempt(outcome: Outcome, seconds: float) -> None:
    """Count an attempt that took so long, whatever becomes of its message."""
    smtp_class = _CLASSES.get((outcome.code or 0) // 100, "none")
    _attempts(outcome.name, smtp_class).inc()
    ATTEMPT_SECONDS.observe(seconds)


def attempted(message: Message, outcome: Outcome, seconds: float) -> dict[str, str | int | None]:
    """Describe an attempt for a log line."""
    return {
        "reach_message_id": str(message.id),
        "message_id": message.message_id,
        "outcome": outcome.name,
        "smtp_code": outcome.code,
        "enhanced_code": outcome.enhanced,
        "nanoseconds": int(seconds * 1e9),
    }


def uncomposed(message: Message, why: CannotCompose) -> dict[str, str | int | None]:
    """Describe for a log line why a message cannot be composed: nothing that it was given."""
    file, line, kind = why.fault[1:] if why.fault else (None, None, None)
    return {
        "reach_message_id": str(message.id),
        "reason": why.reason,
        "template_file": file,
        "template_line": line,
        "error_type": kind,
    }


def note_finished(message: Message, state: State | None, finished_at: datetime) -> None:
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


@contextmanager
def delivering(message: Message) -> Iterator[Span]:
    """Be about ``message`` until the end: its lines carry the trace of its request.

    Its span begins a trace of its own, linked to that: a trace that goes on for days, or begins
    anew with each retry, no tool can show.
    """
    caused_by = trace_context.parse(message.trace_context or "")
    token = trace_context.current.set(caused_by)
    try:
        if not traces.are_on():
            yield traces.NONE
            return
        names: dict[str, str | int] = {
            "reach.message.id": str(message.id),
            "reach.message.template": message.template,
            "reach.message.attempt": message.attempts + 1,
        }
        links = [traces.remote(caused_by)] if caused_by else []
        with traces.root(f"deliver {message.template}", links, SpanKind.CLIENT, names) as span:
            yield span
    finally:
        trace_context.current.reset(token)


def note(span: Span, outcome: Outcome) -> None:
    """Write what became of it on its span: codes, and never the mail server's words."""
    if not span.is_recording():
        return
    span.set_attribute("reach.attempt.outcome", outcome.name)
    if outcome.code is not None:
        span.set_attribute("reach.smtp.code", outcome.code)
    if outcome.enhanced is not None:
        span.set_attribute("reach.smtp.enhanced_code", outcome.enhanced)
    if not isinstance(outcome, Sent):
        traces.fail(span, outcome.name)


log = structlog.get_logger("reach.worker")

POLL_SECONDS = 1.0
#: A settle that the database did not take is tried again this soon: before anybody else can
#: lease the message and send it a second time.
RECORD_AGAIN_SECONDS = 0.1


class OutcomeRecorder:
    """Settles attempts in commits that many share; knows whether the database is away.

    ``is_away`` may be set by whoever finds it so; ``gives_up_at`` is on anyio's clock:
    from then on, what the database did not take is given up, and while it takes nothing, all.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        """Take where to settle."""
        self.is_away = False
        self.gives_up_at = math.inf
        self._database = database
        # Sign-ups cancel messages of their own choice first: in one transaction with them,
        # settling would lock messages in two orders.
        self._record_outcome = database.group(
            partial(record_outcomes, settings=settings), apart=True
        )
        self._unrecorded = 0
        #: Whether the last answer of the database, to any of them, was none.
        self._has_failed = False

    async def record(self, attempt_outcome: AttemptOutcome) -> State | None:
        """Settle, however long the database is away: the message's state; None if too late.

        Repeating one whose COMMIT was lost is harmless: a lease is settled once.
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
                    self.is_away = self._has_failed = has_said = True
                    await anyio.sleep(RECORD_AGAIN_SECONDS)
                else:
                    self._has_failed = False
                    return state
            return None
        finally:
            self._unrecorded -= 1

    async def wait_until_back(self) -> None:
        """Wait until the database is back, and what became of attempts is noted.

        Leases ran out meanwhile: whoever leased before that would send again what was accepted,
        and could not be noted, by another worker or by this one.
        """
        while self.is_away:
            with suppress(*FAILURES):
                await self._database.read(outbox.look)
                self.is_away = self._unrecorded > 0
            await anyio.sleep(POLL_SECONDS)
