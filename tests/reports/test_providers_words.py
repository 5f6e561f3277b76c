"""What providers say in their words, in ours."""

from typing import TYPE_CHECKING, Any

from reach.problems import BadRequest, Unprocessable
from reach.reports.providers.amazon_ses import AmazonSes
from reach.reports.providers.configured import configured
from reach.reports.providers.sns import Envelopes
from reach.settings.bounces import parse_topics
from tests.support import providers
from tests.support.database.outboxes import Outbox
from tests.support.providers import (
    TOPIC,
    Certificate,
    Sent,
    amazon_ses,
    generic,
    mailgun,
    postmark,
    sendgrid,
    standard,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from reach.reports.providers.model import Provider

ADA = "ada@example.com"


def ses(kind: str, **more: Any) -> Sent:
    """What SES says of a bounce or a delay, as a notification of an identity."""
    who = {"emailAddress": ADA, "status": "5.0.0", "diagnosticCode": "smtp; 554 5.0.0 no"}
    bounce = {"bouncedRecipients": [who], "delayedRecipients": [who], **more}
    return amazon_ses({"notificationType": kind, "bounce": bounce, "deliveryDelay": bounce})


def bounce_of_postmark(kind: str) -> Sent:
    """A bounce of a type."""
    event = {"RecordType": "Bounce", "Type": kind, "Email": ADA, "Details": "smtp;554 5.0.0 no"}
    return postmark(event)


def of_sendgrid(event: str, **more: Any) -> Sent:
    """One event."""
    return sendgrid([{"event": event, "email": ADA, **more}])


def of_resend(event: str, **more: Any) -> Sent:
    """An event of an email to Ada."""
    return standard("resend", {"type": f"email.{event}", "data": {"to": [ADA], **more}})


#: The kind, the category, the reply's code and the enhanced one; None: it says nothing.
Verdict = tuple[str, str | None, int | None, str | None] | None


def translated() -> list[tuple[Sent, Verdict]]:
    """What comes, signed now, and what it says: see ``Verdict``."""
    return [
        (
            ses("Bounce", bounceType="Permanent", bounceSubType="NoEmail"),
            ("bounced", "permanent", 554, "5.0.0"),
        ),
        (
            ses("Bounce", bounceType="Transient", bounceSubType="General"),
            ("bounced", "undetermined", 554, "5.0.0"),
        ),
        (
            ses("Bounce", bounceType="Transient", bounceSubType="ContentRejected"),
            ("bounced", "sender", 554, "5.0.0"),
        ),
        (
            ses("Bounce", bounceType="Permanent", bounceSubType="New"),
            ("bounced", "permanent", 554, "5.0.0"),
        ),
        (ses("DeliveryDelay", delayType="MailboxFull"), ("delayed", "transient", 554, "5.0.0")),
        (ses("DeliveryDelay", delayType="IPFailure"), ("delayed", "sender", 554, "5.0.0")),
        (
            amazon_ses(
                {
                    "eventType": "Complaint",
                    "complaint": {"complainedRecipients": [{"emailAddress": ADA}]},
                }
            ),
            ("complained", None, None, None),
        ),
        (
            amazon_ses(
                {"eventType": "Complaint", "complaint": {"complaintFeedbackType": "not-spam"}}
            ),
            None,
        ),
        (
            amazon_ses(
                {
                    "eventType": "Reject",
                    "mail": {"destination": [ADA]},
                    "reject": {"reason": "Bad content"},
                }
            ),
            ("bounced", "sender", None, None),
        ),
        (amazon_ses({"eventType": "Open", "mail": {}}), None),
        (amazon_ses("Successfully validated SNS topic for Amazon SES event publishing."), None),
        (bounce_of_postmark("HardBounce"), ("bounced", "permanent", 554, "5.0.0")),
        (bounce_of_postmark("SpamNotification"), ("bounced", "sender", 554, "5.0.0")),
        (bounce_of_postmark("Transient"), ("delayed", "transient", 554, "5.0.0")),
        (bounce_of_postmark("New"), ("bounced", "undetermined", 554, "5.0.0")),
        (bounce_of_postmark("AutoResponder"), None),
        (postmark({"RecordType": "SpamComplaint", "Email": ADA}), ("complained", None, None, None)),
        (postmark({"RecordType": "SubscriptionChange"}), None),
        (
            of_sendgrid(
                "bounce",
                type="bounce",
                reason="500 unknown",
                status="5.0.0",
                bounce_classification="Invalid Address",
            ),
            ("bounced", "permanent", 500, "5.0.0"),
        ),
        (
            of_sendgrid("bounce", type="blocked", reason="554 listed"),
            ("bounced", "sender", 554, None),
        ),
        (
            of_sendgrid("deferred", response="400 try again later"),
            ("delayed", "transient", 400, None),
        ),
        (of_sendgrid("dropped", reason="Bounced Address"), ("bounced", "permanent", None, None)),
        (of_sendgrid("dropped", reason="Spam Reporting Address"), ("complained", None, None, None)),
        (
            of_sendgrid("dropped", reason="Recipient List over Package Quota"),
            ("bounced", "sender", None, None),
        ),
        (of_sendgrid("spamreport"), ("complained", None, None, None)),
        (of_sendgrid("processed"), None),
        (
            of_resend("bounced", bounce={"type": "Permanent", "subType": "Suppressed"}),
            ("bounced", "permanent", None, None),
        ),
        (
            of_resend(
                "bounced",
                bounce={
                    "type": "Transient",
                    "subType": "MailboxFull",
                    "diagnosticCode": ["smtp; 452 4.2.2 full"],
                },
            ),
            ("bounced", "transient", 452, "4.2.2"),
        ),
        (
            of_resend("suppressed", suppressed={"message": "on the list"}),
            ("bounced", "permanent", None, None),
        ),
        (
            of_resend("failed", failed={"reason": "reached_daily_quota"}),
            ("bounced", "sender", None, None),
        ),
        (of_resend("clicked"), None),
        (standard("resend", {"type": "contact.created"}), None),
        (
            mailgun(
                {
                    "event": "failed",
                    "severity": "permanent",
                    "reason": "bounce",
                    "recipient": ADA,
                    "delivery-status": {"code": 550, "message": "5.1.1 no", "bounce-type": "hard"},
                }
            ),
            ("bounced", "permanent", 550, "5.1.1"),
        ),
        (
            mailgun(
                {
                    "event": "failed",
                    "severity": "permanent",
                    "reason": "bounce",
                    "recipient": ADA,
                    "delivery-status": {"bounce-type": "soft"},
                }
            ),
            ("bounced", "transient", None, None),
        ),
        (
            mailgun(
                {
                    "event": "failed",
                    "severity": "permanent",
                    "reason": "suppress-bounce",
                    "recipient": ADA,
                    "delivery-status": {"code": 605},
                }
            ),
            ("bounced", "permanent", None, None),
        ),
        (
            mailgun(
                {
                    "event": "failed",
                    "severity": "permanent",
                    "reason": "suppress-complaint",
                    "recipient": ADA,
                }
            ),
            ("complained", None, None, None),
        ),
        (
            mailgun(
                {"event": "failed", "severity": "temporary", "reason": "espblock", "recipient": ADA}
            ),
            ("delayed", "sender", None, None),
        ),
        (
            mailgun({"event": "rejected", "recipient": ADA, "reject": {"reason": "limit"}}),
            ("bounced", "sender", None, None),
        ),
        (mailgun({"event": "clicked", "recipient": ADA}), None),
        (
            generic({"message": "x", "kind": "bounced", "text": "554 5.0.0 no"}),
            ("bounced", "undetermined", 554, "5.0.0"),
        ),
        (
            generic(
                {
                    "message": "x",
                    "kind": "delayed",
                    "category": "sender",
                    "recipient": ADA,
                    "smtp_code": 421,
                }
            ),
            ("delayed", "sender", 421, None),
        ),
    ]


async def test_each_word_of_theirs_has_one_of_ours(outbox: Outbox) -> None:
    """As their documentation says; what is new there, or does not concern us, does no harm."""
    settings = outbox.settings.model_copy(update=providers.settings_of_all())
    readers: dict[str, Provider] = {**configured(settings, outbox.database)}
    readers["amazon-ses"] = AmazonSes(Envelopes(parse_topics(TOPIC), Certificate()))
    for sent, wanted in translated():
        found = await readers[sent.provider].reports(sent.received)
        verdicts = [one for report in found for one in report.verdicts]
        told = [(v.kind, v.category, v.smtp_code, v.enhanced_code) for v in verdicts]
        assert told == ([wanted] if wanted else []), sent
        recipients = {one.recipient for one in verdicts}
        assert recipients <= {ADA, None}


async def test_what_is_odd_in_verified_json_does_no_harm(outbox: Outbox) -> None:
    """Any value in the place of any other: it is passed over, or refused as what it is."""
    settings = outbox.settings.model_copy(update=providers.settings_of_all())
    readers = configured(settings, outbox.database)
    odd: list[Any] = [None, 4, True, "\x00x\n", [], [[]], {}, {"to": 4}, "9" * 5000, 10**30]
    shapes: list[Callable[[Any], Sent]] = [
        lambda one: postmark(
            {"RecordType": "Bounce", "Type": one, "Email": one, "Details": one, "Metadata": one}
        ),
        lambda one: postmark({"RecordType": one}),
        lambda one: mailgun(
            {
                "event": "failed",
                "severity": one,
                "reason": one,
                "recipient": one,
                "message": one,
                "delivery-status": {"code": one, "message": one, "enhanced-code": one},
            }
        ),
        lambda one: sendgrid(
            [
                {
                    "event": "bounce",
                    "email": one,
                    "reason": one,
                    "status": one,
                    "type": one,
                    "smtp-id": one,
                    "sg_message_id": one,
                },
                one,
            ]
        ),
        lambda one: of_resend(
            "bounced",
            to=one,
            bounce=one,
            headers=[one, {"name": one, "value": one}],
            message_id=one,
            email_id=one,
        ),
    ]
    for shape in shapes:
        for one in odd:
            sent = shape(one)
            try:
                found = await readers[sent.provider].reports(sent.received)
            except (BadRequest, Unprocessable):
                continue
            assert all(v.text.isprintable() for r in found for v in r.verdicts)
