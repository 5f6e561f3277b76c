"""Noting what happened, in the transaction in which it does, for every webhook that wants to hear.

One statement for all events of a transaction. Where there is no webhook it writes nothing. See
docs/decisions/0077-webhooks.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Executable, insert, literal, or_, select, update

from reach.db.prepared import Prepared
from reach.db.transaction import Transaction, notify
from reach.db.types import beside, encode, new_id, now, rows
from reach.events.model import (
    EVERY,
    IS_WAITING,
    EventType,
    webhook_attempts,
    webhook_events,
    webhooks,
)

#: Workers wait for this to be announced.
CHANNEL = "reach_events"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a person, or to a message of theirs.

    ``details`` hold no personal data, for they outlive the person: names of fields, codes.
    """

    type: EventType
    person_id: UUID
    message_id: UUID | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


_columns = webhook_events.c
_GIVEN = tuple(_columns[name] for name in ("id", "type", "person_id", "message_id", "details"))
#: What else a new row holds.
BEGUN: Mapping[str, Any] = {
    "state": literal("waiting"),
    "due_at": now(),
    "lease": 0,
    "recorded_lease": 0,
    "attempts": 0,
    "failures": 0,
    "created_at": now(),
}
_ANY = Prepared(lambda _: select(webhooks.c.id).where(webhooks.c.disabled_at.is_(None)).limit(1))


@Prepared
def _note(dialect: str) -> Executable:
    given = rows(dialect, *_GIVEN)
    is_among = (literal(" ") + webhooks.c.types + " ").contains(literal(" ") + given.c.type + " ")
    is_wanted = or_(webhooks.c.types == EVERY, is_among)
    source = (
        select(webhooks.c.id, *(given.c[c.name] for c in _GIVEN), *BEGUN.values())
        .join_from(webhooks, given, is_wanted)
        .where(beside(webhooks.c.disabled_at.is_(None)))
        # The webhooks lead: there are few, and most often none.
    )
    names = ["webhook_id", *(c.name for c in _GIVEN), *BEGUN]
    return insert(webhook_events).from_select(names, source).returning(_columns.id)


def note(tx: Transaction, events: Sequence[Event]) -> None:
    """Write events down, in the caller's transaction; its COMMIT wakes a worker.

    Of several events of one person, the earlier ones come first. It takes no lock that anybody
    waits for. That there are no events is no shortcut: the time that it saved would tell strangers
    whether an address is known. That there is no webhook is one, where a look costs less.
    """
    if tx.dialect.name == "sqlite" and not _ANY.rows(tx, {}):
        return
    given = [
        {
            "id": new_id(),
            "type": one.type,
            "person_id": one.person_id,
            "message_id": one.message_id,
            "details": one.details,
        }
        for one in events
    ]
    if _note.rows(tx, {"rows": encode(tx.dialect.name, given)}):
        notify(tx, CHANNEL)


def forget(tx: Transaction, person_id: UUID) -> None:
    """Delete how receivers answered what they were told of a person, who is erased: see ``note``.

    The events stay, without personal data, so that who is still to hear them hears them in order.
    After the person is deleted. It waits for attempts that are being recorded, which may find them
    yet; what is recorded later finds nobody (see ``webhooks.queue.record``).
    """
    waiting = select(_columns.id).where(_columns.person_id == person_id, IS_WAITING)
    tx.execute(waiting.order_by(_columns.webhook_id, _columns.id).with_for_update()).all()
    theirs = webhook_attempts.c.event_id == webhook_events.c.id
    theirs &= webhook_attempts.c.webhook_id == webhook_events.c.webhook_id
    statement = update(webhook_attempts).where(theirs, webhook_events.c.person_id == person_id)
    tx.execute(statement.values(answer=""))


def export(tx: Transaction, person_id: UUID) -> Sequence[dict[str, Any]]:
    """All that is stored of who was told of a person, the oldest first, each with its attempts.

    To whom is the operator's affair: the address may hold a password.
    """
    shown = [_columns[n] for n in ("id", "type", "message_id", "details", "state", "created_at")]
    theirs = select(_columns.webhook_id, *shown).where(_columns.person_id == person_id)
    found = tx.execute(theirs.order_by(_columns.created_at, _columns.id)).mappings().all()
    tries: dict[tuple[UUID, UUID], list[dict[str, Any]]] = {
        (row["webhook_id"], row["id"]): [] for row in found
    }
    of_them = webhook_attempts.join(
        webhook_events,
        (webhook_attempts.c.webhook_id == _columns.webhook_id)
        & (webhook_attempts.c.event_id == _columns.id),
    )
    made = select(webhook_attempts).select_from(of_them).where(_columns.person_id == person_id)
    for row in tx.execute(made.order_by(webhook_attempts.c.id)).mappings():
        names = ("started_at", "milliseconds", "outcome", "status", "answer")
        tries[row["webhook_id"], row["event_id"]].append({name: row[name] for name in names})
    return [
        {**{c.name: row[c.name] for c in shown}, "history": tries[row["webhook_id"], row["id"]]}
        for row in found
    ]
