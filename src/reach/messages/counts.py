"""Deliveries, counted and told: each attempt, and what it brought its message to."""

from collections.abc import Iterable
from datetime import datetime
from functools import cache

from reach.messages.compose import CannotCompose
from reach.messages.model import Message, State
from reach.messages.outcome import Outcome
from reach.telemetry.metrics import ATTEMPT_SECONDS, ATTEMPTS, SENT_SECONDS, SETTLED

#: By the first digit of the mail server's reply code; others are no last reply.
_CLASSES = {2: "2xx", 4: "4xx", 5: "5xx"}

_attempts = cache(ATTEMPTS.labels)
_sent_seconds = cache(SENT_SECONDS.labels)
#: What there can be is there from the start, at 0: ``rate`` does not see a series' first event.
_EXPECTED = {
    "sent": ("2xx",),
    "later": ("4xx", "none"),
    "refused": ("5xx", "none"),
    "unsure": ("none",),
    "paused": ("4xx", "5xx", "none"),
}
for _outcome, _found in _EXPECTED.items():
    for _class in _found:
        _attempts(_outcome, _class)
_settled = {state: SETTLED.labels(state) for state in ("sent", "failed")}


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


def note_settled(message: Message, state: State | None, finished_at: datetime) -> None:
    """Count what an attempt, which ended at ``finished_at``, has brought a message to."""
    if state in _settled:
        _settled[state].inc()
    # One that an operator retried has failed before, and was counted then. Each try is a failure
    # until it succeeds, but for those before a retry.
    was_retried = message.attempts > message.failures
    if state == "sent" and not was_retried:
        # The worker's clock may be behind the database's, by which it was promised.
        seconds = (finished_at - message.created_at).total_seconds()
        _sent_seconds(message.template).observe(max(0.0, seconds))
