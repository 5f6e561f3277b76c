"""Amazon SNS: the envelope of what it sends, its signature, and the certificate that verifies it.

docs.aws.amazon.com/sns: "Verifying the signatures of Amazon SNS messages", "Parsing message
formats". The host that a certificate is fetched from, and a subscription confirmed at, is not taken
from what came: it is the one of the region of the topic, as the settings name that.
"""

import asyncio
import re
import time
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from reach.problems import ServiceUnavailable
from reach.reports.providers.model import AHEAD_SECONDS, NotVerified
from reach.settings.bounces import Topic

if TYPE_CHECKING:
    import httpx2
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

NOTIFICATION, CONFIRMATION = "Notification", "SubscriptionConfirmation"
#: What is signed, in this order; a field that there is not is left out.
SIGNED: Mapping[str, Sequence[str]] = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    **dict.fromkeys(
        (CONFIRMATION, "UnsubscribeConfirmation"),
        ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    ),
}
#: SNS repeats for an hour at most what was not taken; it is not signed again.
LATE_SECONDS = 6 * 3600
CERTIFICATE = re.compile(r"/SimpleNotificationService-[0-9a-f]{8,64}\.pem", re.ASCII)
#: Whom a certificate names: sns.amazonaws.com, sns-signing.me-south-1.amazonaws.com, …
NAME = re.compile(r"sns[a-z0-9.-]*\.amazonaws\.com(?:\.cn)?", re.ASCII)
MOST_SECONDS, MOST_BYTES = 5, 64 * 1024
OK = 200
#: Certificates that are kept, and those that were not there, which are not asked for for a while.
MOST_KEPT, MOST_LACKING, LACKING_SECONDS = 16, 256, 60
TLS_PORT = 443


class Fetcher:
    """Gets what there is at an address: within limits of time and size, and following nothing."""

    def __init__(self, client: "Callable[[], httpx2.AsyncClient] | None" = None) -> None:
        """Take what makes a client, if it is not the usual one."""
        self._client = client

    async def get(self, url: str) -> bytes:
        """Get it. Raises ServiceUnavailable; NotVerified, if there is nothing."""
        import httpx2

        make = self._client or (lambda: httpx2.AsyncClient(timeout=MOST_SECONDS))
        content = bytearray()
        try:
            async with asyncio.timeout(MOST_SECONDS), make() as client:
                headers = {"Accept-Encoding": "identity"}
                async with client.stream("GET", url, headers=headers) as answer:
                    async for part in answer.aiter_raw():
                        content += part
                        if len(content) > MOST_BYTES:
                            raise ServiceUnavailable("Amazon SNS: the answer is too long")
        except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise ServiceUnavailable(f"Amazon SNS: {type(error).__name__}") from None
        if answer.status_code >= 500:  # noqa: PLR2004 - a server's own fault
            raise ServiceUnavailable(f"Amazon SNS: the answer is HTTP {answer.status_code}")
        if answer.status_code != OK:
            raise NotVerified(f"Amazon SNS: the answer is HTTP {answer.status_code}.")
        return bytes(content)


class Certificates:
    """The keys of certificates of SNS, each fetched once. One is fetched at a time."""

    def __init__(self, fetcher: Fetcher, clock: Callable[[], float] = time.time) -> None:
        self._fetcher, self._clock = fetcher, clock
        self._kept: dict[str, tuple[float, float, RSAPublicKey]] = {}
        self._lacking: dict[str, float] = {}
        self._lock = asyncio.Lock()

    async def key(self, url: str) -> "RSAPublicKey":
        """Give the key of the certificate at ``url``. Raises NotVerified, ServiceUnavailable."""
        if url not in self._kept:
            async with self._lock:
                if url not in self._kept:
                    await self._fetch(url)
        first, last, key = self._kept[url]
        if not first <= self._clock() <= last:
            raise NotVerified("The certificate is not valid now.")
        return key

    async def _fetch(self, url: str) -> None:
        if self._clock() < self._lacking.get(url, 0) + LACKING_SECONDS:
            raise NotVerified("There is no such certificate.")
        try:
            found = _read(await self._fetcher.get(url))
        except NotVerified:
            _keep(self._lacking, url, self._clock(), MOST_LACKING)
            raise
        _keep(self._kept, url, found, MOST_KEPT)


