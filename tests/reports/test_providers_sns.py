"""Amazon SNS is believed by its certificate, which is fetched from no other host than its own."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from reach.problems import ServiceUnavailable
from reach.reports.model import Report
from reach.reports.providers.amazon_ses import AmazonSes
from reach.reports.providers.model import NotVerified, Received
from reach.reports.providers.sns import Envelopes, Fetcher
from reach.settings.bounces import parse_topics
from tests.support.providers import (
    CERTIFICATE_URL,
    DAY,
    SNS_HOST,
    TOPIC,
    Certificate,
    amazon_ses,
    envelope,
    sns_certificate,
)
from tests.support.servers.mail import Authority

DELIVERY = {"eventType": "Delivery", "delivery": {"recipients": ["ada@example.com"]}}
CONFIRM = (
    f"https://{SNS_HOST}/?Action=ConfirmSubscription&TopicArn={quote(TOPIC)}&Token=2336412f37fb"
)
PATH = CERTIFICATE_URL.removeprefix(f"https://{SNS_HOST}")


class Amazon:
    """A web server of SNS's name: its ``answers`` by path, and every path it was asked for."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.answers: dict[str, tuple[str, bytes]] = {PATH: ("200 OK", sns_certificate())}
        self.asked: list[str] = []
        self.port = 0
        self._tls = tls

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve as long as the ``with`` lasts."""
        async with await asyncio.start_server(self._answer, "127.0.0.1", ssl=self._tls) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split()[1].decode())
        status, body = self.answers.get(self.asked[-1], ("404 Not Found", b""))
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()


class ToLoopback(httpx2.AsyncHTTPTransport):
    """Leads to a server on this machine, whose certificate must be of the name asked for."""

    def __init__(self, amazon: Amazon, tls: ssl.SSLContext) -> None:
        super().__init__(verify=tls)
        self._amazon = amazon

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Ask there."""
        request.extensions = {**request.extensions, "sni_hostname": request.url.host}
        request.url = request.url.copy_with(host="127.0.0.1", port=self._amazon.port)
        return await super().handle_async_request(request)


@pytest.fixture
async def amazon(authority: Authority) -> AsyncIterator[Amazon]:
    """Amazon, on this machine."""
    server = Amazon(authority.certify(SNS_HOST))
    async with server.running():
        yield server


@pytest.fixture
def ses(amazon: Amazon, authority: Authority) -> AmazonSes:
    """Reads what SES sends, and fetches from ``amazon``."""
    trusting = ssl.create_default_context(cafile=authority.file)

    def client() -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=ToLoopback(amazon, trusting), timeout=5)

    return AmazonSes(Envelopes(parse_topics(TOPIC), Fetcher(client)))


async def read(ses: AmazonSes, message: Any = DELIVERY, **given: Any) -> list[Report]:
    """Have it read what SNS sends."""
    return [*await ses.reports(amazon_ses(message, **given).received)]


async def test_the_certificate_is_fetched_once(ses: AmazonSes, amazon: Amazon) -> None:
    """For both versions of the signature, and for all who come at the same time."""
    told = await asyncio.gather(
        *(read(ses, version="1") for _ in range(5)), *(read(ses, Subject="Hello") for _ in range(5))
    )
    assert [len(reports) for reports in told] == [1] * 10
    assert amazon.asked == [PATH]


async def test_a_subscription_is_confirmed(ses: AmazonSes, amazon: Amazon) -> None:
    """Where SNS asks for it: of a topic of ours, at its region; and at no other place."""
    asks = {"Type": "SubscriptionConfirmation", "Token": "2336412f37fb"}
    amazon.answers[CONFIRM.removeprefix(f"https://{SNS_HOST}")] = ("200 OK", b"<xml/>")
    assert await read(ses, "You have chosen…", **asks, SubscribeURL=CONFIRM) == []
    assert amazon.asked[1:] == [CONFIRM.removeprefix(f"https://{SNS_HOST}")]
    elsewhere = (
        CONFIRM.replace("eu-central-1.", "us-east-1.", 1),
        CONFIRM.replace("https", "http"),
        CONFIRM.replace("ConfirmSubscription", "DeleteTopic"),
        CONFIRM.replace("reach-bounces", "other"),
    )
    for url in elsewhere:
        with pytest.raises(NotVerified):
            await read(ses, "You have chosen…", **asks, SubscribeURL=url)
    assert len(amazon.asked) == 2
    unsubscribed = {**asks, "Type": "UnsubscribeConfirmation"}
    assert await read(ses, "You have chosen…", **unsubscribed, SubscribeURL=CONFIRM) == []
    assert len(amazon.asked) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"SigningCertURL": f"https://evil.example{PATH}"},
        {"SigningCertURL": f"https://{SNS_HOST}.evil.example{PATH}"},
        {"SigningCertURL": f"https://{SNS_HOST}@evil.example{PATH}"},
        {"SigningCertURL": f"https://evil.example/{SNS_HOST}{PATH}"},
        {"SigningCertURL": f"https://{SNS_HOST}:8443{PATH}"},
        {"SigningCertURL": f"https://{SNS_HOST}:x{PATH}"},
        {"SigningCertURL": f"http://{SNS_HOST}{PATH}"},
        {"SigningCertURL": CERTIFICATE_URL.replace("eu-central-1", "us-east-1")},
        {"SigningCertURL": f"https://{SNS_HOST}/x/..{PATH}"},
        {"SigningCertURL": f"{CERTIFICATE_URL}?x"},
        {"SigningCertURL": None},
        {"TopicArn": TOPIC.replace("123456789012", "210987654321")},
        {"version": "3"},
        {"age": DAY},
        {"age": -3600},
        {"Timestamp": "yesterday"},
    ],
)
async def test_nothing_is_fetched_for_what_is_forged(
    ses: AmazonSes, amazon: Amazon, changes: dict[str, Any]
) -> None:
    """Signed as it may be: another host's certificate is not looked at."""
    with pytest.raises(NotVerified):
        await read(ses, **changes)
    assert amazon.asked == []


