"""Webhooks, what happened that each of them is to hear of, and each try at telling it."""

from typing import Literal, get_args

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)

from reach.db.types import Document, Instant, Key, metadata

#: What others can ask to hear of.
EventType = Literal[
    "person.signed_up",
    "person.confirmed",
    "person.changed",
    "person.erased",
    "message.sent",
    "message.failed",
    "message.bounced",
    "message.complained",
]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
#: What an operator has sent to see whether anything arrives. It is about nobody.
TEST = "webhook.test"
#: In place of types: every one that there is, and will be.
EVERY = "*"

EventState = Literal["waiting", "delivered", "failed"]
EVENT_STATES: tuple[EventState, ...] = get_args(EventState)

#: Where events are sent. ``types`` are written with spaces between them. ``secret`` and
#: ``old_secret`` are sealed (see ``webhooks.secrets``). ``failures`` counts since the last success,
#: ``failing_since`` is the first of them; until ``paused_until`` nothing is sent.
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Key, primary_key=True),
    Column("url", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("types", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("old_secret", Text),
    Column("old_secret_until", Instant),
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant),
    Column("disabled_reason", Text),
    Column("failures", Integer, nullable=False),
    Column("failing_since", Instant),
    Column("paused_until", Instant),
    Column("delivered_at", Instant),
)

#: One row for each event and webhook; the event's id is the same for all of them. No personal data
#: is in it: what is said of a person is read when it is sent. So nothing refers to people, and the
#: rows of who was erased stay, to be told. Nothing refers to webhooks: to sign up locks none.
webhook_events = Table(
    "webhook_events",
    metadata,
    Column("webhook_id", Key, nullable=False),
    Column("id", Key, nullable=False),
    Column("type", Text, nullable=False),
    Column("person_id", Key),
    Column("message_id", Key),
    Column("details", Document, nullable=False),
    Column("state", Text, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("lease", Integer, nullable=False),
    Column("recorded_lease", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("first_failed_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("finished_at", Instant),
    PrimaryKeyConstraint("webhook_id", "id"),
    CheckConstraint(f"state IN {EVENT_STATES}", name="state"),
)
#: In the words of the indexes below: with parameters in them, no database could use these.
IS_WAITING = webhook_events.c.state == text("'waiting'")
IS_FINISHED = webhook_events.c.finished_at.is_not(None)
Index(
    "ix_webhook_events_due",
    webhook_events.c.webhook_id,
    webhook_events.c.due_at,
    postgresql_where=IS_WAITING,
    sqlite_where=IS_WAITING,
)
#: What came before for the same person; and all that is stored of them.
Index(
    "ix_webhook_events_person",
    webhook_events.c.person_id,
    webhook_events.c.webhook_id,
    webhook_events.c.created_at,
    webhook_events.c.id,
)
Index(
    "ix_webhook_events_sweep",
    webhook_events.c.finished_at,
    postgresql_where=IS_FINISHED,
    sqlite_where=IS_FINISHED,
)

#: ``answer`` is how the receiver's answer began. It may repeat what it was told.
webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("id", Key, primary_key=True),
    Column("webhook_id", Key, nullable=False),
    Column("event_id", Key, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("milliseconds", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("status", SmallInteger),
    Column("answer", Text, nullable=False),
    ForeignKeyConstraint(
        ["webhook_id", "event_id"],
        ["webhook_events.webhook_id", "webhook_events.id"],
        ondelete="CASCADE",
        name="fk_webhook_attempts_event",
    ),
)
Index(
    "ix_webhook_attempts_event",
    webhook_attempts.c.webhook_id,
    webhook_attempts.c.event_id,
    webhook_attempts.c.id,
)
