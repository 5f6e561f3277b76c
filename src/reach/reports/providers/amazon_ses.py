"""Amazon SES: what it publishes to a topic of Amazon SNS, which sends it here.

Two forms: notifications of an identity (``notificationType``) and events of a configuration set
(``eventType``): docs.aws.amazon.com/ses, "Amazon SNS notification contents for Amazon SES",
"Contents of event data that Amazon SES publishes to Amazon SNS".
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from email.utils import parseaddr
from typing import Any

import structlog

from reach.problems import BadRequest
from reach.reports.model import Category, Clues, Report, Verdict
from reach.reports.providers.model import (
    Malformed,
    NotVerified,
    Provider,
    Received,
    clues,
    inner,
    items,
    mapping,
    named,
    text,
    verdict,
)
from reach.reports.providers.sns import CONFIRMATION, NOTIFICATION, Envelopes
from reach.web.body import JSON_TYPES, parse_json

log = structlog.get_logger("reach.reports")

#: SNS says "text/plain", whatever it is.
TYPES = ("text/plain", *JSON_TYPES)
RAW_DELIVERY = "x-amz-sns-rawdelivery"
#: What SES publishes, as plain text, when a topic is set up.
GREETING = "Successfully validated SNS topic"

#: What type and subtype of a bounce mean, where no mail server's reply says it better: "Bounce
#: types" in SES's documentation; Resend, which sends by SES, has the same.
BOUNCES: Mapping[tuple[str, str], Category] = {
    ("Permanent", "General"): "permanent",
    ("Permanent", "NoEmail"): "permanent",  # there is no such address
    ("Permanent", "Suppressed"): "permanent",  # on SES's own list: it bounced lately
    ("Permanent", "OnAccountSuppressionList"): "permanent",  # on the account's list
    ("Permanent", "UnsubscribedRecipient"): "permanent",  # by SES's subscription management
    ("Transient", "General"): "undetermined",  # automatic answers among them
    ("Transient", "MailboxFull"): "transient",
    ("Transient", "MessageTooLarge"): "sender",
    ("Transient", "ContentRejected"): "sender",
    ("Transient", "AttachmentRejected"): "sender",
    ("Transient", "CustomTimeoutExceeded"): "transient",  # not delivered in the time that we gave
}
#: Of a subtype that is not there yet.
BOUNCE_TYPES: Mapping[str, Category] = {"Permanent": "permanent", "Transient": "transient"}
#: To which no mail server said anything: what stands there is SES's own.
OF_LISTS = ("Suppressed", "OnAccountSuppressionList", "UnsubscribedRecipient")
#: What ``delayType`` means: those that are not here are the recipient's side, and will pass.
DELAYS: Mapping[str, Category] = {
    "SpamDetected": "sender",  # much mail from the account was taken for spam
    "IPFailure": "sender",  # the recipient's provider blocks the address that sends
    "BYOIPHostNameLookupUnavailable": "sender",
    "InternalFailure": "undetermined",
    "Undetermined": "undetermined",
}
#: A complaint that says the contrary (RFC 5965 §3.1, RFC 6430).
NOT_SPAM = "not-spam"


class AmazonSes(Provider):
    """Reads what SNS sends for SES. Needs cryptography and httpx2: see ``configured``."""

    name = "amazon-ses"
    types = TYPES

    def __init__(self, envelopes: Envelopes) -> None:
        self._envelopes = envelopes

    async def reports(self, received: Received) -> Sequence[Report]:
        """Read what came: an event a request, of several recipients maybe."""
        if received.headers.get(RAW_DELIVERY, "").lower() == "true":
            raise NotVerified("Raw message delivery is not signed: turn it off.")
        envelope = mapping(parse_json(received.body), "the message of Amazon SNS")
        await self._envelopes.verify(envelope)
        kind = envelope.get("Type")
        if kind == CONFIRMATION:
            await self._envelopes.confirm(envelope)
            log.info("a subscription at Amazon SNS was confirmed")
        message = envelope.get("Message")
        if kind != NOTIFICATION or not isinstance(message, str) or message.startswith(GREETING):
            return []
        try:
            event = mapping(parse_json(message.encode("utf-8")), "Message")
        except BadRequest:
            raise Malformed("Message is not JSON, as Amazon SES writes it.") from None
        found = tuple(_verdicts(event))
        return [Report(self.name, _clues(inner(event, "mail")), found)] if found else []


def bounce_category(kind: Any, subtype: Any) -> Category:
    """Say what type and subtype of a bounce mean."""
    usual = BOUNCE_TYPES.get(text(kind), "undetermined")
    return BOUNCES.get((text(kind), text(subtype)), usual)


def _verdicts(event: Mapping[str, Any]) -> Iterator[Verdict]:
    kind = event.get("eventType") or event.get("notificationType")
    if not isinstance(kind, str):
        raise Malformed("There should be a text: eventType or notificationType.")
    read = EVENTS.get(kind)  # not those that say it was sent, opened, clicked
    return read(event) if read else iter(())


def _bounced(event: Mapping[str, Any]) -> Iterator[Verdict]:
    bounce = inner(event, "bounce")
    subtype = bounce.get("bounceSubType")
    category = bounce_category(bounce.get("bounceType"), subtype)
    for one in _objects(bounce, "bouncedRecipients"):
        yield verdict(
            "bounced",
            one.get("emailAddress"),
            one.get("diagnosticCode"),
            status=one.get("status"),
            otherwise=category,
            is_certain=subtype in OF_LISTS,
        )


def _complained(event: Mapping[str, Any]) -> Iterator[Verdict]:
    complaint = inner(event, "complaint")
    if complaint.get("complaintFeedbackType") != NOT_SPAM:
        for one in _objects(complaint, "complainedRecipients"):
            yield verdict("complained", one.get("emailAddress"))


def _delivered(event: Mapping[str, Any]) -> Iterator[Verdict]:
    delivery = inner(event, "delivery")
    for address in items(delivery, "recipients"):
        yield verdict("delivered", address, delivery.get("smtpResponse"))


def _rejected(event: Mapping[str, Any]) -> Iterator[Verdict]:
    """SES itself would not send it: it found a virus."""
    reason = inner(event, "reject").get("reason")
    for address in items(inner(event, "mail"), "destination"):
        yield verdict("bounced", address, reason, otherwise="sender", is_certain=True)


def _delayed(event: Mapping[str, Any]) -> Iterator[Verdict]:
    delay = inner(event, "deliveryDelay")
    category = DELAYS.get(text(delay.get("delayType")), "transient")
    for one in _objects(delay, "delayedRecipients"):
        said, status = one.get("diagnosticCode"), one.get("status")
        yield verdict("delayed", one.get("emailAddress"), said, status=status, otherwise=category)


#: By what SES calls them: what there is to read in events that concern us.
EVENTS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[Verdict]]] = {
    "Bounce": _bounced,
    "Complaint": _complained,
    "Delivery": _delivered,
    "DeliveryDelay": _delayed,
    "Reject": _rejected,
}


def _objects(value: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    """List the objects of a list. Raises Malformed, if there is none: it should say who."""
    found = [one for one in items(value, name) if isinstance(one, dict)]
    if not found:
        raise Malformed(f"There should be a list of objects: {name}.")
    return found


def _clues(mail: Mapping[str, Any]) -> Clues:
    """``headers`` are there if SES was told to include them; ``source`` is the return path."""
    common = inner(mail, "commonHeaders").get("messageId")
    return clues(
        [*named(items(mail, "headers")), common],
        provider_id=mail.get("messageId"),
        return_path=parseaddr(text(mail.get("source"), 1000))[1],
    )
