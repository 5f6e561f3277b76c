"""What Reach answers of webhooks: see ``reach_client.model``."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

EventType = Literal[
    "person.signed_up",
    "person.confirmed",
    "person.changed",
    "person.erased",
    "message.sent",
    "message.failed",
    "message.bounced",
    "message.complained",
    "*",
]
DeliveryState = Literal["waiting", "delivered", "failed"]
WebhookState = Literal["enabled", "failing", "disabled"]
DisabledReason = Literal["operator", "gone", "failing", "secret"]
TellingOutcome = Literal["delivered", "refused", "gone", "unreachable", "forbidden"]


@dataclass(frozen=True, slots=True)
class Webhook:
    """Another system that is told what happens. ``failures`` counts since the last success."""

    id: UUID
    url: str = field(repr=False)
    name: str
    types: tuple[str, ...]
    state: WebhookState
    disabled_reason: DisabledReason | None
    disabled_at: datetime | None
    failures: int
    failing_since: datetime | None
    paused_until: datetime | None
    delivered_at: datetime | None
    old_secret_until: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewWebhook(Webhook):
    """A webhook and its new ``secret``, shown once, and never in a ``repr``.

    It is None if the answer to the first try was lost: rotate it.
    """

    secret: str | None = field(repr=False)
    note: str


@dataclass(frozen=True, slots=True)
class WebhookList:
    """All webhooks, the oldest first."""

    items: tuple[Webhook, ...]


@dataclass(frozen=True, slots=True)
class Telling:
    """One try at telling a webhook, and how the receiver's answer began."""

    started_at: datetime
    milliseconds: int
    outcome: TellingOutcome
    status: int | None
    answer: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event that a webhook is to hear, or has heard; receivers see ``id`` as `webhook-id`."""

    id: UUID
    type: str
    person_id: UUID | None
    message_id: UUID | None
    state: DeliveryState
    attempts: int
    created_at: datetime
    due_at: datetime | None
    finished_at: datetime | None
    history: tuple[Telling, ...]


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many events are told again."""

    count: int


@dataclass(frozen=True, slots=True)
class Tested:
    """The id of the event that is sent."""

    id: UUID
