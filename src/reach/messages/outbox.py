"""The outbox: messages promised, leased, settled; their lives, from ``queued`` to an end.

What an operator asks of it (list, retry, cancel) is in ``operations``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    Executable,
    Float,
    Integer,
    Text,
    and_,
    bindparam,
    case,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from reach.db.columns import encode, now, rows
from reach.db.engine import Transaction, notify
from reach.db.identifiers import new_id
from reach.messages.compose import mail_domain
from reach.messages.model import IS_QUEUED, Message, attempts, messages
from reach.messages.outcome import Outcome
from reach.settings import Settings

#: Whoever sends messages waits for this to be announced.
CHANNEL = "reach_messages"
#: A message that so many workers in a row have vanished with counts as failed once.
MOST_VANISHED = 5


@dataclass(frozen=True, slots=True)
class Promise:
    """An email that somebody is to get. ``data`` is what its template needs."""

    person_id: UUID
    recipient: str = field(repr=False)
    template: str
    data: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Held:
    """A worker's hold on a message: which, and by which lease."""

    id: UUID
    lease: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of one attempt at the message that ``held`` names.

    ``delay_seconds`` is when to try again, if it is to be tried again.
    """

    held: Held
    worker: str
    started_at: datetime
    finished_at: datetime
    outcome: Outcome
    delay_seconds: float


_PROMISED = [messages.c[n] for n in ("id", "person_id", "template", "data", "recipient")]
_PROMISED.append(messages.c.message_id)


@cache
def _promise(dialect: str) -> Executable:
    given = rows(dialect, *_PROMISED)
    fixed = {
        "state": literal("queued"),
        "due_at": now(),
        "lease": 0,
        "settled_lease": 0,
        "attempts": 0,
        "failures": 0,
        "created_at": now(),
    }
    source = select(*(given.c[c.name] for c in _PROMISED), *fixed.values())
    return insert(messages).from_select([*(c.name for c in _PROMISED), *fixed], source)


def promise(tx: Transaction, promises: Sequence[Promise], settings: Settings) -> Sequence[UUID]:
    """Write messages into the outbox, in the caller's transaction; its COMMIT wakes a worker.

    Their ``Message-ID`` and ``Date`` are fixed here. Returns their ids, in order.
    """
    if not promises:
        return []
    ids = [new_id() for _ in promises]
    given = encode(
        tx.dialect.name,
        (
            {
                "id": id_,
                "person_id": promised.person_id,
                "template": promised.template,
                "data": promised.data,
                "recipient": promised.recipient,
                "message_id": f"<{id_}@{mail_domain(settings)}>",
            }
            for id_, promised in zip(ids, promises, strict=True)
        ),
    )
    tx.execute(_promise(tx.dialect.name), {"rows": given})
    notify(tx, CHANNEL)
    return ids


def look(tx: Transaction) -> None:
    """Read something, to see whether the database answers."""
    tx.execute(select(messages.c.id).limit(1))


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
        first_failed_at=messages.c.first_failed_at + (now() - messages.c.due_at),
    )
    .returning(*messages.c)
)


def lease_due(tx: Transaction, *, limit: int, lease_seconds: float) -> Sequence[Message]:
    """Take up to ``limit`` due messages for ``lease_seconds``, the longest due first.

    The CTE is materialised: with a bare ``IN (SELECT … LIMIT n FOR UPDATE SKIP LOCKED)``
    Postgres may run the subquery again and take more than n.
    """
    found = tx.execute(_LEASE_DUE, {"most": limit, "lease_seconds": lease_seconds})
    return [Message(**row) for row in found.mappings()]


_HELD = (messages.c.id, messages.c.lease)


@cache
def _renew(dialect: str) -> Executable:
    given = rows(dialect, *_HELD)
    return (
        update(messages)
        .where(
            messages.c.id == given.c.id,
            messages.c.lease == given.c.lease,
            messages.c.lease > messages.c.settled_lease,
            # Nothing about the state: it would tempt SQLite to go through all that are queued.
        )
        .values(due_at=now(bindparam("lease_seconds", type_=Float)))
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
    return encode(tx.dialect.name, ({"id": one.id, "lease": one.lease} for one in ordered))


@cache
def _release(dialect: str) -> Executable:
    given = rows(dialect, *_HELD)
    return (
        update(messages)
        .where(
            messages.c.id == given.c.id,
            messages.c.lease == given.c.lease,
            messages.c.lease > messages.c.settled_lease,
        )
        .values(
            due_at=now(bindparam("delay_seconds", type_=Float)),
            settled_lease=messages.c.lease,
            last_error=func.coalesce(bindparam("reason", type_=Text), messages.c.last_error),
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


_SETTLED = (
    *_HELD,
    Column("outcome", Text),
    Column("delay_seconds", Float),
    Column("error", Text),
)


@cache
def _settle(dialect: str) -> Executable:
    given = rows(dialect, *_SETTLED)
    outcome = given.c.outcome
    again = or_(outcome == "later", outcome == "unsure")  # an IN is expanded at every execution
    gives_up = and_(
        again, messages.c.first_failed_at <= now(-bindparam("give_up_seconds", type_=Float))
    )
    stays = and_(again, or_(messages.c.first_failed_at.is_(None), ~gives_up))
    was_cancelled = messages.c.state == "cancelled"
    return (
        update(messages)
        .where(
            messages.c.id == given.c.id,
            messages.c.lease == given.c.lease,
            messages.c.lease > messages.c.settled_lease,  # so it is queued, or was cancelled
        )
        .values(
            # Sent is the truth, even of a message that was cancelled a moment ago.
            state=case(
                (outcome == "sent", "sent"),
                (was_cancelled, "cancelled"),
                (stays, "queued"),
                else_="failed",
            ),
            settled_at=case(
                (and_(stays, ~was_cancelled), None),
                (and_(was_cancelled, outcome != "sent"), messages.c.settled_at),
                else_=now(),
            ),
            due_at=case((stays, now(given.c.delay_seconds)), else_=messages.c.due_at),
            settled_lease=messages.c.lease,
            attempts=messages.c.attempts + 1,
            failures=case((outcome == "sent", messages.c.failures), else_=messages.c.failures + 1),
            first_failed_at=case(
                (outcome == "sent", messages.c.first_failed_at),
                else_=func.coalesce(messages.c.first_failed_at, now()),
            ),
            last_error=case((outcome == "sent", None), else_=given.c.error),
        )
        .returning(messages.c.id)
    )


@cache
def _record(dialect: str) -> Executable:
    given = rows(dialect, *attempts.c)
    return insert(attempts).from_select([c.name for c in attempts.c], select(*given.c))


def settle_all(
    tx: Transaction, settlements: Sequence[Settlement], settings: Settings
) -> Sequence[bool]:
    """Record what became of attempts; False for each whose worker's lease was over.

    A stale worker's word changes nothing: its message is another's by now, or is settled.
    """
    dialect = tx.dialect.name
    given = encode(
        dialect,
        (
            {
                "id": s.held.id,
                "lease": s.held.lease,
                "outcome": s.outcome.name,
                "delay_seconds": s.delay_seconds,
                "error": s.outcome.text,
            }
            for s in sorted(settlements, key=lambda one: one.held.id)
        ),
    )
    give_up = {"give_up_seconds": settings.give_up_seconds}
    valid = set(tx.execute(_settle(dialect), {"rows": given, **give_up}).scalars())
    records = [_attempt(s) for s in settlements if s.held.id in valid]
    if records:
        tx.execute(_record(dialect), {"rows": encode(dialect, records)})
    return [s.held.id in valid for s in settlements]


def _attempt(settlement: Settlement) -> dict[str, object]:
    outcome = settlement.outcome
    return {
        "id": new_id(),
        "message_id": settlement.held.id,
        "worker": settlement.worker,
        "started_at": settlement.started_at,
        "finished_at": settlement.finished_at,
        "outcome": outcome.name,
        "smtp_code": outcome.code,
        "enhanced_code": outcome.enhanced,
        "text": outcome.text,
    }
