"""What providers report is taken in if they prove who they are, and nothing else is."""

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing

import httpx
import pytest

from reach.messages import outbox
from reach.messages.model import Message
from reach.messages.outcome import Sent as Accepted
from reach.reports.providers.amazon_ses import AmazonSes
from reach.reports.providers.configured import NAMES
from reach.reports.providers.model import NotVerified
from reach.reports.providers.sendgrid import SendGrid
from reach.reports.providers.sns import Envelopes
from reach.settings import BadSettings, Settings, load
from reach.settings.bounces import parse_topics
from tests.support import providers
from tests.support.database.outboxes import Outbox
from tests.support.database.stored import sign_up
from tests.support.processes.reach import Reach, change_services, running_reach
from tests.support.providers import (
    DAY,
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

ADA = "ada@example.com"
QUEUED = "0100018f-7a5433e7-8edb-42ae-af10-f0181f34d6ee-000000"
WORDS = "550 5.1.1 No such user"
NONE = {"recorded": 0, "known": 0, "unmatched": 0, "forged": 0}


def amazon_ses_reader() -> AmazonSes:
    """Amazon SES, whose certificate need not be fetched."""
    return AmazonSes(Envelopes(parse_topics(TOPIC), Certificate()))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with every provider, and 5 wrong signatures a minute."""
    changes = {**providers.settings_of_all(), "limit_failed_links": "5/minute"}
    return settings.model_copy(update=changes)


@pytest.fixture
async def reach(reach: Reach) -> Reach:
    """Reach, that need not fetch the certificate of Amazon SNS."""
    services = reach.app.state.services
    change_services(reach.app, bounces={**services.bounces, "amazon-ses": amazon_ses_reader()})
    return reach


async def post(reach: Reach, sent: Sent) -> httpx.Response:
    """Send what a provider sends."""
    path = f"/v1/bounces/{sent.provider}"
    return await reach.http.post(path, content=sent.body, headers=sent.headers)


async def welcome(reach: Reach) -> Message:
    """Sign Ada up, and send her welcome."""
    box = Outbox(reach.database, reach.settings)
    await sign_up(box.database, box.settings, ADA)
    await box.record(await box.lease_one(), Accepted(f"250 Ok {QUEUED}", 250, None))
    return await box.only()


async def reported(reach: Reach, message: Message) -> list[tuple[str, str, str | None]]:
    """Who has reported what of a message, in order of the kind."""
    found = await reach.database.read(outbox.history, message.id)
    return sorted((one.kind, one.source, one.category) for one in found.reports)


async def test_each_provider_is_heard(reach: Reach) -> None:
    """Each tells one thing of one email, named as it names it; told again, nothing changes."""
    message = await welcome(reach)
    headers = {"name": "Message-ID", "value": message.message_id}
    events = [
        amazon_ses(
            {
                "eventType": "Delivery",
                "mail": {"messageId": "other", "headers": [headers], "source": "x@example.org"},
                "delivery": {"recipients": [ADA], "smtpResponse": "250 2.0.0 OK"},
            }
        ),
        mailgun(
            {
                "event": "failed",
                "severity": "temporary",
                "reason": "greylisted",
                "recipient": ADA,
                "message": {"headers": {"message-id": message.message_id.strip("<>")}},
                "delivery-status": {"code": 450, "message": "4.7.1 Greylisted"},
            }
        ),
        sendgrid(
            [
                {"event": "open", "email": ADA, "smtp-id": message.message_id},
                "not an event",
                {
                    "event": "bounce",
                    "email": ADA,
                    "smtp-id": message.message_id,
                    "reason": WORDS,
                    "bounce_classification": "Invalid Address",
                },
            ]
        ),
        standard(
            "resend",
            {"type": "email.complained", "data": {"to": [ADA], "headers": [headers]}},
        ),
    ]
    for event in events:
        answer = await post(reach, event)
        assert (answer.status_code, answer.json()) == (200, NONE | {"recorded": 1}), event.provider
        assert (await post(reach, event)).json() == NONE | {"known": 1}, event.provider
    queued = {"RecordType": "Delivery", "MessageID": QUEUED, "Recipient": ADA}
    assert (await post(reach, postmark(queued))).json() == NONE | {"known": 1}
    assert (await post(reach, postmark(queued | {"MessageID": "x"}))).json()["unmatched"] == 1
    both = [
        {"message": str(message.id), "kind": "bounced", "category": "permanent"},
        {"message": "<nobody@example.org>", "kind": "delivered"},
    ]
    assert (await post(reach, generic(both))).json() == NONE | {"known": 1, "unmatched": 1}
    assert await reported(reach, message) == [
        ("bounced", "sendgrid", "permanent"),
        ("complained", "resend", None),
        ("delayed", "mailgun", "transient"),
        ("delivered", "amazon-ses", None),
    ]
    assert (await reach.database.read(outbox.view, message.id)).state == "complained"


def forgeries() -> Mapping[str, Sent]:
    """What is signed wrong, for somebody else, or long ago."""
    bounce = {"RecordType": "Bounce", "Type": "HardBounce", "Email": ADA}
    event = {"event": "delivered", "recipient": ADA}
    good = mailgun(event)
    tampered = json.loads(good.body)
    tampered["signature"]["signature"] = "0" * 64
    resend = standard("resend", {"type": "email.bounced", "data": {"to": [ADA]}})
    return {
        "Postmark, no password": postmark(bounce).but(authorization="Basic !"),
        "Postmark, a wrong one": postmark(bounce, "x" * 30),
        "Postmark, as a bearer": postmark(bounce).but(authorization=f"Bearer {providers.PASSWORD}"),
        "Mailgun, no signature": good.but(b'{"event-data": {}}'),
        "Mailgun, a list": good.but(b"[]"),
        "Mailgun, a wrong one": good.but(json.dumps(tampered).encode()),
        "Mailgun, another key's": mailgun(event, key="other"),
        "Mailgun, yesterday's": mailgun(event, age=DAY),
        "Mailgun, tomorrow's": mailgun(event, age=-DAY),
        "SendGrid, no signature": good.but() and Sent("sendgrid", b"[]", good.headers),
        "SendGrid, another body": sendgrid([event]).but(b"[]"),
        "SendGrid, another time": sendgrid([event]).but(
            x_twilio_email_event_webhook_timestamp="1790000000"
        ),
        "SendGrid, old": sendgrid([event], age=2 * DAY),
        "Resend, another body": resend.but(resend.body + b" "),
        "Resend, no UTF-8": resend.but(b"\xff"),
        "Resend, no base64": resend.but(svix_signature="v1,x v1"),
        "Resend, old": standard("resend", {"type": "email.bounced"}, age=400),
        "Resend, another secret": standard("resend", {}, secret=f"{providers.WEBHOOK_SECRET}BBBB"),
        "a program, unsigned": resend.but() and Sent("generic", b"{}", good.headers),
        "a program, by Resend's secret": generic({}, secret=providers.WEBHOOK_SECRET),
        "SES, another topic": amazon_ses({}, TopicArn=f"{TOPIC}-2"),
        "SES, raw": amazon_ses({"eventType": "Bounce"}).but(x_amz_sns_rawdelivery="true"),
    }


async def test_what_is_not_proven_is_refused(reach: Reach) -> None:
    """A 401, nothing of it stored; and who fails often is told no more, but a good one is heard."""
    message = await welcome(reach)
    refused = forgeries()
    # Without a limit: each for what it is.
    readers = reach.app.state.services.bounces
    for name, sent in refused.items():
        reports = None
        with contextlib.suppress(NotVerified):
            reports = await readers[sent.provider].reports(sent.received)
        assert reports is None, name
    statuses = []
    for sent in refused.values():
        answer = await post(reach, sent)
        statuses.append(answer.status_code)
        assert answer.headers["cache-control"] == "no-store"
        assert ADA not in answer.text
        if answer.status_code == 401:
            challenge = "Basic" if sent.provider == "postmark" else "Bearer"
            assert answer.headers["www-authenticate"] == f'{challenge} realm="reach"'
    assert statuses == [401] * 5 + [429] * (len(refused) - 5)
    assert await reported(reach, message) == []
    good = generic({"message": message.message_id, "kind": "delivered"})
    assert (await post(reach, good)).json()["recorded"] == 1


async def test_a_token_of_mailgun_is_good_for_one_event(reach: Reach) -> None:
    """Its signature says nothing of the event: who saw one could send another with it."""
    message = await welcome(reach)
    id_ = {"message": {"headers": {"message-id": message.message_id}}, "recipient": ADA}
    seen = mailgun({"event": "opened", **id_}, token="seen", age=7 * 3600)
    assert (await post(reach, seen)).json() == NONE
    assert (await post(reach, seen)).json() == NONE
    body = json.loads(seen.body)
    body["event-data"]["event"] = "complained"
    assert (await post(reach, seen.but(json.dumps(body).encode()))).status_code == 401
    assert await reported(reach, message) == []


async def test_what_is_proven_and_cannot_be_read_is_refused(reach: Reach) -> None:
    """With a 4xx, and nothing of it is stored: not even the part that can be read."""
    message = await welcome(reach)
    good = {"message": message.message_id, "kind": "bounced"}
    wrong: list[tuple[Sent, int]] = [
        (generic([good, {**good, "kind": "eaten"}]), 422),
        (generic([good, {**good, "colour": "red"}]), 422),
        (generic({**good, "kind": "delivered", "category": "permanent"}), 422),
        (generic([good] * 1001), 413),
        (generic("bounced"), 422),
        (generic({**good, "smtp_code": float("nan")}), 400),
        (postmark([good]), 422),
        (mailgun("delivered"), 422),
        (mailgun({"recipient": ADA}), 422),
        (sendgrid({"event": "bounce"}), 400),
        (sendgrid(["bounce"]), 422),
        (standard("resend", {"type": 4}), 422),
        (standard("resend", {"type": "email.bounced"}), 422),
        (amazon_ses("no JSON"), 422),
        (amazon_ses({"mail": {}}), 422),
        (amazon_ses({"notificationType": "Bounce", "bounce": {"bouncedRecipients": []}}), 422),
        (postmark(good).but(b"{"), 400),
        (postmark(good).but(Content_Type="text/plain"), 415),
        (postmark(good).but(b'{"a": "' + b"x" * 65536 + b'"}'), 413),
        (postmark(good).but(b'{"RecordType": "Delivery", "RecordType": "Bounce"}'), 400),
    ]
    for sent, status in wrong:
        answer = await post(reach, sent)
        assert answer.status_code == status, (sent, answer.text)
        assert "eaten" not in answer.text
    pointers = (await post(reach, generic([good, {**good, "kind": "eaten"}]))).json()["errors"]
    assert [one["pointer"] for one in pointers] == ["/1/kind"]
    assert await reported(reach, message) == []


async def test_a_batch_of_sendgrid_may_be_long(reach: Reach) -> None:
    """It has up to 768 KB, of which each event is taken."""
    message = await welcome(reach)
    event = {"event": "delivered", "email": ADA, "smtp-id": message.message_id}
    events = [{**event, "sg_message_id": "x" * 100}] * 900
    answer = await post(reach, sendgrid(events))
    assert answer.json() == NONE | {"recorded": 1, "known": 899}


async def test_a_provider_that_is_not_set_up_is_not_there(reach: Reach) -> None:
    """As any name is: who asks learns nothing. It cannot be read either."""
    set_up = change_services(reach.app, bounces={}).bounces
    assert list(set_up) == list(NAMES)
    for name in (*NAMES, "other"):
        answer = await reach.http.post(f"/v1/bounces/{name}", content=b"x" * 100)
        assert (answer.status_code, answer.json()["title"]) == (404, "There is nothing here")
    assert (await reach.http.get("/v1/bounces/postmark")).status_code == 405


async def test_the_provider_tries_again_when_the_database_is_unavailable(
    make_settings: Callable[..., Settings], sqlite: str
) -> None:
    """A 503 that says when: what it reports is lost otherwise."""
    settings = make_settings(
        database_url=sqlite, database_seconds=0.2, **providers.settings_of_all()
    )
    good = {"kind": "delivered", "message": "<01a20aee-6a2b-7c11-9d0e-5b7f3f2f9a01@example.com>"}
    path = sqlite.removeprefix("sqlite:///")
    async with running_reach(settings) as reach:
        with closing(sqlite3.connect(f"/{path.lstrip('/')}", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for sent in (generic(good), mailgun({"event": "delivered"})):
                answer = await post(reach, sent)
                assert answer.status_code == 503, answer.text
                assert int(answer.headers["retry-after"]) > 0
        assert (await post(reach, generic(good))).json()["unmatched"] == 1


#: What each process of the API does at its start, with the extra and without.
PROGRAM = """
import sys
from reach.reports.providers.configured import configured
from reach.settings import Settings
settings = Settings(bounces_amazon_ses_topics=sys.argv[1])
assert list(configured(settings, None)) == ["amazon-ses"]
print(sorted({"cryptography", "httpx2"} & set(sys.modules)))
sys.modules["httpx2"] = None
configured(settings, None)
"""


def test_the_extra_is_loaded_late_and_missed_early() -> None:
    """Nothing of it is in memory until something comes; without it, what to install is said."""
    command = [sys.executable, "-c", PROGRAM, TOPIC]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]"
    assert "REACH_BOUNCES_AMAZON_SES_TOPICS is set" in done.stderr
    assert "pip install 'reach[providers]'" in done.stderr
    assert "requirements/providers.txt" in done.stderr


def test_what_cannot_verify_anything_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is named with its remedy, and no secret is repeated."""
    wrong = {
        "AMAZON_SES_TOPICS": "arn:aws:sqs:eu-central-1:123456789012:canary",
        "POSTMARK_SECRET": "canary",
        "RESEND_SECRET": "whsec_canary!",
        "GENERIC_SECRET": "whsec_Y2FuYXJ5",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(f"REACH_BOUNCES_{name}", value)
    with pytest.raises(BadSettings) as raised:
        load()
    said = str(raised.value)
    assert "canary" not in said
    assert "Y2FuYXJ5" not in said
    assert all(f"REACH_BOUNCES_{name}" in said for name in wrong)
    with pytest.raises(BadSettings, match="REACH_BOUNCES_SENDGRID_KEY is not"):
        SendGrid(["canary"])
