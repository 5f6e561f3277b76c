"""What operators do with messages."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from reach_client.calls import Call, Group, Id, Way, asked, given, listing, one, operation, page
from reach_client.model import Cancelled, Message, MessageWithHistory, Page, Retried, State


class Messages(Group[Way]):
    """What operators do with messages: `messages:read`, `messages:write`."""

    @listing("GET", "/v1/messages")
    def list(
        self,
        *,
        state: State | None = None,
        template: str | None = None,
        recipient: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int | None = None,
        cursor: str | None = None,
    ) -> Call[Page[Message]]:
        """Go through messages, newest first; ``since`` counts, ``until`` does not."""
        query = asked(
            state=state,
            template=template,
            recipient=recipient,
            since=since,
            until=until,
            limit=page_size,
            cursor=cursor,
        )
        return Call(page(Message), query=query)

    @operation("GET", "/v1/messages/{id}")
    def get(self, id: Id) -> Call[MessageWithHistory]:
        """Read a message, with every attempt, and what was reported of it. Raises NotFound."""
        return Call(one(MessageWithHistory), id)

    @operation("POST", "/v1/messages")
    def send(
        self,
        person_id: Id,
        template: str,
        *,
        data: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Call[Message]:
        """Send somebody an email from a template.

        Raises NotFound, of the person; Invalid, of the template; Conflict if they have to confirm
        their address first.
        """
        json = given(person_id=person_id, template=template, data=data or {})
        return Call(one(Message), json=json, idempotency_key=idempotency_key)

    @operation("POST", "/v1/messages/{id}/retry")
    def retry(self, id: Id, *, idempotency_key: str | None = None) -> Call[Message]:
        """Queue a message again. Raises NotFound; Conflict if it was sent."""
        return Call(one(Message), id, idempotency_key=idempotency_key)

    @operation("POST", "/v1/messages/{id}/cancel")
    def cancel(self, id: Id, *, idempotency_key: str | None = None) -> Call[Message]:
        """Cancel a message. Raises NotFound; Conflict unless it is queued."""
        return Call(one(Message), id, idempotency_key=idempotency_key)

    @operation("POST", "/v1/messages/retry")
    def retry_all(
        self,
        *,
        state: Literal["failed", "cancelled", "suppressed", "queued"] | None = None,
        template: str | None = None,
        recipient: str | None = None,
        person_id: Id | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> Call[Retried]:
        """Queue again all that are chosen, 10,000 a call at most; ``dry_run`` only counts them.

        Something must be chosen: ``state="failed"`` is all that failed, and what is meant if only
        other things are said. Raises Invalid.
        """
        chosen = asked(
            state=state,
            template=template,
            recipient=recipient,
            person_id=person_id,
            since=since,
            until=until,
        )
        json = {"filter": chosen, "dry_run": dry_run}
        return Call(one(Retried), json=json, idempotency_key=idempotency_key)

    @operation("POST", "/v1/messages/cancel")
    def cancel_all(
        self,
        *,
        state: Literal["queued"] | None = None,
        template: str | None = None,
        recipient: str | None = None,
        person_id: Id | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> Call[Cancelled]:
        """Cancel all that are chosen, 10,000 a call at most; ``dry_run`` only counts them.

        Something must be chosen: ``state="queued"`` is all that can be. Raises Invalid.
        """
        chosen = asked(
            state=state,
            template=template,
            recipient=recipient,
            person_id=person_id,
            since=since,
            until=until,
        )
        json = {"filter": chosen, "dry_run": dry_run}
        return Call(one(Cancelled), json=json, idempotency_key=idempotency_key)
