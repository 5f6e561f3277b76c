"""Someone who signed up."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, Index, Integer, Table, Text

from reach.db.types import Document, Instant, Key, OrderedText, metadata
from reach.messages.model import State
from reach.people.address_changes import AddressChange

people = Table(
    "people",
    metadata,
    Column("id", Key, primary_key=True),
    Column("email", Text, nullable=False),
    Column("email_key", OrderedText, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("confirmed_at", Instant),
    Column("links_version", Integer, nullable=False),
    Column("language", Text),
    Column("greeted_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("version", Integer, nullable=False),
    Column("typed_version", Integer),
    #: See ``people.consent``. Without a time of its own it was given at ``created_at``.
    Column("consent", Document),
    Column("consented_at", Instant),
    #: See ``people.unsubscribe``.
    Column("unsubscribed_at", Instant),
)
Index("uq_people_email_key", people.c.email_key, unique=True)
IS_CONFIRMED = people.c.confirmed_at.is_not(None)
#: A page of either costs the same however few they are among the others.
Index(
    "ix_people_confirmed",
    people.c.id,
    postgresql_where=IS_CONFIRMED,
    sqlite_where=IS_CONFIRMED,
)
Index(
    "ix_people_unconfirmed",
    people.c.id,
    postgresql_where=~IS_CONFIRMED,
    sqlite_where=~IS_CONFIRMED,
)
#: Those of a language; who has none is found by the others alone.
Index("ix_people_language", people.c.language, people.c.id)


@dataclass(frozen=True, slots=True)
class Welcome:
    """What became of a person's newest welcome message; ``state`` is None if there is none."""

    state: State | None
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who signed up, or was signed up by an operator.

    ``version`` grows with every change of the record, and of nothing else. ``change`` is the change
    of their address that is under way: they see it, and operators do not.
    """

    id: UUID
    email: str = field(repr=False)
    name: str = field(repr=False)
    description: str | None = field(repr=False)
    confirmed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int
    language: str | None
    welcome: Welcome
    change: AddressChange | None = None

    @property
    def pending_email(self) -> str | None:
        """The address that the record is to move to."""
        return self.change.email if self.change else None

    @property
    def etag(self) -> str:
        """RFC 9110 §8.8.3: changes with whatever a GET shows of the person.

        Two welcomes may be sent one after the other, so the state alone would not do.
        """
        sent_at = self.welcome.sent_at
        when = "" if sent_at is None else f"-{int(sent_at.timestamp() * 1_000_000):x}"
        change = f"-{self.change.number:x}" if self.change else ""
        return f'"{self.version}.{self.welcome.state or "none"}{when}{change}"'
