"""The outbox, from the worker's side: what is due is leased, renewed, released and recorded."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Executable,
    Float,
    FromClause,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    true,
    type_coerce,
    update,
)
from sqlalchemy.types import NullType

from reach.auth.links import is_confirmed, is_unsubscribed, language_of, version_of
from reach.db.transaction import Transaction, notify
from reach.db.types import EPOCH, Instant, among, encode, new_id, now, rows
from reach.messages import suppressions
from reach.messages.front import Front
from reach.messages.model import IS_QUEUED, NOTICE, Message, State, attempts, messages, reports
from reach.messages.outbox import CHANNEL
from reach.messages.outcome import Deferred, Outcome, Sent
from reach.settings import Settings

#: A message that so many workers in a row have vanished with counts as failed once.
MOST_VANISHED = 5
MICROSECONDS = 1e6
#: What falls due later than this, a worker's own look finds in time.
NOTIFIED_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Held:
    """A worker's hold on a message: which, and by which lease."""

    id: UUID
    lease: int


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


# Looking


_IS_IN_FRONT = messages.c.due_at >= bindparam("since", type_=Instant)


def looking_also(*others: Select[Any]) -> Select[Any]:
    """Build the statement of ``look``: what is due, and whether each of ``others`` finds a row."""
    first = select(messages.c.due_at).where(IS_QUEUED, _IS_IN_FRONT).order_by(messages.c.due_at)
    wait = type_coerce(first.limit(1).scalar_subquery() - now(), NullType())
    found: list[ColumnElement[Any]] = [wait, now(), *(other.exists() for other in others)]
    return select(*found)


_LOOK = looking_also()


def look(
    tx: Transaction, statement: Select[Any] = _LOOK, front: Front | None = None
) -> tuple[float, Sequence[bool]]:
    """Read how soon the next message falls due, and what else there is (see ``looking_also``).

    0 or less: one is due; infinite: none is queued. A worker's lease makes its messages due at the
    lease's end. ``front``: what the worker knows of where to look.
    """
    front = front or Front()
    with front.looking() as since:
        wait, as_of, *others = tx.execute(statement, {"since": since}).one()
    seconds = math.inf
    if wait is not None:
        seconds = wait.total_seconds() if isinstance(wait, timedelta) else wait / MICROSECONDS
    front.note(as_of, seconds)
    return seconds, others


# Leasing


