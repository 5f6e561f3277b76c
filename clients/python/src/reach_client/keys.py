"""What operators do with keys, and who did what."""

from collections.abc import Sequence
from datetime import datetime

from reach_client.calls import (
    Call,
    Group,
    Id,
    Way,
    asked,
    given,
    listing,
    nothing,
    one,
    operation,
    page,
)
from reach_client.model import Action, AuditEntry, Key, NewKey, Page, Scope


class Keys(Group[Way]):
    """The operators' keys: `keys:write`."""

    @listing("GET", "/v1/keys")
    def list(self, *, page_size: int | None = None, cursor: str | None = None) -> Call[Page[Key]]:
        """Go through the keys, newest first, those that are no longer valid too."""
        return Call(page(Key), query=asked(limit=page_size, cursor=cursor))

    @operation("POST", "/v1/keys")
    def create(
        self,
        name: str,
        scopes: Sequence[Scope],
        *,
        expires_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Call[NewKey]:
        """Make a key. It is shown once: ``key`` is None if that answer was lost."""
        json = given(name=name, scopes=scopes, expires_at=expires_at)
        return Call(one(NewKey), json=json, idempotency_key=idempotency_key)

    @operation("DELETE", "/v1/keys/{id}")
    def revoke(self, id: Id) -> Call[None]:
        """End a key. Raises NotFound."""
        return Call(nothing, id)


class Audit(Group[Way]):
    """The audit trail: `audit:read`."""

    @listing("GET", "/v1/audit")
    def list(
        self,
        *,
        actor: str | None = None,
        action: Action | None = None,
        subject: Id | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int | None = None,
        cursor: str | None = None,
    ) -> Call[Page[AuditEntry]]:
        """Go through what operators did, newest first.

        ``actor`` is the id of one, ``subject`` the id of what it was done to.
        """
        query = asked(
            actor=actor,
            action=action,
            subject=subject,
            since=since,
            until=until,
            limit=page_size,
            cursor=cursor,
        )
        return Call(page(AuditEntry), query=query)
