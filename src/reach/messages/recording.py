"""The outbox, from the worker's side: what became of attempts is recorded."""

from collections.abc import Sequence
from functools import cache
from operator import attrgetter
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
from reach.events import noting
from reach.messages import reported
from reach.messages.model import IS_QUEUED, NOTICE, State, attempts, messages
from reach.messages.outcome import Deferred, Sent
from reach.messages.queue import HELD, AttemptOutcome, in_hand, is_still_held, since_tried
from reach.messages.telling import ended
from reach.settings import Settings

_RECORDED = (
    *HELD,
    Column("outcome", Text),
    Column("delay_seconds", Float),
    Column("error", Text),
    Column("is_suspect", Boolean),
)


@cache
def _record_outcome(dialect: str) -> Executable:
    given = in_hand(dialect, *_RECORDED)
    is_sent, stays = given.c.outcome == "sent", _stays(given)
    return (
        update(messages)
        .where(is_still_held(given))  # so it is queued, or was cancelled or suppressed meanwhile
        .values(
            **_fate(given, is_sent, stays),
            due_at=case((stays, now(given.c.delay_seconds)), else_=messages.c.due_at),
            recorded_lease=messages.c.lease,
            attempts=messages.c.attempts + 1,
            failures=case((is_sent, messages.c.failures), else_=messages.c.failures + 1),
            first_failed_at=case(
                (is_sent, messages.c.first_failed_at),
                else_=func.coalesce(since_tried(messages.c.first_failed_at), now()),
            ),
            suspected_at=case(
                (given.c.is_suspect, func.coalesce(since_tried(messages.c.suspected_at), now())),
                else_=None,
            ),
        )
        .returning(
            messages.c.id,
            messages.c.lease,
            messages.c.state,
            # A notice is the maker's, and not that of whom it names.
            case((messages.c.template != NOTICE, messages.c.person_id)).label("person_id"),
            messages.c.template,
        )
    )


def _stays(given: Any) -> ColumnElement[bool]:
    """Whether a message is to be tried again: not for ever."""
    outcome = given.c.outcome
    again = or_(outcome == "deferred", outcome == "unknown")  # an IN is expanded at every execution
    last_time = now(-bindparam("give_up_seconds", type_=Float))
    first = messages.c.first_failed_at
    return and_(again, or_(first.is_(None), since_tried(first) > last_time))


def _fate(
    given: Any, is_sent: ColumnElement[bool], stays: ColumnElement[bool]
) -> dict[str, ColumnElement[Any]]:
    """What becomes of a message by its attempt, when it was finished, and what operators see."""
    was_ended = ~IS_QUEUED
    why = func.coalesce(messages.c.last_error, given.c.error)
    return {
        # Sent is the truth, even of a message that was cancelled a moment ago.
        "state": case(
            (is_sent, "sent"),
            (was_ended, messages.c.state),
            (stays, "queued"),
            else_="failed",
        ),
        "finished_at": case(
            (and_(stays, ~was_ended), None),
            (and_(was_ended, ~is_sent), messages.c.finished_at),
            else_=now(),
        ),
        # Of one that was cancelled: why, if that is known.
        "last_error": case((is_sent, None), (was_ended, why), else_=given.c.error),
    }


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
    dialect, given, tries = tx.dialect.name, [], {}
    for one in sorted(attempt_outcomes, key=attrgetter("held.id")):
        outcome, message_id = one.outcome, str(one.held.id)
        fate = {"id": message_id, "lease": one.held.lease, "outcome": outcome.name}
        fate["delay_seconds"] = one.delay_seconds
        fate["error"] = None if isinstance(outcome, Sent) else outcome.words
        fate["is_suspect"] = isinstance(outcome, Deferred) and outcome.is_suspect
        given.append(fate)
        tries[one.held.id, one.held.lease] = {
            "id": str(new_id()),
            "message_id": message_id,
            "worker": one.worker,
            "started_at": one.started_at,
            "finished_at": one.finished_at,
            "outcome": outcome.name,
            "smtp_code": outcome.code,
            "enhanced_code": outcome.enhanced,
            "text": outcome.text,
        }
    values = {"rows": encode(dialect, given), "give_up_seconds": settings.give_up_seconds}
    recorded = tx.execute(_record_outcome(dialect), values).all()
    states = {(row.id, row.lease): row.state for row in recorded}
    if states:
        tx.execute(_record(dialect), {"rows": encode(dialect, [tries[key] for key in states])})
        outcomes = {(one.held.id, one.held.lease): one.outcome for one in attempt_outcomes}
        noting.note(tx, ended(recorded, outcomes))
    if sent := {key[0]: key for key, state in states.items() if state == "sent"}:
        # Its bounce may have come before this is recorded.
        states |= {sent[id_]: state for id_, state in reported.catch_up(tx, sent).items()}
    return [states.get((one.held.id, one.held.lease)) for one in attempt_outcomes]