def _keep(kept: dict[str, Any], url: str, value: Any, most: int) -> None:
    """Keep one more, and forget the oldest if they are too many."""
    kept[url] = value
    if len(kept) > most:
        del kept[next(iter(kept))]


def _read(pem: bytes) -> "tuple[float, float, RSAPublicKey]":
    """Read a certificate that is of SNS: from when, until when, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa

    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key, subject = certificate.public_key(), certificate.subject
    except ValueError:
        raise NotVerified("That is no certificate.") from None
    names = subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    if not any(NAME.fullmatch(str(name.value)) for name in names):
        raise NotVerified("The certificate is not of Amazon SNS.")
    if not isinstance(key, rsa.RSAPublicKey):
        raise NotVerified("The certificate is not of RSA.")
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return first.timestamp(), last.timestamp(), key


class Envelopes:
    """Verifies what SNS sends, and confirms subscriptions to ``topics``."""

    def __init__(
        self,
        topics: Sequence[Topic],
        fetcher: Fetcher,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._topics = {topic.arn: topic for topic in topics}
        self._fetcher, self._clock = fetcher, clock
        self._certificates = Certificates(fetcher, clock)

    async def verify(self, envelope: Mapping[str, Any]) -> None:
        """Raise NotVerified unless SNS signed it, for a topic of ours, not long ago.

        Nothing is fetched for what names another topic. Raises ServiceUnavailable.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        host = self._topic(envelope).host
        # SHA-1 is what topics have unless their owner changes it: see the guide.
        algorithms = {"1": hashes.SHA1(), "2": hashes.SHA256()}  # noqa: S303 - theirs, not ours
        algorithm = algorithms.get(str(envelope.get("SignatureVersion")))
        if algorithm is None:
            raise NotVerified("The signature is of no version that we know.")
        url = str(envelope.get("SigningCertURL"))
        if not _is_at(url, host) or not CERTIFICATE.fullmatch(url.removeprefix(f"https://{host}")):
            raise NotVerified("The certificate is not at the host of the topic's region.")
        self._check_time(str(envelope.get("Timestamp")))
        key = await self._certificates.key(url)
        try:
            signature = b64decode(str(envelope.get("Signature")), validate=True)
            key.verify(signature, _signed(envelope), padding.PKCS1v15(), algorithm)
        except (ValueError, InvalidSignature):
            raise NotVerified("The signature is not that of Amazon SNS.") from None

    async def confirm(self, envelope: Mapping[str, Any]) -> None:
        """Confirm the subscription that a verified envelope asks about.

        Raises NotVerified, ServiceUnavailable.
        """
        topic, url = self._topic(envelope), str(envelope.get("SubscribeURL"))
        query = parse_qs(urlsplit(url).query)
        wanted = {"Action": ["ConfirmSubscription"], "TopicArn": [topic.arn]}
        if not _is_at(url, topic.host) or any(query.get(n) != wanted[n] for n in wanted):
            raise NotVerified("The address to confirm at is not that of the topic's region.")
        await self._fetcher.get(url)

    def _topic(self, envelope: Mapping[str, Any]) -> Topic:
        topic = self._topics.get(str(envelope.get("TopicArn")))
        if topic is None:
            raise NotVerified("It is of no topic that REACH_BOUNCES_AMAZON_SES_TOPICS names.")
        return topic

    def _check_time(self, text: str) -> None:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise NotVerified("There is no time of a signature.") from None
        age = self._clock() - when.replace(tzinfo=when.tzinfo or UTC).timestamp()
        if not -AHEAD_SECONDS <= age <= LATE_SECONDS:
            raise NotVerified("The signature is too old, or of a time to come.")


def _is_at(url: str, host: str) -> bool:
    """Whether an address is of this host and no other, over TLS, as it is read by anybody."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    is_plain = url.isascii() and url.isprintable() and "\\" not in url and " " not in url
    is_host = parts.netloc in (host, f"{host}:{TLS_PORT}") and port in (None, TLS_PORT)
    return is_plain and parts.scheme == "https" and is_host and not parts.fragment


def _signed(envelope: Mapping[str, Any]) -> bytes:
    """Write what is signed: names and values, a line for each."""
    fields = SIGNED.get(str(envelope.get("Type")), ())
    given = [(name, envelope.get(name)) for name in fields]
    lines = [f"{name}\n{value}\n" for name, value in given if isinstance(value, str)]
    if not lines:
        raise NotVerified("It is of no type that we know.")
    return "".join(lines).encode("utf-8")
