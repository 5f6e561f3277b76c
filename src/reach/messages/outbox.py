"""The outbox: messages promised, leased, given back.

What became of an attempt is recorded by ``queue``; what an operator asks (list, retry, cancel) is
in ``operations``.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Executable,
    Float,
    Integer,
    Text,
    bindparam,
    case,
    func,
    insert,
    literal,
    select,
    update,
)

from reach.auth.links import is_confirmed, version_of
from reach.db.transaction import Transaction, notify
from reach.db.types import encode, new_id, now, rows
from reach.messages.model import IS_QUEUED, Message, messages
from reach.settings import Settings
from reach.telemetry.traces import current_header

#: Workers wait for this to be announced.
CHANNEL = "reach_messages"
#: A message that so many workers in a row have vanished with counts as failed once.
MOST_VANISHED = 5


@dataclass(frozen=True, slots=True)
class Promise:
    """An email that somebody is to get. ``data`` is what its template needs.

    ``trace_context`` says which request it comes of (see ``telemetry.trace_context``): that in
    which it is made. In a commit that many share it has to be told.
    """

    person_id: UUID
    recipient: str = field(repr=False)
    template: str
    data: Mapping[str, Any] = field(repr=False)
    trace_context: str | None = field(default_factory=current_header)


@dataclass(frozen=True, slots=True)
class Held:
    """A worker's hold on a message: which, and by which lease."""

    id: UUID
    lease: int


_PROMISED = [messages.c[n] for n in ("id", "person_id", "template", "data", "recipient")]
_PROMISED += [messages.c.message_id, messages.c.trace_context]


@cache
def _promise(dialect: str) -> Executable:
    given = rows(dialect, *_PROMISED)
    fixed = {
        "state": literal("queued"),
        "due_at": now(),
        "lease": 0,
        "recorded_lease": 0,
        "attempts": 0,
        "failures": 0,
        "created_at": now(),
    }
    source = select(*(given.c[c.name] for c in _PROMISED), *fixed.values())
    return insert(messages).from_select([*(c.name for c in _PROMISED), *fixed], source)


def promise(tx: Transaction, promises: Sequence[Promise], settings: Settings) -> Sequence[UUID]:
    """Write messages into the outbox, in the caller's transaction; its COMMIT wakes a worker.

    Their ``Message-ID`` and ``Date`` are fixed here. Returns their ids, in order. That there are
    none is no shortcut: the time that it saved would tell strangers something.
    """
    ids: list[UUID] = []
    given: list[dict[str, object]] = []
    for promised in promises:
        id_ = new_id()
        ids.append(id_)
        given.append(
            {
                "id": id_,
                "person_id": promised.person_id,
                "template": promised.template,
                "data": promised.data,
                "recipient": promised.recipient,
                "message_id": f"<{id_}@{settings.mail_domain}>",
                "trace_context": promised.trace_context,
            }
        )
    tx.execute(_promise(tx.dialect.name), {"rows": encode(tx.dialect.name, given)})
    notify(tx, CHANNEL)
    return ids


@cache
def _supersede(dialect: str) -> Executable:
    """Lock in one order, by ids, as all do who lock several: then nobody waits in a circle."""
    given = rows(dialect, messages.c.person_id)
    older = (
        select(messages.c.id)
        .join_from(messages, given, messages.c.person_id == given.c.person_id)
        .where(
            messages.c.template == bindparam("of_template", type_=Text),
            messages.c.state == bindparam("queued", type_=Text),
        )
        .order_by(messages.c.id)
        .with_for_update(of=messages)
        .cte("older")
        .prefix_with("MATERIALIZED")
    )
    # Not as a condition: Postgres takes so few rows to be without it that it would read them all.
    goes = messages.c.data["by_operator"].as_string().is_(None)
    return (
        update(messages)
        .where(messages.c.id.in_(select(older.c.id)))
        .values(
            state=case((goes, "cancelled"), else_=messages.c.state),
            finished_at=case((goes, now()), else_=messages.c.finished_at),
            last_error=case((goes, bindparam("reason", type_=Text)), else_=messages.c.last_error),
        )
    )


