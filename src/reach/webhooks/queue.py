"""What webhooks are to hear, from the worker's side: leased in order, recorded, told again, swept.

An event is leased only if no earlier one of the same person waits for the same webhook. One that is
in the way of others is what these wait for: they are moved behind it, so no look finds them twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Column,
    Executable,
    Float,
    Integer,
    RowMapping,
    and_,
    bindparam,
    case,
    column,
    exists,
    func,
    insert,
    or_,
    select,
    table,
    update,
)

from reach.db.transaction import Transaction, notify
from reach.db.types import Instant, Key, encode, new_id, now, rows
from reach.events.model import (
    IS_WAITING,
    EventState,
    webhook_attempts,
    webhook_events,
    webhooks,
)
from reach.events.noting import CHANNEL
from reach.messages.queue import no_later
from reach.webhooks.endpoints import Webhook, webhook_of

#: What became of an attempt. ``refused``: another answer than 2xx; ``gone``: 410; ``unreachable``:
#: no answer; ``forbidden``: it leads where nothing may be sent.
AttemptResult = Literal["delivered", "refused", "gone", "unreachable", "forbidden"]
RESULTS: tuple[AttemptResult, ...] = ("delivered", "refused", "gone", "unreachable", "forbidden")

#: An event is given up after three days of its own failures, if others are delivered meanwhile.
GIVE_UP_SECONDS = 3 * 24 * 3600.0
#: Those that wait behind another look again no sooner: the end of what is in front calls the next
#: one. It is so long that of thousands of one person all are moved before the first is due again.
BEHIND_SECONDS = 10.0
SWEEP_ROWS = 1000

_c = webhook_events.c
#: What is told of a person, read when it is told: so nothing of who was erased.
_people = table(
    "people",
    column("id", Key),
    *(column(name) for name in ("email", "name", "description", "language")),
    column("confirmed_at", Instant),
    column("created_at", Instant),
)
PERSON = ("email", "name", "description", "language", "confirmed_at", "created_at")


@dataclass(frozen=True, slots=True)
class Due:
    """An event in hand, and of whom it tells: None of somebody who was erased, and of nobody."""

    webhook_id: UUID
    id: UUID
    type: str
    person_id: UUID | None
    message_id: UUID | None
    details: Mapping[str, Any]
    created_at: datetime
    failures: int
    lease: int
    person: Mapping[str, Any] | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of one attempt; ``delay_seconds`` is when to try again, if it is to be.

    ``pause_seconds`` is how long nothing is to be sent to the webhook, if it is the receiver's
    wish.
    """

    due: Due
    started_at: datetime
    milliseconds: int
    result: AttemptResult
    status: int | None
    answer: str = field(repr=False)
    delay_seconds: float = 0.0
    pause_seconds: float = 0.0

    def told(self) -> dict[str, str | int | None]:
        """Describe it for a log line."""
        return {
            "reach_webhook_id": str(self.due.webhook_id),
            "reach_event_id": str(self.due.id),
            "outcome": self.result,
            "status": self.status,
            "nanoseconds": self.milliseconds * 1_000_000,
        }


@dataclass(frozen=True, slots=True)
class Look:
    """A webhook that is on: when its next event is due, and its pause over, in seconds from now."""

    webhook: Webhook
    due_seconds: float | None
    pause_seconds: float
    is_old_secret_good: bool


_first = (
    select(_c.due_at)
    .where(_c.webhook_id == webhooks.c.id, IS_WAITING)
    .order_by(_c.due_at)
    .limit(1)
    .correlate(webhooks)
    .scalar_subquery()
)
_LOOK = (
    select(webhooks, _first.label("first_due_at"), now().label("as_of"))
    .where(webhooks.c.disabled_at.is_(None))
    .order_by(webhooks.c.id)
)


def look(tx: Transaction) -> Sequence[Look]:
    """Read what each webhook waits for; those that are turned off wait for nothing."""
    found = []
    for row in tx.execute(_LOOK).mappings():
        webhook, as_of, first = webhook_of(row), row["as_of"], row["first_due_at"]
        pause, until = webhook.paused_until, webhook.old_secret_until
        found.append(
            Look(
                webhook,
                None if first is None else (first - as_of).total_seconds(),
                0.0 if pause is None else max((pause - as_of).total_seconds(), 0.0),
                until is not None and as_of < until,
            )
        )
    return found


