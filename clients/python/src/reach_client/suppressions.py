"""Addresses that nothing is sent to."""

from reach_client.calls import (
    OMITTED,
    Call,
    Group,
    Id,
    Omitted,
    Way,
    asked,
    given,
    listing,
    nothing,
    one,
    operation,
    page,
)
from reach_client.model import Cause, Page, Suppression


class Suppressions(Group[Way]):
    """Addresses that nothing is sent to: `messages:read`, `messages:write`."""

    @listing("GET", "/v1/suppressions")
    def list(
        self,
        *,
        cause: Cause | None = None,
        address: str | None = None,
        page_size: int | None = None,
        cursor: str | None = None,
    ) -> Call[Page[Suppression]]:
        """Go through them, newest first. ``address`` is a whole one, in any spelling."""
        query = asked(cause=cause, address=address, limit=page_size, cursor=cursor)
        return Call(page(Suppression), query=query)

    @operation("GET", "/v1/suppressions/{id}")
    def get(self, id: Id) -> Call[Suppression]:
        """Read why nothing is sent to an address. Raises NotFound."""
        return Call(one(Suppression), id)

    @operation("POST", "/v1/suppressions")
    def add(
        self,
        email: str,
        *,
        note: str | Omitted | None = OMITTED,
        idempotency_key: str | None = None,
    ) -> Call[Suppression]:
        """Have nothing sent to an address. Raises Invalid.

        Done again, it changes the note; one whose owner complained stays as it is.
        """
        json = given(email=email, note=note)
        return Call(one(Suppression), json=json, idempotency_key=idempotency_key)

    @operation("DELETE", "/v1/suppressions/{id}")
    def lift(self, id: Id) -> Call[None]:
        """Have mail sent there again. Raises NotFound."""
        return Call(nothing, id)
