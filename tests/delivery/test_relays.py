"""Several mail servers: the next sends while one cannot, and each gets no more than its rate."""

import asyncio
from collections.abc import Sequence
from functools import partial
from statistics import mean, median

import pytest
from pydantic import SecretStr

from reach.db.database import Database
from reach.delivery import open_breakers, relays
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import (
    addresses,
    all_sent,
    attempts_in,
    messages_in,
    sign_up,
)
from tests.support.processes.reach import running_worker
from tests.support.servers.mail import MailServer, ReceivedMail
from tests.support.servers.mail_session import Session


def through(settings: Settings, *servers: MailServer, **changes: object) -> Settings:
    """Settings whose mail goes by these, in this order."""
    urls = SecretStr(", ".join(server.url for server in servers))
    soon = {"breaker_first_seconds": 0.1, "breaker_cap_seconds": 0.2, **changes}
    return settings.model_copy(update={"smtp_url": SecretStr(""), "smtp_urls": urls, **soon})


def rate_of(messages: Sequence[ReceivedMail]) -> float:
    """How many arrived in a second: the middle one of all halves, so late ones hardly count."""
    arrived = sorted(message.received_at.timestamp() for message in messages)
    half = len(arrived) // 2
    return half / median(last - first for first, last in zip(arrived, arrived[half:], strict=False))