_earlier = webhook_events.alias("earlier")
#: The first that waits of the same person, if it is another one: by time, and of one moment by id.
_IN_FRONT = (
    select(_earlier.c.due_at)
    .where(
        _earlier.c.person_id == _c.person_id,
        _earlier.c.webhook_id == _c.webhook_id,
        or_(
            _earlier.c.created_at < _c.created_at,
            and_(_earlier.c.created_at == _c.created_at, _earlier.c.id < _c.id),
        ),
        _earlier.c.state == "waiting",
    )
    .order_by(_earlier.c.created_at, _earlier.c.id)
    .limit(1)
    .correlate(webhook_events)
    .scalar_subquery()
)
_DUE = (
    select(
        *(_c[n] for n in ("webhook_id", "id", "type", "person_id", "message_id", "details")),
        *(_c[name] for name in ("created_at", "failures", "lease")),
        _IN_FRONT.label("in_front"),
        _people.c.id.label("of"),
        *(_people.c[name].label(f"of_{name}") for name in PERSON),
    )
    .select_from(webhook_events.outerjoin(_people, _people.c.id == _c.person_id))
    .where(
        _c.webhook_id == bindparam("webhook_id", type_=Key),
        IS_WAITING,
        _c.due_at <= now(),
    )
    .order_by(_c.due_at)  # and no more, or all that became due at one moment would be sorted
    .limit(bindparam("most", type_=Integer))
    .with_for_update(of=webhook_events, skip_locked=True)
)
_HELD = (_c.webhook_id, _c.id, _c.lease)
_TAKEN = (*_HELD, Column("is_free", Boolean))


@cache
def _take(dialect: str) -> Executable:
    """What is behind another is moved behind it, if that waits still: this sees what came since."""
    given = rows(dialect, *_TAKEN)
    later, in_front = now(BEHIND_SECONDS), _IN_FRONT
    untried = now() - _c.due_at
    return (
        update(webhook_events)
        .where(_c.webhook_id == given.c.webhook_id, _c.id == given.c.id)
        .values(
            due_at=case(
                (given.c.is_free, now(bindparam("lease_seconds", type_=Float))),
                (in_front.is_(None), _c.due_at),
                (in_front <= later, later),
                else_=in_front,
            ),
            lease=case((given.c.is_free, _c.lease + 1), else_=_c.lease),
            # Time that it lay due and untried is not the event's fault.
            first_failed_at=no_later(_c.first_failed_at + untried),
        )
    )


def lease_due(
    tx: Transaction, webhook_id: UUID, *, limit: int, lease_seconds: float
) -> tuple[Sequence[Due], bool]:
    """Take up to ``limit`` events that are due and may be told; whether more may be due."""
    found = tx.execute(_DUE, {"webhook_id": webhook_id, "most": limit}).mappings().all()
    if not found:
        return [], False
    given = [
        {
            **{column.name: row[column.name] for column in _HELD},
            "is_free": row["in_front"] is None,
        }
        for row in found
    ]
    values = {"rows": encode(tx.dialect.name, given), "lease_seconds": lease_seconds}
    tx.execute(_take(tx.dialect.name), values)
    free = [row for row in found if row["in_front"] is None]
    return [_due(row) for row in free], len(found) == limit


def _due(row: RowMapping) -> Due:
    names = ("webhook_id", "id", "type", "person_id", "message_id", "details", "created_at")
    person = None
    if row["of"] is not None:
        person = {name: row[f"of_{name}"] for name in PERSON}
    fields = {name: row[name] for name in names}
    return Due(**fields, failures=row["failures"], lease=row["lease"] + 1, person=person)


_RECORDED = (
    *_HELD,
    Column("result", webhook_attempts.c.outcome.type),
    Column("delay_seconds", Float),
)


@cache
def _record(dialect: str) -> Executable:
    """The webhook's last success tells whether it is the event that fails, or all of them."""
    given = rows(dialect, *_RECORDED)
    is_delivered = given.c.result == "delivered"
    first = _c.first_failed_at
    success = (
        select(webhooks.c.delivered_at)
        .where(webhooks.c.id == _c.webhook_id)
        .correlate(webhook_events)
        .scalar_subquery()
    )
    is_over = and_(first.is_not(None), first < now(-GIVE_UP_SECONDS), success > first)
    return (
        update(webhook_events)
        .where(
            _c.webhook_id == given.c.webhook_id,
            _c.id == given.c.id,
            _c.lease == given.c.lease,
            _c.lease > _c.recorded_lease,
        )
        .values(
            state=case((is_delivered, "delivered"), (is_over, "failed"), else_="waiting"),
            finished_at=case((or_(is_delivered, is_over), now())),
            due_at=case((is_delivered, _c.due_at), else_=now(given.c.delay_seconds)),
            recorded_lease=_c.lease,
            attempts=_c.attempts + 1,
            failures=case((is_delivered, _c.failures), else_=_c.failures + 1),
            first_failed_at=case((is_delivered, first), else_=func.coalesce(first, now())),
        )
        .returning(_c.webhook_id, _c.id, _c.lease, _c.person_id, _c.state)
    )


