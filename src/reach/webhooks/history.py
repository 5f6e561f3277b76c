"""What webhooks were told, and are to be told again: listed, replayed, tested, swept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, select, tuple_, update

from reach.db import keyset
from reach.db.keyset import Conditions
from reach.db.transaction import Transaction, notify
from reach.db.types import among, new_id, now
from reach.events.model import (
    IS_FINISHED,
    TEST,
    EventState,
    webhook_attempts,
    webhook_events,
    webhooks,
)
from reach.events.noting import BEGUN, CHANNEL
from reach.problems import NotFound
from reach.webhooks import endpoints
from reach.webhooks.endpoints import WebhookDisabled
from reach.webhooks.queue import AttemptResult

SWEEP_ROWS = 1000
#: Before every id.
FIRST = UUID(int=0)
#: So many events are replayed in one transaction.
REPLAY_ROWS = 1000

_c = webhook_events.c


class NoSuchEvent(NotFound):
    """This webhook was told of no event of this id, or that was too long ago."""

    type, title = "no-such-event", "There is no such event"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at telling a webhook. ``answer`` is how the receiver's answer began."""

    started_at: datetime
    milliseconds: int
    outcome: AttemptResult
    status: int | None
    answer: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event that a webhook is to hear, or has heard, with each attempt, the oldest first."""

    id: UUID
    type: str
    person_id: UUID | None
    message_id: UUID | None
    state: EventState
    attempts: int
    created_at: datetime
    due_at: datetime
    finished_at: datetime | None
    history: Sequence[Attempt]


_SHOWN = ["id", "type", "person_id", "message_id", "state", "attempts"]
_SHOWN += ["created_at", "due_at", "finished_at"]
_ROWS = select(*(_c[name] for name in _SHOWN))


def page(
    tx: Transaction,
    webhook_id: UUID,
    *,
    limit: int,
    before: UUID | None = None,
    state: EventState | None = None,
) -> tuple[Sequence[Delivery], UUID | None]:
    """List what a webhook hears, newest first; and where the list goes on. Raises NoSuchWebhook."""
    endpoints.view(tx, webhook_id)
    fitting = [_c.state == state] if state else []
    conditions = Conditions([_c.webhook_id == webhook_id], fitting)
    rows = _ROWS.where(_c.webhook_id == webhook_id)
    found, on = keyset.page(tx, rows, conditions, limit=limit, before=before)
    tries = _tries(tx, webhook_id, [row["id"] for row in found])
    return [Delivery(**row, history=tries.get(row["id"], ())) for row in found], on


def view(tx: Transaction, webhook_id: UUID, event_id: UUID) -> Delivery:
    """Find one event of a webhook. Raises NoSuchEvent."""
    one = _ROWS.where(_c.webhook_id == webhook_id, _c.id == event_id)
    row = tx.execute(one).mappings().one_or_none()
    if row is None:
        raise NoSuchEvent
    return Delivery(**row, history=_tries(tx, webhook_id, [event_id]).get(event_id, ()))


def _tries(
    tx: Transaction, webhook_id: UUID, ids: Sequence[UUID]
) -> Mapping[UUID, Sequence[Attempt]]:
    tries: dict[UUID, list[Attempt]] = {}
    if not ids:
        return tries
    columns = webhook_attempts.c
    made = select(webhook_attempts).where(
        columns.webhook_id == webhook_id, columns.event_id.in_(ids)
    )
    for row in tx.execute(made.order_by(columns.id)).mappings():
        names = ("started_at", "milliseconds", "outcome", "status", "answer")
        tries.setdefault(row["event_id"], []).append(Attempt(**{n: row[n] for n in names}))
    return tries


_AGAIN: Mapping[str, Any] = {
    "state": "waiting",
    "due_at": now(),
    "failures": 0,
    "first_failed_at": None,
    "finished_at": None,
}


def replay(tx: Transaction, webhook_id: UUID, event_id: UUID) -> None:
    """Tell one event again that is delivered, failed or waits, with the same id.

    Raises NoSuchWebhook; WebhookDisabled; NoSuchEvent.
    """
    _require_enabled(tx, webhook_id)
    of_it = _c.webhook_id == webhook_id, _c.id == event_id
    # One that is being sent at this moment stays with its worker.
    free = update(webhook_events).where(*of_it, _c.lease == _c.recorded_lease)
    if tx.execute(free.values(_AGAIN)).rowcount == 0:
        view(tx, webhook_id, event_id)
    notify(tx, CHANNEL)


def replay_some(
    tx: Transaction, webhook_id: UUID, since: datetime, after: UUID | None = None
) -> tuple[int, UUID | None]:
    """Tell again up to 1,000 events since a time that are delivered or failed, the oldest first.

    Returns how many, and after which id it goes on; None at the end. Raises NoSuchWebhook;
    WebhookDisabled.
    """
    _require_enabled(tx, webhook_id)
    some = select(_c.id).where(
        _c.webhook_id == webhook_id, _c.created_at >= since, _c.state != "waiting"
    )
    if after is not None:
        some = some.where(_c.id > after)
    ids = tx.execute(some.order_by(_c.id).limit(REPLAY_ROWS).with_for_update()).scalars().all()
    if not ids:
        return 0, None
    again = update(webhook_events).where(_c.webhook_id == webhook_id, _c.id.in_(ids))
    tx.execute(again.values(_AGAIN))
    notify(tx, CHANNEL)
    return len(ids), ids[-1] if len(ids) == REPLAY_ROWS else None


def test(tx: Transaction, webhook_id: UUID) -> UUID:
    """Have a webhook told of nothing, to see whether that arrives; returns the event's id.

    Raises NoSuchWebhook; WebhookDisabled.
    """
    _require_enabled(tx, webhook_id)
    event_id = new_id()
    row = {"webhook_id": webhook_id, "id": event_id, "type": TEST, "details": {}}
    tx.execute(insert(webhook_events).values({**row, **BEGUN}))
    notify(tx, CHANNEL)
    return event_id


def _require_enabled(tx: Transaction, webhook_id: UUID) -> None:
    if endpoints.view(tx, webhook_id).disabled_at is not None:
        raise WebhookDisabled


def sweep(tx: Transaction, *, days: float) -> int:
    """Delete up to 1,000 events that came to their end more than ``days`` ago; returns how many."""
    old = (
        select(_c.webhook_id, _c.id)
        .where(IS_FINISHED, _c.finished_at < now(-days * 86_400))
        .limit(SWEEP_ROWS)
    )
    found = tuple_(_c.webhook_id, _c.id).in_(old)
    return tx.execute(delete(webhook_events).where(found)).rowcount


def sweep_orphans(tx: Transaction) -> int:
    """Delete up to 1,000 events of webhooks that were removed; returns how many.

    From one webhook's events it goes to the next one's, by the index: they are few.
    """
    known = set(tx.execute(select(webhooks.c.id)).scalars())
    ids = select(_c.webhook_id).order_by(_c.webhook_id).limit(1)
    found: UUID | None = FIRST
    while found == FIRST or found in known:
        found = tx.execute(ids.where(_c.webhook_id > found)).scalar_one_or_none()
    if found is None:
        return 0
    some = select(_c.id).where(_c.webhook_id == found).order_by(_c.id).limit(SWEEP_ROWS)
    gone = delete(webhook_events).where(_c.webhook_id == found, among(_c.id, some))
    return tx.execute(gone).rowcount
