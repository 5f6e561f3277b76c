"""The fields of what is reported of emails after they were sent: see ``reach.settings.fields``."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from reach.settings.fields import Fields
from reach.settings.types import (
    Address,
    BindPlace,
    ImapPlace,
    MadeUpSecrets,
    Topics,
    WebhookSecrets,
)


class ReportFields(Fields):
    """Further variables of Reach, their defaults, and what each of them may be."""

    # What providers report of emails after they were sent: docs/guides/bounces-providers.md
    #: Topics of Amazon SNS that Amazon SES publishes to:
    #: ``arn:aws:sns:eu-central-1:123456789012:reach-bounces``. What any other topic sends is
    #: refused. Needs the extra ``providers``. Empty, as with those below, means that
    #: ``/v1/bounces/amazon-ses`` is not there.
    bounces_amazon_ses_topics: Topics = ""
    #: The password in the webhook's URL at Postmark. You make it up: 24 characters or more.
    bounces_postmark_secret: MadeUpSecrets = SecretStr("")
    #: Mailgun's "HTTP webhook signing key".
    bounces_mailgun_key: SecretStr = SecretStr("")
    #: SendGrid's "verification key" of its Signed Event Webhook: a public key, in base64. Needs the
    #: extra ``providers``.
    bounces_sendgrid_key: str = ""
    #: Resend's signing secret of the webhook: ``whsec_…``.
    bounces_resend_secret: WebhookSecrets = SecretStr("")
    #: Signs what programs of yours report at ``/v1/bounces/generic``: ``whsec_…``, which you make.
    #: Of each of these there may be two, with a comma between, while one replaces the other.
    bounces_generic_secret: WebhookSecrets = SecretStr("")

    # Reports that come in as email: docs/guides/bounces-set-up.md
    #: Where mailbox providers send their feedback loops' reports (who marked an email as spam):
    #: ``complaints@mail.example.org``. Empty means that ``reach inbound`` takes none there.
    complaints_address: Address = ""
    #: Where ``reach inbound`` listens for reports: ``lmtp://127.0.0.1:8024``,
    #: ``lmtp+unix:///run/reach/inbound.sock`` or ``smtp://127.0.0.1:8025``. Your own mail server is
    #: to hand it what comes to ``REACH_RETURN_PATH`` and ``REACH_COMPLAINTS_ADDRESS``. Empty means
    #: nowhere.
    inbound_bind: BindPlace = ""
    #: The mailbox that ``reach inbound`` reads reports from: ``imaps://user:password@host/INBOX``
    #: or ``imap+starttls://…``. It should hold nothing else. Empty means none.
    bounce_mailbox_url: ImapPlace = SecretStr("")
    #: Who logs in at that mailbox, if its URL does not say. Here nothing is encoded.
    bounce_mailbox_user: SecretStr = SecretStr("")
    #: With what password, if the URL holds none. Here nothing is encoded.
    bounce_mailbox_password: SecretStr = SecretStr("")
    #: Verifies that mailbox's server instead of the system's certificate authorities.
    bounce_mailbox_ca_file: Path | None = None
    #: How often it is read.
    bounce_mailbox_seconds: Annotated[float, Field(gt=0, le=24 * 3600)] = 60