@cache
def _note_attempts(dialect: str) -> Executable:
    """An answer may repeat what was told of somebody who was erased while it was under way.

    So it is kept only if they are there. Who erases them blanks what was recorded before (see
    ``noting.forget``).
    """
    told = Column("told", Key)
    given = rows(dialect, *webhook_attempts.c, told)
    is_there = exists().where(_people.c.id == given.c.told)
    may_keep = or_(given.c.told.is_(None), is_there)
    names = [c.name for c in webhook_attempts.c]
    kept = case((may_keep, given.c.answer), else_="")
    values = (kept if name == "answer" else given.c[name] for name in names)
    return insert(webhook_attempts).from_select(names, select(*values))


def record(tx: Transaction, tried: Sequence[Tried]) -> Sequence[EventState | None]:
    """Record what became of attempts: each event's state now; None if the lease was over.

    What was in the way of a person's next event is so no more once it has come to its end.
    """
    dialect = tx.dialect.name
    ordered = sorted(tried, key=attrgetter("due.webhook_id", "due.id"))
    given = [
        {
            "webhook_id": one.due.webhook_id,
            "id": one.due.id,
            "lease": one.due.lease,
            "result": one.result,
            "delay_seconds": one.delay_seconds,
        }
        for one in ordered
    ]
    found = tx.execute(_record(dialect), {"rows": encode(dialect, given)}).all()
    states: dict[tuple[UUID, UUID, int], EventState] = {
        (row.webhook_id, row.id, row.lease): row.state for row in found
    }
    made = [one for one in ordered if _held(one) in states]
    if made:
        attempts = [_attempt(one) for one in made]
        tx.execute(_note_attempts(dialect), {"rows": encode(dialect, attempts)})
    for row in found:
        if row.state != "waiting" and row.person_id is not None:
            _call_next(tx, row.webhook_id, row.person_id)
    return [states.get(_held(one)) for one in tried]


def _attempt(one: Tried) -> dict[str, object]:
    return {
        "id": new_id(),
        "webhook_id": one.due.webhook_id,
        "event_id": one.due.id,
        "started_at": one.started_at,
        "milliseconds": one.milliseconds,
        "outcome": one.result,
        "status": one.status,
        "answer": one.answer,
        "told": one.due.person_id if one.due.person else None,
    }


def _held(one: Tried) -> tuple[UUID, UUID, int]:
    return one.due.webhook_id, one.due.id, one.due.lease


_NEXT = (
    select(_earlier.c.id)
    .where(
        _earlier.c.person_id == bindparam("person", type_=Key),
        _earlier.c.webhook_id == bindparam("webhook", type_=Key),
        _earlier.c.state == "waiting",
    )
    .order_by(_earlier.c.created_at, _earlier.c.id)
    .limit(1)
    .scalar_subquery()
)
_CALL_NEXT = (
    update(webhook_events)
    .where(
        _c.webhook_id == bindparam("webhook", type_=Key),
        _c.id == _NEXT,
        _c.lease == _c.recorded_lease,
        _c.failures == 0,
    )
    .values(due_at=now())
)


def _call_next(tx: Transaction, webhook_id: UUID, person_id: UUID) -> None:
    """Make the first event due that waits of a person, if it waited only for the one before.

    Even one that is due: somebody may be moving it behind the one that has just ended.
    """
    tx.execute(_CALL_NEXT, {"webhook": webhook_id, "person": person_id})


@cache
def _release(dialect: str) -> Executable:
    given = rows(dialect, *_HELD)
    return (
        update(webhook_events)
        .where(
            _c.webhook_id == given.c.webhook_id,
            _c.id == given.c.id,
            _c.lease == given.c.lease,
            _c.lease > _c.recorded_lease,
        )
        .values(due_at=now(), recorded_lease=_c.lease)
    )


def release(tx: Transaction, held: Iterable[Due]) -> None:
    """Give events back that were not tried: due now."""
    given = [
        {"webhook_id": one.webhook_id, "id": one.id, "lease": one.lease}
        for one in sorted(held, key=attrgetter("webhook_id", "id"))
    ]
    tx.execute(_release(tx.dialect.name), {"rows": encode(tx.dialect.name, given)})
    notify(tx, CHANNEL)