def since_tried(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Move a time of a message that is held ahead by how long its lease has been over.

    So a clock that is set ahead by days in the middle of an attempt makes no message older.
    """
    untried = now() - messages.c.due_at
    return case((messages.c.due_at < now(), column + untried), else_=column)


def no_later(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Take a time, or now if it lies ahead: the clock that it was read from was set back."""
    return case((column > now(), now()), else_=column)


_DUE = (
    select(messages.c.id)
    .where(IS_QUEUED, _IS_IN_FRONT, messages.c.due_at <= now())
    .order_by(messages.c.due_at)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(skip_locked=True)
    .cte("due")
    .prefix_with("MATERIALIZED")
)
_LEASE_DUE = (
    update(messages)
    .where(among(messages.c.id, select(_DUE.c.id)))
    .values(
        due_at=now(bindparam("lease_seconds", type_=Float)),
        lease=messages.c.lease + 1,
        # Time that it lay due and untried is not the message's fault.
        first_failed_at=no_later(messages.c.first_failed_at + (now() - messages.c.due_at)),
        suspected_at=no_later(messages.c.suspected_at + (now() - messages.c.due_at)),
    )
    .returning(
        *messages.c,
        version_of(messages.c.person_id).label("links_version"),
        is_confirmed(messages.c.person_id).label("is_confirmed"),
        # A notice is in the maker's language, and not in that of whom it names.
        case((messages.c.template != NOTICE, language_of(messages.c.person_id))).label("language"),
        is_unsubscribed(messages.c.person_id).label("is_unsubscribed"),
        suppressions.cause_of_message().label("suppressed_by"),
    )
)


def lease_due(
    tx: Transaction, *, limit: int, lease_seconds: float, since: datetime = EPOCH
) -> Sequence[Message]:
    """Take up to ``limit`` messages for ``lease_seconds``, due ``since`` then, the longest first.

    Those whose address nothing is sent to are ended at once, and are ``suppressed``.

    The CTE is materialised: with a bare ``IN (SELECT … LIMIT n FOR UPDATE SKIP LOCKED)``
    Postgres may run the subquery again and take more than n.
    """
    given = {"most": limit, "lease_seconds": lease_seconds, "since": since}
    leased, ended = [], {}
    for *row, cause in tx.execute(_LEASE_DUE, given):
        message = Message(*row)  # its fields are the columns, in order
        if cause is not None:
            ended[message.id] = cause
            message = replace(message, state="suppressed")
        leased.append(message)
    if ended:
        suppressions.end_all(tx, ended)
    return leased


HELD = (messages.c.id, messages.c.lease)


def _in_hand(dialect: str, *columns: Column[Any]) -> FromClause:
    """Build the rows that are given, each message locked by its row's turn.

    An UPDATE alone locks them as it finds them, which on Postgres is the plan's affair: those of a
    small table as they lie there. The plan cannot move the inner SELECT, for that locks.
    """
    given = rows(dialect, *columns)
    if dialect == "sqlite":
        return given
    one = select(messages.c.id).where(messages.c.id == given.c.id).with_for_update(key_share=True)
    locked = one.lateral("locked")
    return select(*given.c).join_from(given, locked, true()).cte("held").prefix_with("MATERIALIZED")


def _is_still_held(given: Any) -> ColumnElement[bool]:
    """Whether a message is held by the lease that is given: an older lease changes nothing.

    It says nothing about the state: that would tempt SQLite to go through all that are queued.
    """
    return and_(
        messages.c.id == given.c.id,
        messages.c.lease == given.c.lease,
        messages.c.lease > messages.c.recorded_lease,
    )


@cache
def _renew(dialect: str) -> Executable:
    return (
        update(messages)
        .where(_is_still_held(_in_hand(dialect, *HELD)))
        .values(
            due_at=now(bindparam("lease_seconds", type_=Float)),
            first_failed_at=since_tried(messages.c.first_failed_at),
            suspected_at=since_tried(messages.c.suspected_at),
        )
        .returning(messages.c.id, messages.c.state)
    )


def renew(tx: Transaction, held: Iterable[Held], *, lease_seconds: float) -> set[UUID]:
    """Hold on to messages for ``lease_seconds`` from now; returns the ids of those still held.

    A message that was leased by another worker, cancelled or erased is not.
    """
    given = _given(tx, held)
    statement = _renew(tx.dialect.name)
    found = tx.execute(statement, {"rows": given, "lease_seconds": lease_seconds})
    return {row.id for row in found if row.state == "queued"}


def _given(tx: Transaction, held: Iterable[Held]) -> str:
    """Write holds as rows, in one order for all: those who lock in two orders can deadlock."""
    ordered = sorted(held, key=attrgetter("id"))
    return encode(tx.dialect.name, [{"id": one.id, "lease": one.lease} for one in ordered])


@cache
def _release(dialect: str) -> Executable:
    given = _in_hand(dialect, *HELD, Column("delay_seconds", Float))
    return (
        update(messages)
        .where(_is_still_held(given))
        .values(
            due_at=now(given.c.delay_seconds),
            first_failed_at=since_tried(messages.c.first_failed_at),
            suspected_at=since_tried(messages.c.suspected_at),
            recorded_lease=messages.c.lease,
            # Why one was ended meanwhile stays.
            last_error=case(
                (~IS_QUEUED, messages.c.last_error),
                else_=func.coalesce(bindparam("reason", type_=Text), messages.c.last_error),
            ),
        )
    )


def release(
    tx: Transaction,
    held: Iterable[Held],
    *,
    reason: str | None = None,
    delays: Mapping[Held, float] = MappingProxyType({}),
) -> None:
    """Give messages back, no attempt spent; due now, or in so many seconds as ``delays`` says.

    ``reason`` is what an operator sees as the last error meanwhile.
    """
    ordered = sorted(held, key=attrgetter("id"))
    seconds = [delays.get(one, 0.0) for one in ordered]
    given = [
        {"id": one.id, "lease": one.lease, "delay_seconds": delay}
        for one, delay in zip(ordered, seconds, strict=True)
    ]
    dialect = tx.dialect.name
    tx.execute(_release(dialect), {"rows": encode(dialect, given), "reason": reason})
    if min(seconds, default=0.0) <= NOTIFIED_SECONDS:
        notify(tx, CHANNEL)


# Recording

_RECORDED = (
    *HELD,
    Column("outcome", Text),
    Column("delay_seconds", Float),
    Column("error", Text),
    Column("is_suspect", Boolean),
)


@cache
def _record_outcome(dialect: str) -> Executable:
    given = _in_hand(dialect, *_RECORDED)
    is_sent, stays = given.c.outcome == "sent", _stays(given)
    return (
        update(messages)
        .where(_is_still_held(given))  # so it is queued, or was cancelled or suppressed meanwhile
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
        .returning(messages.c.id, messages.c.lease, messages.c.state)
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
    has_bounced = exists().where(
        reports.c.message_id == messages.c.id, reports.c.kind == text("'bounced'")
    )
    why = func.coalesce(messages.c.last_error, given.c.error)
    return {
        # Sent is the truth, even of a message that was cancelled a moment ago; and its bounce may
        # have come before this is recorded.
        "state": case(
            (and_(is_sent, has_bounced), "bounced"),
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
    recorded = tx.execute(_record_outcome(dialect), values)
    states = {(id_, lease): state for id_, lease, state in recorded}
    if states:
        tx.execute(_record(dialect), {"rows": encode(dialect, [tries[key] for key in states])})
    return [states.get((one.held.id, one.held.lease)) for one in attempt_outcomes]
