"""What is said and asked of webhooks over HTTP."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from reach.auth.keys import fit_name
from reach.events.model import EventState, EventType
from reach.shapes import TEXT, Id, Time
from reach.webhooks import endpoints
from reach.webhooks.endpoints import DisabledReason, WebhookState
from reach.webhooks.history import Delivery
from reach.webhooks.queue import AttemptResult
from reach.webhooks.targets import URL_CHARACTERS, Target

EXAMPLE: dict[str, Any] = {
    "url": "https://example.org/hooks",
    "name": "shop",
    "types": ["person.signed_up"],
}
EXAMPLE_TIME = "2026-03-04T05:06:07Z"


def _url(text: str, info: ValidationInfo) -> str:
    """Read where a webhook leads. Raises ValueError."""
    Target.parse(text, info.context["settings"].webhook_targets)  # type: ignore[index]
    return text


Url = Annotated[
    str,
    AfterValidator(_url),
    Field(
        max_length=URL_CHARACTERS,
        description="`https`, and public, unless `REACH_WEBHOOK_ALLOW` names where it leads",
        json_schema_extra={"format": "uri"},
    ),
]
Name = Annotated[
    str,
    AfterValidator(fit_name),
    Field(
        json_schema_extra={
            "minLength": 1,
            "maxLength": endpoints.NAME_CHARACTERS,
            **TEXT.keywords,
        }
    ),
]
Types = Annotated[
    list[EventType | Literal["*"]],
    Field(min_length=1, max_length=20, description="What it hears of; `*` is all of it"),
]


class NewWebhook(BaseModel):
    """A webhook to be added. It hears of what happens from then on."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [EXAMPLE]}
    )

    url: Url
    name: Name = "webhook"
    types: Types = ["*"]


class WebhookChanges(BaseModel):
    """What to change of a webhook; what is left out stays."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"types": ["*"]}]}
    )

    url: Url | None = None
    name: Name | None = None
    types: Types | None = None


class ReplayRequest(BaseModel):
    """What to tell again: one `event`, or all `since` a time that are delivered or failed."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"since": EXAMPLE_TIME}]}
    )

    event: Id | None = None
    since: Time | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.event is None) == (self.since is None):
            raise ValueError("Name an event, or a time since which all are told again.")
        return self


class WebhookBody(BaseModel):
    """A webhook, without its secret. ``failures`` counts since the last success."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    url: str
    name: str
    types: list[str]
    state: WebhookState
    disabled_reason: DisabledReason | None
    disabled_at: datetime | None
    failures: int
    failing_since: datetime | None
    paused_until: datetime | None
    delivered_at: datetime | None
    old_secret_until: datetime | None
    created_at: datetime


class WebhookWithSecret(WebhookBody):
    """A webhook and its new secret. It is shown once: null if the request is repeated."""

    secret: str | None
    note: str


class WebhookList(BaseModel):
    """All webhooks, the oldest first."""

    items: list[WebhookBody]


class WebhookAttemptBody(BaseModel):
    """One try at telling a webhook, and how the receiver's answer began."""

    model_config = ConfigDict(from_attributes=True)

    started_at: datetime
    milliseconds: int
    outcome: AttemptResult
    status: int | None
    answer: str


class DeliveryBody(BaseModel):
    """An event that a webhook is to hear, or has heard; `id` is the receiver's `webhook-id`."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    type: str
    person_id: UUID | None
    message_id: UUID | None
    state: EventState
    attempts: int
    created_at: datetime
    due_at: datetime | None
    finished_at: datetime | None
    history: list[WebhookAttemptBody]


class DeliveryPage(BaseModel):
    """Part of a list, newest first; ``next_cursor`` asks for the next part."""

    items: list[DeliveryBody]
    next_cursor: str | None


class Replayed(BaseModel):
    """How many events are told again."""

    count: int


class Tested(BaseModel):
    """The id of the event that is sent; what becomes of it is among the deliveries."""

    id: UUID


def delivery_body(delivery: Delivery) -> DeliveryBody:
    """Show an event of a webhook's; one that came to its end has no next try."""
    body = DeliveryBody.model_validate(delivery)
    return body if delivery.state == "waiting" else body.model_copy(update={"due_at": None})