def supersede(tx: Transaction, people: Iterable[UUID], *, template: str, reason: str) -> None:
    """Cancel what is queued of a template for people who are locked: a newer one is promised.

    What an operator promised stays: it may say something else, and is no stranger's to cancel.
    One that a worker is sending at this moment ends as ``sent`` if the mail server takes it,
    because it was. That there are no people is no shortcut, as for ``promise``.
    """
    given = encode(tx.dialect.name, [{"person_id": person_id} for person_id in people])
    values = {"rows": given, "of_template": template, "queued": "queued", "reason": reason}
    tx.execute(_supersede(tx.dialect.name), values)


_NEXT = select(messages.c.due_at, now()).where(IS_QUEUED).order_by(messages.c.due_at).limit(1)


def next_due_seconds(tx: Transaction) -> float:
    """Read how soon the next message falls due: 0 or less, one is due; infinite, none is queued.

    A worker's lease makes its messages due at the lease's end.
    """
    found = tx.execute(_NEXT).one_or_none()
    return math.inf if found is None else (found[0] - found[1]).total_seconds()


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
    .where(IS_QUEUED, messages.c.due_at <= now())
    .order_by(messages.c.due_at)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(skip_locked=True)
    .cte("due")
    .prefix_with("MATERIALIZED")
)
_LEASE_DUE = (
    update(messages)
    .where(messages.c.id.in_(select(_DUE.c.id)))
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
    )
)


def lease_due(tx: Transaction, *, limit: int, lease_seconds: float) -> Sequence[Message]:
    """Take up to ``limit`` due messages for ``lease_seconds``, the longest due first.

    The CTE is materialised: with a bare ``IN (SELECT … LIMIT n FOR UPDATE SKIP LOCKED)``
    Postgres may run the subquery again and take more than n.
    """
    found = tx.execute(_LEASE_DUE, {"most": limit, "lease_seconds": lease_seconds})
    return [Message(**row) for row in found.mappings()]


HELD = (messages.c.id, messages.c.lease)


@cache
def _renew(dialect: str) -> Executable:
    given = rows(dialect, *HELD)
    return (
        update(messages)
        .where(
            messages.c.id == given.c.id,
            messages.c.lease == given.c.lease,
            messages.c.lease > messages.c.recorded_lease,
            # Nothing about the state: it would tempt SQLite to go through all that are queued.
        )
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
    ordered = sorted(held, key=lambda one: one.id)
    return encode(tx.dialect.name, [{"id": one.id, "lease": one.lease} for one in ordered])


@cache
def _release(dialect: str) -> Executable:
    given = rows(dialect, *HELD)
    return (
        update(messages)
        .where(
            messages.c.id == given.c.id,
            messages.c.lease == given.c.lease,
            messages.c.lease > messages.c.recorded_lease,
        )
        .values(
            due_at=now(bindparam("delay_seconds", type_=Float)),
            first_failed_at=since_tried(messages.c.first_failed_at),
            suspected_at=since_tried(messages.c.suspected_at),
            recorded_lease=messages.c.lease,
            # Why one was cancelled meanwhile stays.
            last_error=case(
                (messages.c.state == "cancelled", messages.c.last_error),
                else_=func.coalesce(bindparam("reason", type_=Text), messages.c.last_error),
            ),
        )
    )


def release(
    tx: Transaction, held: Iterable[Held], *, reason: str | None = None, delay_seconds: float = 0
) -> None:
    """Give messages back, no attempt spent; they are due in ``delay_seconds``.

    ``reason`` is what an operator sees as the last error meanwhile.
    """
    given = _given(tx, held)
    values = {"rows": given, "reason": reason, "delay_seconds": delay_seconds}
    tx.execute(_release(tx.dialect.name), values)
    notify(tx, CHANNEL)
