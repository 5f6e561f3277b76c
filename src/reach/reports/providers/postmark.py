"""Postmark: webhooks for bounces, spam complaints and deliveries, with a password in their URL.

Postmark signs nothing: its documentation has HTTP's basic authentication and a list of its
addresses (postmarkapp.com/developer/webhooks/webhooks-overview).
"""

import hmac
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any

from reach.reports.model import Category, Clues, Kind, Report, Verdict
from reach.reports.providers.model import (
    NAMING,
    NotVerified,
    Provider,
    Received,
    clues,
    inner,
    mapping,
    verdict,
)
from reach.web.body import parse_json

#: Postmark sends what it has at once; a client that waits to be asked is asked for it.
CHALLENGE = 'Basic realm="reach"'

#: What the ``Type`` of a bounce means: postmarkapp.com/developer/api/bounce-api#bounce-types.
#: None: an answer that somebody or something wrote, which says nothing of whether it arrived.
TYPES: Mapping[str, tuple[Kind, Category | None] | None] = {
    "HardBounce": ("bounced", "permanent"),  # the server was unable to deliver it
    "BadEmailAddress": ("bounced", "permanent"),  # not a valid address
    "ManuallyDeactivated": ("bounced", "permanent"),  # somebody put it on Postmark's list
    "AddressChange": ("bounced", "permanent"),  # the recipient has another one now
    "Transient": ("delayed", "transient"),  # Postmark goes on trying
    "DnsError": ("bounced", "transient"),  # a temporary DNS error
    "SoftBounce": ("bounced", "transient"),  # full, over its quota, disabled for a while
    "SpamNotification": ("bounced", "sender"),  # taken for spam, or its content refused
    "VirusNotification": ("bounced", "sender"),  # taken for a virus
    "Blocked": ("bounced", "sender"),  # by content or a blacklist
    "DMARCPolicy": ("bounced", "sender"),  # by our own DMARC record
    "SMTPApiError": ("bounced", "sender"),  # Postmark would not take it
    "TemplateRenderingFailed": ("bounced", "sender"),
    "Unconfirmed": ("bounced", "undetermined"),  # the recipient has not confirmed it
    "ChallengeVerification": ("bounced", "undetermined"),  # waits for an answer that none gives
    "Unknown": ("bounced", "undetermined"),
    "SpamComplaint": ("complained", None),
    **dict.fromkeys(("Unsubscribe", "Subscribe", "AutoResponder", "OpenRelayTest", "InboundError")),
}


class Postmark(Provider):
    """Reads Postmark's webhooks; ``secrets`` are the passwords that are accepted."""

    name = "postmark"

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [secret.encode() for secret in secrets]

    async def reports(self, received: Received) -> Sequence[Report]:
        """Read what came: an event a request."""
        self._verify(received.headers.get("authorization", ""))
        event = mapping(parse_json(received.body), "the event")
        found = _verdict(event)
        return [Report(self.name, _clues(event), (found,))] if found else []

    def _verify(self, given: str) -> None:
        scheme, _, credentials = given.partition(" ")
        try:
            _, _, password = b64decode(credentials, validate=True).partition(b":")
        except ValueError:
            password = b""
        known = [hmac.compare_digest(password, secret) for secret in self._secrets]
        if scheme.lower() != "basic" or not any(known):
            raise NotVerified("The password is not that of the webhook.", CHALLENGE)


def _verdict(event: Mapping[str, Any]) -> Verdict | None:
    match event.get("RecordType"):
        case "Delivery":
            return verdict("delivered", event.get("Recipient"), event.get("Details"))
        case "SpamComplaint":
            return verdict("complained", event.get("Email"), event.get("Details"))
        case "Bounce":
            meant = TYPES.get(str(event.get("Type")), ("bounced", "undetermined"))
            if meant is None:
                return None
            kind, category = meant
            said = event.get("Details") or event.get("Description")
            return verdict(kind, event.get("Email"), said, otherwise=category or "undetermined")
        case _:  # opened, clicked, subscription changed
            return None


def _clues(event: Mapping[str, Any]) -> Clues:
    """Postmark writes a ``Message-ID`` of its own, unless the email says ``X-PM-KeepID: true``.

    ``Metadata`` is what the email's headers ``X-PM-Metadata-…`` say.
    """
    metadata = {name.lower(): value for name, value in inner(event, "Metadata").items()}
    return clues([metadata.get(name) for name in NAMING], provider_id=event.get("MessageID"))
