"""What a person does with their own record, by the token of a link."""

from reach_client.calls import (
    OMITTED,
    Call,
    Group,
    Omitted,
    Way,
    given,
    nothing,
    one,
    one_if_changed,
    operation,
)
from reach_client.model import Accepted, Confirmed, OwnExport, OwnRecord
from reach_client.people import changes


class Me(Group[Way]):
    """A person's own record. Every call raises Unauthorised if the link does not work any more."""

    @operation("GET", "/v1/me", by="link")
    def get(self, *, if_match: str | None = None) -> Call[OwnRecord]:
        """Read it. Raises PreconditionFailed if it is no longer as in ``if_match``."""
        return Call(one(OwnRecord), if_match=if_match)

    @operation("GET", "/v1/me", by="link")
    def get_if_changed(self, if_none_match: str) -> Call[OwnRecord | None]:
        """Read it if it is not as it was when it had this etag, else give None."""
        return Call(one_if_changed(OwnRecord), if_none_match=if_none_match)

    @operation("PATCH", "/v1/me", by="link")
    def change(
        self,
        *,
        name: str | Omitted = OMITTED,
        description: str | Omitted | None = OMITTED,
        language: str | Omitted | None = OMITTED,
        if_match: str | None = None,
    ) -> Call[OwnRecord]:
        """Change it: what is left out stays, and None clears it. An email says so.

        Raises Invalid; PreconditionFailed if it is no longer as in ``if_match``.
        """
        json = changes(name, description, language)
        return Call(one(OwnRecord), json=json, if_match=if_match)

    @operation("DELETE", "/v1/me", by="link")
    def erase(self, *, if_match: str | None = None) -> Call[None]:
        """Remove it, its messages and every trace. Raises PreconditionFailed.

        Unauthorised with ``perhaps_done`` may mean that the answer to an earlier try was lost.
        """
        return Call(nothing, if_match=if_match)

    @operation("POST", "/v1/me/confirmation", by="link")
    def confirm(self, *, idempotency_key: str | None = None) -> Call[Confirmed]:
        """Confirm that the address is theirs. Again is no harm."""
        return Call(one(Confirmed), idempotency_key=idempotency_key)

    @operation("POST", "/v1/me/email", by="link")
    def move(self, email: str, *, idempotency_key: str | None = None) -> Call[Accepted]:
        """Ask to move it to another address: both addresses get an email. Raises Invalid."""
        return Call(one(Accepted), json=given(email=email), idempotency_key=idempotency_key)

    @operation("DELETE", "/v1/me/email", by="link")
    def stop_move(self) -> Call[None]:
        """Stop the move to another address."""
        return Call(nothing)

    @operation("POST", "/v1/me/email/confirmation", by="link")
    def confirm_move(self, *, idempotency_key: str | None = None) -> Call[Confirmed]:
        """Say yes to the move, by the token of the email to the new address.

        Every link so far is void then, this one too. Raises Conflict if somebody has that address.
        """
        return Call(one(Confirmed), idempotency_key=idempotency_key)

    @operation("DELETE", "/v1/me/links", by="link")
    def void_links(self) -> Call[None]:
        """Stop every link so far, this one too."""
        return Call(nothing)

    @operation("GET", "/v1/me/export", by="link")
    def export(self) -> Call[OwnExport]:
        """Read all that is stored of them."""
        return Call(one(OwnExport))