async def test_a_killed_server_loses_nothing_and_mail_comes_back_to_it(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """The next one sends within 5 s; operators see which is passed over; then the first again."""
    first = mail_server
    async with MailServer() as second:
        both = through(mailing, first, second)
        await sign_up(database, both, *addresses(60))
        async with running_worker(both):
            await eventually(lambda: len(first.messages) >= 10)
            await first.stop()
            await eventually(lambda: second.messages, seconds=5)
            await all_sent(database)
            sent = {*first.recipients, *second.recipients}
            assert sent == {*addresses(60)}
            (told,) = await eventually(partial(database.read, open_breakers.read))
            assert (told.server, told.number, told.count) == (f"127.0.0.1:{first.port}", 1, 2)
            assert open_breakers.stopped([told]) == []
            await first.start()
            await eventually(partial(_is_told, database, 0))
            await sign_up(database, both, "half-open@example.com")  # closes it
            await eventually(lambda: "half-open@example.com" in first.recipients)
            before = len(second.messages)
            await sign_up(database, both, *addresses(20, "back"))
            await all_sent(database)
            assert {*addresses(20, "back")} <= {*first.recipients}
            assert len(second.messages) == before
    texts = [attempt.text for attempt in await attempts_in(database) if attempt.outcome == "sent"]
    assert any(text.startswith(f"127.0.0.1:{second.port}: ") for text in texts)
    assert not any(attempt.outcome == "unavailable" for attempt in await attempts_in(database))


async def test_a_server_that_is_silent_is_passed_over(
    mailing: Settings, mail_server: MailServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reached, and greets nobody; the last one may take as long as the settings say."""
    monkeypatch.setattr(relays, "FAILOVER_SECONDS", 0.2)
    kept: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(lambda _, writer: kept.append(writer), "127.0.0.1") as a:
        port = a.sockets[0].getsockname()[1]
        both = f"smtp://127.0.0.1:{port}, {mail_server.url}"
        several = mailing.model_copy(
            update={"smtp_url": SecretStr(""), "smtp_urls": SecretStr(both)}
        )
        await sign_up(database, several, *addresses(3))
        async with running_worker(several):
            await all_sent(database)
        assert {*mail_server.recipients} == {*addresses(3)}
        assert kept
        for writer in kept:
            writer.close()


async def _is_told(database: Database, count: int) -> bool:
    return len(await database.read(open_breakers.read)) == count


async def test_what_one_says_of_a_message_is_not_asked_of_another(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """Rejected stays so; deferred waits; unavailable goes on at once, with no attempt spent."""
    answers = {
        "no@": "550 5.1.1 No such user",
        "later@": "450 4.2.2 Mailbox full",
        "rate@": "450 4.7.28 Too much",
    }

    def rcpt(_: Session, argument: str) -> str | None:
        return next((said for part, said in answers.items() if part in argument), None)

    mail_server.script["rcpt"] = rcpt
    async with MailServer() as second:
        both = through(mailing, mail_server, second, retry_first_seconds=60, retry_cap_seconds=60)
        async with running_worker(both):
            for name in ("no", "later", "rate"):
                await sign_up(database, both, f"{name}@example.com")
                await eventually(partial(_is_over, database, name))
        assert second.recipients == ["rate@example.com"]
    found = {
        message.recipient.partition("@")[0]: message for message in await messages_in(database)
    }
    assert (found["no"].state, found["no"].attempts) == ("failed", 1)
    assert (found["later"].state, found["later"].attempts) == ("queued", 1)
    assert (found["rate"].state, found["rate"].attempts, found["rate"].failures) == ("sent", 1, 0)
    (sent,) = [one.text for one in await attempts_in(database) if one.outcome == "sent"]
    assert f"(after 450 4.7.28 127.0.0.1:{mail_server.port}: RCPT TO: Too much)" in sent


async def _is_over(database: Database, name: str) -> bool:
    return any(
        message.recipient.startswith(f"{name}@") and message.attempts
        for message in await messages_in(database)
    )


async def test_nothing_is_sent_while_all_are_down(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """It waits with no attempt spent, and the one that is back first sends it."""
    async with MailServer() as second:
        both = through(mailing, mail_server, second)
        await mail_server.stop()
        await second.stop()
        await sign_up(database, both, *addresses(3))
        async with running_worker(both):
            await eventually(partial(_is_told, database, 2))
            breakers = await database.read(open_breakers.read)
            assert len(open_breakers.stopped(breakers)) == 1
            await second.start()
            await all_sent(database)
        assert sorted(second.recipients) == sorted(addresses(3))
    assert all(message.attempts == 1 for message in await messages_in(database))


async def test_a_server_gets_its_rate(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """Within 2 %, by when its messages arrive; from the first one on, with no burst."""
    slow = mailing.model_copy(update={"smtp_url": SecretStr(f"{mail_server.url}?rate=50/s")})
    await sign_up(database, slow, *addresses(70))
    async with running_worker(slow):
        await all_sent(database)
    assert rate_of(mail_server.messages) == pytest.approx(50, rel=0.02)
    seconds = [attempt.finished_at - attempt.started_at for attempt in await attempts_in(database)]
    assert mean(one.total_seconds() for one in seconds) < 0.1  # to wait for a turn is no attempt


async def test_a_domain_gets_its_rate_and_holds_up_no_other(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """Its long queue is put off once, each message to its turn; others overtake it."""
    slow = mailing.model_copy(update={"domain_rates": "slow.example.com=50/s"})
    many = [f"{number}@slow.example.com" for number in range(600)]
    await sign_up(database, slow, *many)
    await sign_up(database, slow, *addresses(30))

    def to(domain: str) -> list[ReceivedMail]:
        return [one for one in mail_server.messages if one.recipient.endswith(f"@{domain}")]

    async with running_worker(slow):
        await eventually(lambda: len(to("example.com")) == 30)
        assert len(to("slow.example.com")) < 150
        assert max(message.lease for message in await messages_in(database)) <= 2
        await eventually(lambda: len(to("slow.example.com")) >= 100)
    assert rate_of(to("slow.example.com")[:100]) == pytest.approx(50, rel=0.02)
    waiting = [one for one in await messages_in(database) if one.state == "queued"]
    assert waiting
    assert all(
        one.attempts == 0 and "REACH_DOMAIN_RATES" in (one.last_error or "") for one in waiting
    )


async def test_one_that_is_half_open_gets_a_message_at_a_time(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """The others go by the next server meanwhile."""
    async with MailServer() as second:
        both = through(mailing, mail_server, second)
        mail_server.script["mail"] = "451 4.3.2 not now"
        async with running_worker(both):
            await sign_up(database, both, "opens@example.com")
            await eventually(lambda: second.recipients == ["opens@example.com"])
            await eventually(partial(_is_told, database, 1))
            gate = mail_server.gate("rcpt")
            del mail_server.script["mail"]
            await eventually(partial(_is_told, database, 0))
            await sign_up(database, both, *addresses(10))
            await gate.wait_reached()
            await eventually(lambda: len(second.messages) == 10)
            assert gate.count == 1
            gate.open()
            await all_sent(database)
        assert len(mail_server.messages) == 1
