"""What is sent and shown of people, as JSON."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from reach.messages.routes import Template
from reach.people.antispam import Hidden
from reach.people.links import LinkRequest
from reach.people.signup import Description, Name, SignUp
from reach.shapes import Id

STATS: dict[str, Any] = {
    "people": 250,
    "confirmed": 198,
    "messages": {"queued": 3, "sent": 311, "failed": 1, "cancelled": 0},
    "oldest_due_seconds": 0.4,
    "late": 0,
    "per_hour": [{"hour": "2026-03-04T05:00:00Z", "sign_ups": 12, "deliveries": 14}],
    "as_of": "2026-03-04T05:06:07.890123Z",
}


def example(**fields: Any) -> ConfigDict:
    """Say in the document what to send: sent as it is, it does what its route says.

    What a form carries beside what people type has no place in it: filled in by those who try
    things out, it would make robots of them.
    """
    return ConfigDict(json_schema_extra={"examples": [fields]})


class Accepted(BaseModel):
    """What everybody is told, whether their address is known or not."""

    message: str


class Challenge(BaseModel):
    """A proof of work to do: the library altcha (version 2) or its widget solve it."""

    parameters: dict[str, Any]
    signature: str


class DoorSignUp(Hidden, SignUp):
    """What someone types to sign up, and what their form carries besides."""

    model_config = example(
        email="ada@example.com", name="Ada Lovelace", description="I write about engines."
    )


class DoorLinkRequest(Hidden, LinkRequest):
    """Whose link is asked for, and what the form carries besides."""

    model_config = example(email="ada@example.com")


class Add(SignUp):
    """A person whom an operator adds."""

    # Somebody else than signs up: each can be tried after the other.
    model_config = example(email="grace@example.com", name="Grace Hopper", welcome=True)

    welcome: bool = True


def without_defaults(schema: dict[str, Any]) -> None:
    """Say no default where what is left out stays as it is."""
    for field in schema["properties"].values():
        field.pop("default", None)
    schema["examples"] = [{"name": "Ada King", "description": None}]


class Changes(BaseModel):
    """Changes to a record; what is left out stays. A null description clears it."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=without_defaults)

    name: Name = ""
    description: Description | None = None


class NewMessage(BaseModel):
    """A message that an operator promises to somebody."""

    model_config = ConfigDict(extra="forbid") | example(
        person_id="01a20aee-6a2a-7a2b-8fad-3dec2137a7f1", template="manage-link"
    )

    person_id: Id
    template: Template
    data: dict[str, Any] = {}


class WelcomeBody(BaseModel):
    """What became of a person's welcome."""

    model_config = ConfigDict(from_attributes=True)

    state: Literal["queued", "sent", "failed", "cancelled"] | None
    sent_at: datetime | None


class PersonBody(BaseModel):
    """A person, as operators see them."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    email: str
    name: str
    description: str | None
    confirmed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    welcome: WelcomeBody


class Confirmed(BaseModel):
    """When somebody confirmed that their address is theirs."""

    model_config = ConfigDict(from_attributes=True)

    confirmed_at: datetime


class PersonPage(BaseModel):
    """Part of a list, newest first; ``next_cursor`` asks for the next part."""

    items: list[PersonBody]
    next_cursor: str | None


class MessageCounts(BaseModel):
    """How many messages are in each state."""

    queued: int
    sent: int
    failed: int
    cancelled: int


class HourBody(BaseModel):
    """How many signed up, and how many messages were delivered, in the hour from ``hour`` on."""

    model_config = ConfigDict(from_attributes=True)

    hour: datetime
    sign_ups: int
    deliveries: int


class StatsBody(BaseModel):
    """How many there were at ``as_of``, at most 5 s ago.

    ``oldest_due_seconds`` is how long the longest due message has been due, or the oldest request
    for a link has waited to be looked up, 0 if there is none; ``late`` how many queued messages
    were promised more than a minute ago, 10,000 at most. ``per_hour`` has the last 48 hours, the
    oldest first; the last one has only begun.
    """

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [STATS]})

    people: int
    confirmed: int
    messages: MessageCounts
    oldest_due_seconds: float
    late: int
    per_hour: list[HourBody]
    as_of: datetime


class Export(BaseModel):
    """Everything that is stored of a person, column by column; each message has its attempts.

    ``answers`` are those that a repeated request would get again; ``link_requests`` wait to be
    looked up.
    """

    person: dict[str, Any]
    messages: list[dict[str, Any]]
    answers: list[dict[str, Any]]
    link_requests: list[dict[str, Any]]


def wanted(changes: Changes) -> Mapping[str, str | None]:
    """What a change asks for: only what was sent; an empty description is none."""
    sent = changes.model_dump(exclude_unset=True)
    if "description" in sent:
        sent["description"] = sent["description"] or None
    return sent
