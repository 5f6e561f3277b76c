"""The worker's side of the outbox: what became of an attempt, and so of its message."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Executable,
    Float,
    Text,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    update,
)

from reach.db.transaction import Transaction
from reach.db.types import encode, new_id, now, rows
from reach.messages.model import State, attempts, messages
from reach.messages.outbox import HELD, Held, since_tried
from reach.messages.outcome import Deferred, Outcome
from reach.settings import Settings


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """What became of one attempt at the message that ``held`` names.

    ``delay_seconds`` is when to try again, if it is to be tried again.
    """

    held: Held
    worker: str
    started_at: datetime
    finished_at: datetime
    outcome: Outcome
    delay_seconds: float


_RECORDED = (
    *HELD,
    Column("outcome", Text),
    Column("delay_seconds", Float),
    Column("error", Text),
    Column("is_suspect", Boolean),
)


@cache
def _record_outcome(dialect: str) -> Executable:
    given = rows(dialect, *_RECORDED)
    return (
        update(messages)
        .where(
            messages.c.id == given.c.id,
            messages.c.lease == given.c.lease,
            messages.c.lease > messages.c.recorded_lease,  # so it is queued, or was cancelled
        )
        .values(
            **_fate(given),
            due_at=case((_stays(given), now(given.c.delay_seconds)), else_=messages.c.due_at),
            recorded_lease=messages.c.lease,
            attempts=messages.c.attempts + 1,
            failures=case((_is_sent(given), messages.c.failures), else_=messages.c.failures + 1),
            first_failed_at=case(
                (_is_sent(given), messages.c.first_failed_at),
                else_=func.coalesce(since_tried(messages.c.first_failed_at), now()),
            ),
            suspected_at=case(
                (given.c.is_suspect, func.coalesce(since_tried(messages.c.suspected_at), now())),
                else_=None,
            ),
            last_error=_last_error(given),
        )
        .returning(messages.c.id, messages.c.state)
    )


def _fate(given: Any) -> dict[str, ColumnElement[Any]]:
    """What becomes of a message by its attempt, and when it was finished."""
    is_sent, stays = _is_sent(given), _stays(given)
    was_cancelled = messages.c.state == "cancelled"
    return {
        # Sent is the truth, even of a message that was cancelled a moment ago.
        "state": case(
            (is_sent, "sent"), (was_cancelled, "cancelled"), (stays, "queued"), else_="failed"
        ),
        "finished_at": case(
            (and_(stays, ~was_cancelled), None),
            (and_(was_cancelled, ~is_sent), messages.c.finished_at),
            else_=now(),
        ),
    }


def _last_error(given: Any) -> ColumnElement[Any]:
    """What an operator sees: of one that was cancelled, why, if that is known."""
    was_cancelled = messages.c.state == "cancelled"
    why = func.coalesce(messages.c.last_error, given.c.error)
    return case((_is_sent(given), None), (was_cancelled, why), else_=given.c.error)


def _is_sent(given: Any) -> ColumnElement[bool]:
    sent: ColumnElement[bool] = given.c.outcome == "sent"
    return sent


def _stays(given: Any) -> ColumnElement[bool]:
    """Whether a message is to be tried again: not for ever."""
    outcome = given.c.outcome
    again = or_(outcome == "deferred", outcome == "unknown")  # an IN is expanded at every execution
    last_time = now(-bindparam("give_up_seconds", type_=Float))
    first = messages.c.first_failed_at
    return and_(again, or_(first.is_(None), since_tried(first) > last_time))


@cache
def _record(dialect: str) -> Executable:
    given = rows(dialect, *attempts.c)
    return insert(attempts).from_select([c.name for c in attempts.c], select(*given.c))


def record_outcomes(
    tx: Transaction, attempt_outcomes: Sequence[AttemptOutcome], settings: Settings
) -> Sequence[State | None]:
    """Record what became of attempts: each message's state now; None if the lease was over.

    A stale worker's word changes nothing: its message is another's by now, or is finished.
    """
    dialect = tx.dialect.name
    given = encode(
        dialect,
        [
            {
                "id": s.held.id,
                "lease": s.held.lease,
                "outcome": s.outcome.name,
                "delay_seconds": s.delay_seconds,
                "error": s.outcome.words,
                "is_suspect": isinstance(s.outcome, Deferred) and s.outcome.is_suspect,
            }
            for s in sorted(attempt_outcomes, key=lambda one: one.held.id)
        ],
    )
    give_up = {"give_up_seconds": settings.give_up_seconds}
    recorded = tx.execute(_record_outcome(dialect), {"rows": given, **give_up})
    states = {row.id: row.state for row in recorded}
    records = [_attempt(s) for s in attempt_outcomes if s.held.id in states]
    if records:
        tx.execute(_record(dialect), {"rows": encode(dialect, records)})
    return [states.get(s.held.id) for s in attempt_outcomes]


def _attempt(attempt_outcome: AttemptOutcome) -> dict[str, object]:
    outcome = attempt_outcome.outcome
    return {
        "id": new_id(),
        "message_id": attempt_outcome.held.id,
        "worker": attempt_outcome.worker,
        "started_at": attempt_outcome.started_at,
        "finished_at": attempt_outcome.finished_at,
        "outcome": outcome.name,
        "smtp_code": outcome.code,
        "enhanced_code": outcome.enhanced,
        "text": outcome.text,
    }
