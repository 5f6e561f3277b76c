"""Other systems that are told what happens."""

from collections.abc import Sequence
from datetime import datetime

from reach_client.calls import (
    Call,
    Group,
    Id,
    Way,
    asked,
    listing,
    nothing,
    one,
    operation,
    page,
)
from reach_client.model import Page
from reach_client.webhook_model import (
    Delivery,
    DeliveryState,
    EventType,
    NewWebhook,
    Replayed,
    Tested,
    Webhook,
    WebhookList,
)


class Webhooks(Group[Way]):
    """The webhooks: `webhooks:read`, `webhooks:write`."""

    @operation("GET", "/v1/webhooks")
    def all(self) -> Call[WebhookList]:
        """Read all of them, the oldest first."""
        return Call(one(WebhookList))

    @operation("POST", "/v1/webhooks")
    def add(
        self,
        url: str,
        *,
        name: str | None = None,
        types: Sequence[EventType] | None = None,
        idempotency_key: str | None = None,
    ) -> Call[NewWebhook]:
        """Add one. Its secret is shown once: it is None if that answer was lost."""
        json = asked(url=url, name=name, types=types)
        return Call(one(NewWebhook), json=json, idempotency_key=idempotency_key)

    @operation("GET", "/v1/webhooks/{id}")
    def get(self, id: Id) -> Call[Webhook]:
        """Read one. Raises NotFound."""
        return Call(one(Webhook), id)

    @operation("PATCH", "/v1/webhooks/{id}")
    def change(
        self,
        id: Id,
        *,
        url: str | None = None,
        name: str | None = None,
        types: Sequence[EventType] | None = None,
    ) -> Call[Webhook]:
        """Change what is given. Raises NotFound."""
        return Call(one(Webhook), id, json=asked(url=url, name=name, types=types))

    @operation("DELETE", "/v1/webhooks/{id}")
    def remove(self, id: Id) -> Call[None]:
        """Remove one. Raises NotFound."""
        return Call(nothing, id)

    @operation("POST", "/v1/webhooks/{id}/rotate")
    def rotate(self, id: Id, *, idempotency_key: str | None = None) -> Call[NewWebhook]:
        """Make a new secret; for a day the one before signs as well. Raises NotFound."""
        return Call(one(NewWebhook), id, idempotency_key=idempotency_key)

    @operation("POST", "/v1/webhooks/{id}/enable")
    def enable(self, id: Id, *, idempotency_key: str | None = None) -> Call[Webhook]:
        """Turn one on. Raises NotFound."""
        return Call(one(Webhook), id, idempotency_key=idempotency_key)

    @operation("POST", "/v1/webhooks/{id}/disable")
    def disable(self, id: Id, *, idempotency_key: str | None = None) -> Call[Webhook]:
        """Turn one off. Raises NotFound."""
        return Call(one(Webhook), id, idempotency_key=idempotency_key)

    @operation("POST", "/v1/webhooks/{id}/test")
    def test(self, id: Id, *, idempotency_key: str | None = None) -> Call[Tested]:
        """Send it something that is about nobody. Raises NotFound; Conflict if it is off."""
        return Call(one(Tested), id, idempotency_key=idempotency_key)

    @operation("POST", "/v1/webhooks/{id}/replay")
    def replay(
        self,
        id: Id,
        *,
        event: Id | None = None,
        since: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Call[Replayed]:
        """Tell it again: one event, or all since a time. Raises NotFound; Conflict if it is off."""
        json = asked(event=event, since=since)
        return Call(one(Replayed), id, json=json, idempotency_key=idempotency_key)

    @listing("GET", "/v1/webhooks/{id}/deliveries")
    def deliveries(
        self,
        id: Id,
        *,
        state: DeliveryState | None = None,
        page_size: int | None = None,
        cursor: str | None = None,
    ) -> Call[Page[Delivery]]:
        """Go through what it hears, newest first. Raises NotFound."""
        query = asked(state=state, limit=page_size, cursor=cursor)
        return Call(page(Delivery), id, query=query)
