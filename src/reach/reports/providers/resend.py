"""Resend: webhooks of email events, signed as Svix does, which is Standard Webhooks.

resend.com/docs: "Verify webhooks requests", "Event types", "Email bounces".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from reach.reports.model import Category, Clues, Kind, Report
from reach.reports.providers.amazon_ses import bounce_category
from reach.reports.providers.model import (
    Malformed,
    Provider,
    Received,
    clues,
    inner,
    items,
    mapping,
    named,
    verdict,
)
from reach.reports.providers.standard_webhooks import Signatures
from reach.web.body import parse_json

PREFIXES = ("svix", "webhook")
#: What an event means, and whose fault it is unless a mail server's reply says it better.
EVENTS: Mapping[str, tuple[Kind, Category]] = {
    "email.delivered": ("delivered", "undetermined"),
    "email.delivery_delayed": ("delayed", "transient"),
    "email.complained": ("complained", "undetermined"),
    "email.bounced": ("bounced", "undetermined"),  # see ``bounce_category``
    "email.suppressed": ("bounced", "permanent"),  # on Resend's list: it bounced or complained
    "email.failed": ("bounced", "sender"),  # a quota, a domain that is not verified
}
#: Where an event says more of what happened.
MORE = ("bounce", "suppressed", "failed", "delivery_delayed")


class Resend(Provider):
    """Reads Resend's webhooks; ``secrets`` are the signing secrets that are accepted."""

    name = "resend"

    def __init__(self, secrets: Sequence[str]) -> None:
        self._signatures = Signatures(secrets, PREFIXES)

    async def reports(self, received: Received) -> Sequence[Report]:
        """Read what came: an event a request, of all the recipients of an email."""
        self._signatures.verify(received)
        event = mapping(parse_json(received.body), "the event")
        kind = event.get("type")
        if not isinstance(kind, str):
            raise Malformed("There should be a text: type.")
        if kind not in EVENTS:  # sent, opened, clicked, and those of contacts and domains
            return []
        data = mapping(event.get("data"), "data")
        meant, category = EVENTS[kind]
        more = next((inner(data, name) for name in MORE if inner(data, name)), {})
        if kind == "email.bounced":
            category = bounce_category(more.get("type"), more.get("subType"))
        found = [verdict(meant, one, _said(more), otherwise=category) for one in _to(data)]
        return [Report(self.name, _clues(data), tuple(found))]


def _to(data: Mapping[str, Any]) -> Sequence[Any]:
    to = data.get("to")
    return [to] if isinstance(to, str) else items(data, "to") or [None]


def _said(more: Mapping[str, Any]) -> Any:
    """Give the mail server's reply if it is there, else what Resend says, else why."""
    codes = more.get("diagnosticCode")
    code = codes[0] if isinstance(codes, list) and codes else codes
    return code or more.get("message") or more.get("reason")


def _clues(data: Mapping[str, Any]) -> Clues:
    ids = [*named(items(data, "headers")), data.get("message_id")]
    return clues(ids, provider_id=data.get("email_id"))
