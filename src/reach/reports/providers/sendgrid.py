"""SendGrid: the Signed Event Webhook, which sends many events at once.

ECDSA (P-256, SHA-256) over the time in a header and the body to the byte: twilio.com/docs/sendgrid,
"Getting started with the Event Webhook security features", "Event Webhook reference".
"""

import time
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reach.problems import BadRequest
from reach.reports.model import Category, Kind, Report, Verdict
from reach.reports.providers.model import (
    AHEAD_SECONDS,
    Malformed,
    NotVerified,
    Provider,
    Received,
    clues,
    text,
    verdict,
)
from reach.settings import BadSettings
from reach.web.body import parse_json

SIGNATURE = "x-twilio-email-event-webhook-signature"
STAMP = "x-twilio-email-event-webhook-timestamp"
#: SendGrid tries for a day, and does not say that it signs again then: an hour more than that.
LATE_SECONDS = 25 * 3600
DIGITS = 12
#: SendGrid sends what it has after 30 seconds, or once there are 768 KB.
MOST_BYTES = 1024 * 1024
BAD_KEY = (
    "REACH_BOUNCES_SENDGRID_KEY is not a verification key of SendGrid's Signed Event Webhook: a "
    "public key of P-256, in base64, which begins with MFkw"
)

#: What ``bounce_classification`` means, where no mail server's reply says it better:
#: twilio.com/docs/sendgrid, "Bounce and block classifications".
CLASSIFICATIONS: Mapping[str, Category] = {
    "invalid address": "permanent",
    "mailbox unavailable": "transient",  # full, or closed for now
    "technical failure": "transient",  # DNS, or a server that does not answer
    "content": "sender",
    "reputation": "sender",
    "frequency or volume too high": "sender",
    "unclassified": "undetermined",
}
#: What the ``type`` of a bounce means without such a word: a block is about the message, or us.
TYPES: Mapping[str, Category] = {"bounce": "permanent", "blocked": "sender", "expired": "transient"}
#: Why SendGrid itself did not even try ("dropped"): for any other reason, ours is the fault.
DROPPED: Mapping[str, tuple[Kind, Category | None]] = {
    "bounced address": ("bounced", "permanent"),
    "invalid": ("bounced", "permanent"),
    "unsubscribed address": ("bounced", "permanent"),
    "spam reporting address": ("complained", None),  # of an earlier email
}


class SendGrid(Provider):
    """Reads SendGrid's webhook; ``keys`` are the public keys that are accepted, in base64.

    Raises BadSettings, if one is none. Needs cryptography: see ``configured``.
    """

    name = "sendgrid"
    most_bytes = MOST_BYTES

    def __init__(self, keys: Sequence[str], clock: Callable[[], float] = time.time) -> None:
        self._is_signed = [_verifier(key) for key in keys]
        self._clock = clock

    async def reports(self, received: Received) -> Sequence[Report]:
        """Read what came. Events of a batch that cannot be read keep no other from being read.

        SendGrid would send the whole batch again, and again with that event.
        """
        self._verify(received)
        events = _events(received.body)
        found = [(event, _verdict(event)) for event in events if isinstance(event, dict)]
        if events and not found:
            raise Malformed("There should be a list of events.")
        return [Report(self.name, _clues(event), (one,)) for event, one in found if one]

    def _verify(self, received: Received) -> None:
        stamp = received.headers.get(STAMP, "")
        if not stamp.isascii() or not stamp.isdigit() or len(stamp) > DIGITS:
            raise NotVerified("There is no time of a signature.")
        try:
            signature = b64decode(received.headers.get(SIGNATURE, ""), validate=True)
        except ValueError:
            signature = b""
        signed = stamp.encode() + received.body
        if not any(is_signed(signature, signed) for is_signed in self._is_signed):
            raise NotVerified("The signature is not that of the webhook's key.")
        if not -AHEAD_SECONDS <= self._clock() - int(stamp) <= LATE_SECONDS:
            raise NotVerified("The signature is too old, or of a time to come.")


def _verifier(key: str) -> Callable[[bytes, bytes], bool]:
    """Make what tells whether a signature is of something. Raises BadSettings."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        public = serialization.load_der_public_key(b64decode(key, validate=True))
    except (ValueError, UnsupportedAlgorithm):
        raise BadSettings(BAD_KEY) from None
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != "secp256r1":
        raise BadSettings(BAD_KEY)

    def is_signed(signature: bytes, signed: bytes) -> bool:
        try:
            public.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    return is_signed


def _events(body: bytes) -> Sequence[Any]:
    events = parse_json(body)
    if not isinstance(events, list):
        raise BadRequest("The body should be a list of events.")
    return events


def _verdict(event: Mapping[str, Any]) -> Verdict | None:
    recipient, status = event.get("email"), event.get("status")
    said = event.get("reason") or event.get("response")
    match event.get("event"):
        case "delivered":
            return verdict("delivered", recipient, event.get("response"), status=status)
        case "spamreport":
            return verdict("complained", recipient)
        case "deferred":
            return verdict("delayed", recipient, said, status=status, otherwise="transient")
        case "bounce" | "blocked":
            return verdict("bounced", recipient, said, status=status, otherwise=_category(event))
        case "dropped":
            kind, category = DROPPED.get(text(said).lower(), ("bounced", "sender"))
            otherwise = category or "undetermined"
            return verdict(kind, recipient, said, otherwise=otherwise, is_certain=True)
        case _:  # processed, open, click, unsubscribe, account status
            return None


def _category(event: Mapping[str, Any]) -> Category:
    classification = text(event.get("bounce_classification")).lower()
    if classification in CLASSIFICATIONS:
        return CLASSIFICATIONS[classification]
    return TYPES.get(text(event.get("type")).lower(), "undetermined")


def _clues(event: Mapping[str, Any]) -> Any:
    """``sg_message_id`` begins with what SendGrid said when it took the email: "queued as …"."""
    queued = text(event.get("sg_message_id"), 320).partition(".filter")[0].partition(".recvd")[0]
    return clues([event.get("smtp-id")], provider_id=queued)
