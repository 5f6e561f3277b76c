"""The audit trail: which operator changed what, and when; only ids are in it, no personal data.

An entry is written in the transaction of the change itself: both are stored, or neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Index,
    Integer,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from reach.db import keyset
from reach.db.keyset import Conditions
from reach.db.transaction import Transaction
from reach.db.types import (
    Document,
    Instant,
    Key,
    among,
    metadata,
    new_id,
    now,
)

ActorKind = Literal["key", "oidc", "command"]
Via = Literal["api", "console", "cli"]
#: What operators do: ``<what it is done to>.<what is done>``.
Action = Literal[
    "person.add",
    "person.change",
    "person.erase",
    "people.import",
    "people.export",
    "message.send",
    "message.retry",
    "message.cancel",
    "messages.retry",
    "messages.cancel",
    "suppression.add",
    "suppression.lift",
    "template.send-test",
    "key.create",
    "key.revoke",
    "webhook.add",
    "webhook.change",
    "webhook.rotate",
    "webhook.test",
    "webhook.replay",
    "webhook.enable",
    "webhook.disable",
    "webhook.remove",
    "session.start",
    "session.end",
]
ACTIONS: tuple[Action, ...] = get_args(Action)
SWEEP_ROWS = 1000

audit = Table(
    "audit",
    metadata,
    Column("id", Key, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("actor_kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Key),
    Column("count", Integer, nullable=False),
    Column("details", Document, nullable=False),
    Index("ix_audit_actor", "actor", "id"),
    Index("ix_audit_action", "action", "id"),
    Index("ix_audit_subject", "subject", "id"),
    Index("ix_audit_at", "at"),
)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it: a key by its id, a person by OpenID Connect's subject, a command by its user id.

    ``via`` is the way they came.
    """

    kind: ActorKind
    id: str
    via: Via


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that an operator did.

    ``subject`` is the id of the person, message, suppression or key it was done to; None for many
    at once. ``count`` is how many it was done to. ``details`` say more, without personal data.
    """

    id: UUID
    at: datetime
    actor: Actor
    action: Action
    subject: UUID | None
    count: int
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """What entries are found by; None finds any. ``since`` counts, ``until`` does not."""

    actor: str | None = None
    action: Action | None = None
    subject: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> Conditions:
        """Say so in SQL, along the index that leaves the fewest, as far as can be told.

        An id holds the time it was made at, so times are a range of ids too.
        """
        same: Sequence[tuple[ColumnElement[Any], Any]] = [
            (audit.c.subject, self.subject),
            (audit.c.actor, self.actor),
            (audit.c.action, self.action),
        ]
        asked = [column == value for column, value in same if value is not None]
        found = Conditions(asked[:1], asked[1:])
        return found.between(audit.c.at, audit.c.id, self.since, self.until)


def note(
    tx: Transaction,
    actor: Actor,
    action: Action,
    subject: UUID | None = None,
    *,
    count: int = 1,
    **details: Any,
) -> UUID:
    """Write down that ``actor`` did this, in the transaction that does it; returns the entry's id.

    ``details`` are names of fields, templates, filters and the like: nothing that tells who
    somebody is. What erases somebody leaves their id here, which names nobody any more.
    """
    entry_id = new_id()
    tx.execute(
        insert(audit).values(
            id=entry_id,
            at=now(),
            actor_kind=actor.kind,
            actor=actor.id,
            via=actor.via,
            action=action,
            subject=subject,
            count=count,
            details=details,
        )
    )
    return entry_id


def count_more(tx: Transaction, entry_id: UUID, count: int) -> None:
    """Write down that it was done to so many more, in the transaction that does it.

    What takes several transactions is one entry, which is true after each of them.
    """
    more = update(audit).where(audit.c.id == entry_id).values(count=audit.c["count"] + count)
    tx.execute(more)


def page(
    tx: Transaction, chosen_by: Filter, *, limit: int, before: UUID | None = None
) -> tuple[Sequence[Entry], UUID | None]:
    """List entries, newest first, from after ``before`` (an entry's id) on; and where it goes on.

    A part may have fewer entries, even none, and go on all the same: see ``db.keyset``.
    """
    conditions = chosen_by.conditions()
    found, on = keyset.page(tx, select(audit), conditions, limit=limit, before=before)
    return [_entry(dict(row)) for row in found], on


def sweep(tx: Transaction, *, days: float) -> int:
    """Delete up to 1,000 entries that are older than ``days``; returns how many."""
    old = select(audit.c.id).where(audit.c.at < now(-days * 86_400)).limit(SWEEP_ROWS)
    return tx.execute(delete(audit).where(among(audit.c.id, old))).rowcount


def _entry(row: dict[str, Any]) -> Entry:
    actor = Actor(row.pop("actor_kind"), row.pop("actor"), row.pop("via"))
    return Entry(actor=actor, **row)
