"""Deliveries, counted: each attempt, and what it brought its message to."""

from datetime import datetime
from functools import cache

from reach.messages.model import Message, State
from reach.messages.outcome import Outcome
from reach.telemetry.metrics import ATTEMPT_SECONDS, ATTEMPTS, SENT_SECONDS, SETTLED

#: By the first digit of the mail server's reply code; others are no last reply.
_CLASSES = {2: "2xx", 4: "4xx", 5: "5xx"}

_attempts = cache(ATTEMPTS.labels)
_sent_seconds = cache(SENT_SECONDS.labels)
_settled = {state: SETTLED.labels(state) for state in ("sent", "failed")}


def note_attempt(outcome: Outcome, seconds: float) -> None:
    """Count an attempt that took so long, whatever becomes of its message."""
    smtp_class = _CLASSES.get((outcome.code or 0) // 100, "none")
    _attempts(outcome.name, smtp_class).inc()
    ATTEMPT_SECONDS.observe(seconds)


def note_settled(message: Message, state: State | None, finished_at: datetime) -> None:
    """Count what an attempt, which ended at ``finished_at``, has brought a message to."""
    if state in _settled:
        _settled[state].inc()
    if state == "sent":
        # The worker's clock may be behind the database's, by which it was promised.
        seconds = (finished_at - message.created_at).total_seconds()
        _sent_seconds(message.template).observe(max(0.0, seconds))