async def test_who_has_the_certificate_has_not_the_key(ses: AmazonSes, amazon: Amazon) -> None:
    """What was changed on the way is refused, whatever it is, and so is a type without a rule."""
    good = envelope(DELIVERY, Subject="Hello")
    changed = ({"Message": "{}"}, {"Subject": "x"}, {"MessageId": "x"}, {"Signature": "AAAA"})
    others = ({"Type": "SubscriptionConfirmation"}, {"Type": "x"}, {"Signature": "?"})
    for change in (*changed, *others, {"SignatureVersion": "1"}):
        body = json.dumps({**good, **change}).encode()
        with pytest.raises(NotVerified):
            await ses.reports(Received({}, body))
    assert len(await ses.reports(Received({}, json.dumps(good).encode()))) == 1
    assert amazon.asked == [PATH]


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        ("200 OK", lambda: sns_certificate("sns.amazonaws.com.evil.example"), NotVerified),
        ("200 OK", lambda: sns_certificate("ses.amazonaws.com"), NotVerified),
        ("200 OK", lambda: sns_certificate(days=-0.5), NotVerified),
        ("200 OK", lambda: b"no certificate", NotVerified),
        ("404 Not Found", lambda: b"", NotVerified),
        ("302 Found\r\nLocation: /other", lambda: b"", NotVerified),
        ("503 Service Unavailable", lambda: b"", ServiceUnavailable),
        ("200 OK", lambda: b"x" * 100_000, ServiceUnavailable),
        ("nonsense", lambda: b"", ServiceUnavailable),
    ],
)
async def test_what_is_no_certificate_of_sns_verifies_nothing(
    ses: AmazonSes,
    amazon: Amazon,
    status: str,
    body: Callable[[], bytes],
    wanted: type[Exception],
) -> None:
    """It is not asked for again if it was not there, and is if the server was ill."""
    amazon.answers[PATH] = (status, body())
    for _ in range(2):
        with pytest.raises(wanted):
            await read(ses)
    assert len(amazon.asked) == (2 if wanted is ServiceUnavailable else 1)
    amazon.answers[PATH] = ("200 OK", sns_certificate())
    if wanted is ServiceUnavailable:
        assert len(await read(ses)) == 1


async def test_a_server_without_the_name_is_not_asked(amazon: Amazon, authority: Authority) -> None:
    """Its certificate must be of the host: who sends us elsewhere on the way gets nothing."""
    china = "arn:aws-cn:sns:cn-north-1:123456789012:reach-bounces"
    host = "sns.cn-north-1.amazonaws.com.cn"
    trusting = ssl.create_default_context(cafile=authority.file)
    fetcher = Fetcher(lambda: httpx2.AsyncClient(transport=ToLoopback(amazon, trusting)))
    ses = AmazonSes(Envelopes(parse_topics(china), fetcher))
    with pytest.raises(ServiceUnavailable):
        await read(ses, TopicArn=china, SigningCertURL=f"https://{host}{PATH}")
    assert amazon.asked == []


async def test_a_signature_of_hours_ago_may_be_sent_again() -> None:
    """As long as SNS tries; and a certificate that has ended since is not believed any more."""
    now = [0.0]
    ses = AmazonSes(Envelopes(parse_topics(TOPIC), Certificate(), clock=lambda: now[0]))
    sent = amazon_ses(DELIVERY)
    for hours, is_good in ((0, True), (5, True), (7, False)):
        now[0] = envelope_time(sent.body) + hours * 3600
        try:
            assert len(await ses.reports(sent.received)) == 1
        except NotVerified:
            assert not is_good
        else:
            assert is_good


def envelope_time(body: bytes) -> float:
    """When an envelope was signed."""
    return datetime.fromisoformat(json.loads(body)["Timestamp"]).timestamp()
