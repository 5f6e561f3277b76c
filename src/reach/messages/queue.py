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
    func,
    select,
    true,
    type_coerce,
    update,
)
from sqlalchemy.types import NullType

from reach.auth.links import is_confirmed, is_unsubscribed, language_of, version_of
from reach.db.transaction import Transaction, notify
from reach.db.types import EPOCH, Instant, among, beside, encode, now, rows
from reach.messages import suppressions
from reach.messages.front import Front
from reach.messages.model import IS_QUEUED, NOTICE, Message, messages
from reach.messages.outbox import CHANNEL
from reach.messages.outcome import Outcome

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

    Those whose address nothing is sent to are ``suppressed``: see ``end_suppressed``.

    The CTE is materialised: with a bare ``IN (SELECT … LIMIT n FOR UPDATE SKIP LOCKED)``
    Postgres may run the subquery again and take more than n.
    """
    given = {"most": limit, "lease_seconds": lease_seconds, "since": since}
    leased = []
    for *row, cause in tx.execute(_LEASE_DUE, given):
        message = Message(*row)  # its fields are the columns, in order
        if cause is not None:
            message = replace(message, state="suppressed")
        leased.append(message)
    return leased


HELD = (messages.c.id, messages.c.lease)


def in_hand(dialect: str, *columns: Column[Any]) -> FromClause:
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


def is_still_held(given: Any) -> ColumnElement[bool]:
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
        .where(is_still_held(in_hand(dialect, *HELD)))
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
def _end_suppressed(dialect: str) -> Executable:
    cause = suppressions.cause_of_message()
    return (
        update(messages)
        .where(is_still_held(in_hand(dialect, *HELD)), beside(IS_QUEUED))
        .values(
            state="suppressed",
            finished_at=now(),
            last_error=case(suppressions.WHY, value=cause, else_=suppressions.LIFTED),
            recorded_lease=messages.c.lease,
        )
    )


def end_suppressed(tx: Transaction, held: Iterable[Held]) -> None:
    """End messages that were leased and are not to be sent, without an attempt.

    In a transaction of its own: Postgres looks for the person of a row that one transaction changes
    twice, and so locks them after the message; an erasure locks them before.
    """
    tx.execute(_end_suppressed(tx.dialect.name), {"rows": _given(tx, held)})


@cache
def _release(dialect: str) -> Executable:
    given = in_hand(dialect, *HELD, Column("delay_seconds", Float))
    return (
        update(messages)
        .where(is_still_held(given))
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
