"""What we owe people, and each try at giving it to them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    literal_column,
    text,
)

from reach.db.types import Document, Instant, Key, metadata

#: ``bounced`` and ``complained`` are what was reported of a message after it was sent (see
#: ``reports.model``); ``suppressed`` is one that was not sent, because nothing is sent to its
#: address (see ``messages.suppressions``).
State = Literal["queued", "sent", "failed", "cancelled", "bounced", "complained", "suppressed"]
STATES: tuple[State, ...] = get_args(State)
#: The mail server has taken the message, whatever came of it then.
SENT: tuple[State, ...] = ("sent", "bounced", "complained")

#: A template's name.
TEMPLATE_NAME_CHARACTERS = 63
TEMPLATE_NAME = re.compile(rf"[a-z][a-z0-9-]{{0,{TEMPLATE_NAME_CHARACTERS - 1}}}")

#: What anybody can have sent who knows an address. With ``REACH_CONFIRM=required`` it is all that
#: somebody gets who has not confirmed.
STRANGERS = ("welcome", "already-signed-up", "manage-link")
#: What the maker gets (see ``people.notices``): it is about people, and goes to none of them.
NOTICE = "notice"
#: And this one (see ``webhooks.health``), in English as the console is; it is about nobody.
WEBHOOK_DISABLED = "webhook-disabled"
#: Both are promised by Reach alone.
OF_MAKERS = (NOTICE, WEBHOOK_DISABLED)

#: What goes to the address that a person wants to have (see ``people.move``), maybe another's.
CONFIRM_ADDRESS = "confirm-address"

#: In the data of a message that is to show somebody a template: what it says is made up when it is
#: composed. It has no person.
TEST = "test"

#: The outbox.
messages = Table(
    "messages",
    metadata,
    Column("id", Key, primary_key=True),
    Column("person_id", Key, ForeignKey("people.id", ondelete="CASCADE")),
    Column("template", Text, nullable=False),
    Column("data", Document, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("lease", Integer, nullable=False),
    Column("recorded_lease", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("first_failed_at", Instant),
    Column("message_id", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("last_error", Text),
    Column("trace_context", Text),
    Column("suspected_at", Instant),
    CheckConstraint(f"state IN {STATES}", name="state"),
)
#: In the words of the indexes below: with parameters in them, no database could use these.
IS_QUEUED = messages.c.state == text("'queued'")
IS_SENT = messages.c.state.in_([literal_column(f"'{state}'") for state in SENT])
IS_SWEPT = messages.c.template != text("'welcome'")
#: What is due costs the same however many messages are finished.
Index("ix_messages_due", messages.c.due_at, postgresql_where=IS_QUEUED, sqlite_where=IS_QUEUED)
Index("ix_messages_person_id", messages.c.person_id, messages.c.id)
Index("ix_messages_state", messages.c.state, messages.c.id)
Index("ix_messages_template", messages.c.template, messages.c.id)
Index("ix_messages_sweep", messages.c.finished_at, postgresql_where=IS_SWEPT, sqlite_where=IS_SWEPT)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Key, primary_key=True),
    Column("message_id", Key, ForeignKey("messages.id", ondelete="CASCADE"), nullable=False),
    Column("worker", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("smtp_code", SmallInteger),
    Column("enhanced_code", Text),
    Column("text", Text, nullable=False),
)
Index("ix_attempts_message_id", attempts.c.message_id, attempts.c.id)

#: What was reported of a message after it was sent: of each kind (see ``reports.model``) once, so
#: that what is told again changes nothing.
reports = Table(
    "reports",
    metadata,
    Column("message_id", Key, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("category", Text),
    Column("source", Text, nullable=False),
    Column("smtp_code", SmallInteger),
    Column("enhanced_code", Text),
    Column("text", Text, nullable=False),
    Column("reported_at", Instant, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Message:
    """An email promised to one person; or to the maker, and ``person_id`` is whom it names, if any.

    ``due_at`` is when it may next be tried. A worker holds a message by moving ``due_at``
    ahead, so a dead worker's message falls due again by itself; ``lease`` tells its late word
    from its successor's. ``recorded_lease`` is the last lease whose outcome was recorded,
    or that was given back: how far ``lease`` is ahead of it is how many workers in a row have
    vanished with it.

    ``attempts`` counts tries ever; ``failures`` those since it was promised or last retried.
    ``first_failed_at`` is the first of these, moved ahead by all the time it then lay due and
    untried: an open circuit breaker does not use up a message's four days.

    ``suspected_at`` is the first of the failures, up to the last one, that may have been about us
    rather than about this message; moved ahead like ``first_failed_at``. None if the last was not.

    ``message_id`` (the header's, in angle brackets) and ``created_at`` (the ``Date``) never
    change, so that a duplicate can be known as one.

    ``trace_context`` (a W3C ``traceparent``) is that of the request that promised it.

    ``links_version``, ``is_confirmed``, ``language`` and ``is_unsubscribed`` are the person's (see
    ``auth.links``) at the time of the lease; None of a message that was not leased. The language is
    None, too, of somebody whose own is not known.
    """

    id: UUID
    person_id: UUID | None
    template: str
    data: Mapping[str, Any] = field(repr=False)
    recipient: str = field(repr=False)
    state: State
    due_at: datetime
    lease: int
    recorded_lease: int
    attempts: int
    failures: int
    first_failed_at: datetime | None
    message_id: str
    created_at: datetime
    finished_at: datetime | None
    last_error: str | None = field(repr=False)
    trace_context: str | None
    suspected_at: datetime | None = None
    links_version: int | None = field(default=None, compare=False)
    is_confirmed: bool | None = field(default=None, compare=False)
    language: str | None = field(default=None, compare=False)
    is_unsubscribed: bool | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at delivering a message, and the mail server's answer to it."""

    id: UUID
    message_id: UUID
    worker: str
    started_at: datetime
    finished_at: datetime
    outcome: str
    smtp_code: int | None
    enhanced_code: str | None
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reported:
    """What was reported of a message after it was sent: in the words of ``reports.model``."""

    message_id: UUID
    kind: str
    category: str | None
    source: str
    smtp_code: int | None
    enhanced_code: str | None
    text: str = field(repr=False)
    reported_at: datetime


class History(NamedTuple):
    """A message, every attempt at it, and what was reported of it; the oldest first."""

    message: Message
    attempts: Sequence[Attempt]
    reports: Sequence[Reported]
