"""What email providers send to ``/v1/bounces``: made up after their documents, and signed."""

import base64
import hmac
import json
import secrets
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from pydantic import SecretStr
from standardwebhooks import Webhook

from reach.reports.providers.model import Received
from reach.reports.providers.sns import Fetcher

TOPIC = "arn:aws:sns:eu-central-1:123456789012:reach-bounces"
SNS_HOST = "sns.eu-central-1.amazonaws.com"
CERTIFICATE_URL = f"https://{SNS_HOST}/SimpleNotificationService-0123456789abcdef.pem"
PASSWORD = "postmark-password-of-the-tests"
MAILGUN_KEY = "mailgun-signing-key"
WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four!").decode()
DAY = 86_400


@cache
def sendgrid_key() -> ec.EllipticCurvePrivateKey:
    """SendGrid's key, made once."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def sns_key() -> rsa.RSAPrivateKey:
    """The key of Amazon SNS, made once."""
    return rsa.generate_private_key(65537, 2048)


def sns_certificate(name: str = "sns.amazonaws.com", days: float = 30) -> bytes:
    """The certificate of ``sns_key``, valid since yesterday, as PEM."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(
        subject,
        subject,
        sns_key().public_key(),
        x509.random_serial_number(),
        now - timedelta(days=1),
        now + timedelta(days=days),
    ).sign(sns_key(), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


class Certificate(Fetcher):
    """Has the certificate of Amazon SNS at hand: how it is fetched is another file's."""

    async def get(self, url: str) -> bytes:
        """Give it."""
        assert url == CERTIFICATE_URL
        return sns_certificate()


def settings_of_all() -> dict[str, Any]:
    """Settings by which every provider is set up."""
    public = sendgrid_key().public_key()
    der = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {
        "bounces_amazon_ses_topics": TOPIC,
        "bounces_postmark_secret": SecretStr(PASSWORD),
        "bounces_mailgun_key": SecretStr(MAILGUN_KEY),
        "bounces_sendgrid_key": base64.b64encode(der).decode(),
        "bounces_resend_secret": SecretStr(WEBHOOK_SECRET),
        "bounces_generic_secret": SecretStr(f"{WEBHOOK_SECRET}BBBB"),
    }


@dataclass(frozen=True)
class Sent:
    """A request as a provider sends it."""

    provider: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def received(self) -> Received:
        """What the provider's reader gets of it."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Received(headers, self.body)

    def but(self, body: bytes | None = None, **headers: str) -> Self:
        """Change it after it was signed."""
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        whole = self.body if body is None else body
        return replace(self, body=whole, headers={**self.headers, **changed})


def _sent(provider: str, body: bytes, kind: str = "application/json", **headers: str) -> Sent:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Sent(provider, body, {"Content-Type": kind, **named})


def postmark(event: Any, password: str = PASSWORD) -> Sent:
    """What Postmark sends: the password of the URL, in basic authentication."""
    basic = base64.b64encode(f"reach:{password}".encode()).decode()
    return _sent("postmark", json.dumps(event).encode(), authorization=f"Basic {basic}")


def mailgun(event: Any, *, age: float = 0, token: str = "", key: str = MAILGUN_KEY) -> Sent:
    """What Mailgun sends: an HMAC of time and token."""
    stamp, token = str(int(time.time() - age)), token or secrets.token_hex(25)
    made = hmac.new(key.encode(), f"{stamp}{token}".encode(), sha256).hexdigest()
    signature = {"timestamp": stamp, "token": token, "signature": made}
    return _sent("mailgun", json.dumps({"signature": signature, "event-data": event}).encode())


def sendgrid(events: Any, *, age: float = 0) -> Sent:
    """What SendGrid sends: ECDSA over the time and the body."""
    stamp, body = str(int(time.time() - age)), json.dumps(events).encode()
    made = sendgrid_key().sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    prefix = "x_twilio_email_event_webhook_"
    signed = {f"{prefix}signature": base64.b64encode(made).decode(), f"{prefix}timestamp": stamp}
    return _sent("sendgrid", body, "application/json;charset=utf-8", **signed)


def standard(provider: str, event: Any, *, age: float = 0, secret: str = WEBHOOK_SECRET) -> Sent:
    """What Resend sends, by Svix's headers, or a program by those of Standard Webhooks."""
    when = datetime.now(UTC) - timedelta(seconds=age)
    body, id_ = json.dumps(event), "msg_2W2D3qXLS5fOaPja1GDg7rF2CwB"
    prefix = "svix" if provider == "resend" else "webhook"
    signed = {
        f"{prefix}_id": id_,
        f"{prefix}_timestamp": str(int(when.timestamp())),
        f"{prefix}_signature": f"v1a,AAAA {Webhook(secret).sign(id_, when, body)}",
    }
    return _sent(provider, body.encode(), **signed)


def generic(report: Any, **given: Any) -> Sent:
    """What a program of one's own sends."""
    return standard("generic", report, **{"secret": f"{WEBHOOK_SECRET}BBBB", **given})


def envelope(message: Any, *, age: float = 0, version: str = "2", **changes: Any) -> dict[str, Any]:
    """An envelope of Amazon SNS, signed with ``changes``."""
    when = datetime.now(UTC) - timedelta(seconds=age)
    made: dict[str, Any] = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": message if isinstance(message, str) else json.dumps(message),
        "Timestamp": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
        "UnsubscribeURL": f"https://{SNS_HOST}/?Action=Unsubscribe",
        **changes,
    }
    names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn"]
    signed = "".join(f"{name}\n{made[name]}\n" for name in [*names, "Type"] if name in made)
    algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303 - as theirs
    signature = sns_key().sign(signed.encode(), padding.PKCS1v15(), algorithm)
    return {**made, "Signature": base64.b64encode(signature).decode()}


def amazon_ses(message: Any, **given: Any) -> Sent:
    """What Amazon SNS sends for SES."""
    body = json.dumps(envelope(message, **given)).encode()
    return _sent("amazon-ses", body, "text/plain; charset=UTF-8", x_amz_sns_topic_arn=TOPIC)
