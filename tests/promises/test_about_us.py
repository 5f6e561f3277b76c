"""Replies that are about us, through a worker: they fail nobody's message, and tell an operator."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import update

from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.messages.model import messages
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import addresses, all_sent, attempts_in, messages_in, sign_up
from tests.support.processes.reach import running_worker
from tests.support.servers.mail import MailServer, Reply
from tests.support.servers.mail_session import Session

DAY = timedelta(days=1)
#: What failed 19 to 34 of 40 sign-ups for ever.
OF_US = [
    ("rcpt", "553 5.7.1 <reach@example.org>: Sender address rejected: not owned by user ada"),
    ("rcpt", "554 5.7.1 <ada@example.com>: Relay access denied"),
    ("rcpt", "454 4.7.1 <ada@example.com>: Relay access denied"),
    ("dot", "554 Message rejected: Email address is not verified."),
]
TOO_MUCH = [
    ("data", "550 5.7.0 Requested action not taken: too many emails per second"),
    ("dot", "550 5.4.5 Daily user sending limit exceeded"),
]


@pytest.fixture
def mailing(mailing: Settings) -> Settings:
    """Settings that try again soon."""
    return mailing.model_copy(
        update={
            "breaker_first_seconds": 0.05,
            "breaker_cap_seconds": 0.2,
            "retry_first_seconds": 0.05,
        }
    )


@pytest.mark.parametrize(
    ("stage", "reply", "count"),
    [*((*one, 40) for one in (*OF_US, *TOO_MUCH)), (*OF_US[0], 2), (*TOO_MUCH[1], 2)],
)
async def test_what_is_about_us_fails_nobody(
    mailing: Settings,
    mail_server: MailServer,
    database: Database,
    stage: str,
    reply: str,
    count: int,
) -> None:
    """All wait while the server says so, their tries unspent but for one; mended, all get it."""
    mail_server.script[stage] = reply
    await sign_up(database, mailing, *addresses(count))
    async with running_worker(mailing):
        await eventually(lambda: mail_server.commands.count("RCPT") >= 5)
        await eventually(partial(an_operator_is_shown, database, reply[:3], reply[-20:]))
        found = await messages_in(database)
        assert {message.state for message in found} == {"queued"}
        assert sum(message.attempts for message in found) <= 1
        del mail_server.script[stage]
        await all_sent(database, 20)
    assert sorted(mail_server.recipients) == sorted(addresses(count))


async def test_a_server_that_takes_ten_a_session_gets_everything(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """Stalwart's default: nothing is refused, no try is spent, however many we think it takes."""
    refusals = 0

    def answer(session: Session, _: str) -> Reply:
        nonlocal refusals
        is_full = session.messages >= 10
        refusals += is_full
        return "452 4.4.5 Maximum number of messages per session exceeded." if is_full else None

    mail_server.script["mail"] = answer
    for most in (10, 50):
        mail_server.messages.clear()
        settings = mailing.model_copy(
            update={"smtp_messages_per_connection": most, "worker_slots": 2}
        )
        await sign_up(database, settings, *addresses(70, f"most{most}"))
        async with running_worker(settings):
            found = await all_sent(database, 20)
        assert {message.attempts for message in found} == {1}
        assert len(mail_server.messages) == 70
        assert (refusals > 0) == (most > 10)


async def test_too_much_is_sent_more_slowly(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """A server that takes three at a time from us: fewer are sent at a time, and all are sent."""
    under_way: set[Session] = set()

    def at_mail(session: Session, _: str) -> Reply:
        under_way.add(session)
        return None

    def at_data(session: Session, _: str) -> Reply:
        if len(under_way) > 3:
            under_way.discard(session)
            return "550 5.7.0 Requested action not taken: too many emails per second"
        return None

    def at_end(session: Session, _: str) -> Reply:
        under_way.discard(session)
        return None

    mail_server.script.update({"mail": at_mail, "data": at_data, "dot": at_end, "rset": at_end})
    await sign_up(database, mailing, *addresses(100))
    async with running_worker(mailing):
        found = await all_sent(database, 30)
    assert {message.attempts for message in found} == {1}
    assert {attempt.outcome for attempt in await attempts_in(database)} == {"sent"}


def refuse(recipient: str, reply: str) -> Callable[[Session, str], Reply]:
    """Refuse one recipient, and serve the others."""
    return lambda _, argument: reply if recipient in argument else None


@pytest.mark.parametrize("code", [554, 454])
async def test_a_message_that_stays_suspect_while_others_are_sent_is_refused(
    mailing: Settings, mail_server: MailServer, database: Database, code: int
) -> None:
    """After a day it fails; a 4yz, which is no "never", has its four days like any other."""
    settings = mailing.model_copy(update={"retry_cap_seconds": 0.2})
    reply = f"{code} {code // 100}.7.1 <bad@example.com>: Relay access denied"
    mail_server.script["rcpt"] = refuse("bad@", reply)
    await sign_up(database, settings, "bad@example.com")
    async with running_worker(settings):
        await eventually(lambda: tried(database, 3))
        assert {message.state for message in await messages_in(database)} == {"queued"}
        await database.write(suspect_since, datetime.now(UTC) - DAY - timedelta(minutes=1))
        before = len(await attempts_in(database))
        await eventually(lambda: tried(database, before + 2))
        # Nobody else was served: it could still be us.
        assert {message.state for message in await messages_in(database)} == {"queued"}
        await sign_up(database, settings, "good@example.com")
        if code == 554:
            await eventually(partial(states_are, database, {"failed", "sent"}))
            bad = next(m for m in await messages_in(database) if m.state == "failed")
            outcomes = [a.outcome for a in await attempts_in(database) if a.message_id == bad.id]
            assert set(outcomes[:-1]) == {"deferred"}
            assert outcomes[-1] == "rejected"
        else:
            await eventually(partial(states_are, database, {"queued", "sent"}))
            before = len(await attempts_in(database))
            await eventually(lambda: tried(database, before + 2))
            assert await states_are(database, {"queued", "sent"})


async def test_what_is_no_longer_suspect_begins_again(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """Another answer in between: the day is counted from the next doubt on."""
    mail_server.script["rcpt"] = "554 5.7.1 Policy"
    await sign_up(database, mailing, "ada@example.com")
    async with running_worker(mailing):
        await eventually(partial(is_suspected, database, True))
        mail_server.script["rcpt"] = "451 4.3.0 Not now"
        await eventually(partial(is_suspected, database, False))
        mail_server.script["rcpt"] = "554 5.7.1 Policy"
        await eventually(partial(is_suspected, database, True))


async def test_two_that_stay_suspect_hold_up_nobody(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """They open and close the circuit breaker, and others get through all the same."""

    def answer(_: Session, argument: str) -> Reply:
        return "554 5.7.1 Policy" if "bad" in argument else None

    mail_server.script["rcpt"] = answer
    await sign_up(database, mailing, "bad1@example.com", "bad2@example.com")
    async with running_worker(mailing):
        await eventually(lambda: mail_server.commands.count("RCPT") >= 4)
        for count in range(1, 6):
            await sign_up(database, mailing, f"good{count}@example.com")
            await eventually(lambda count=count: len(mail_server.messages) == count)  # type: ignore[misc]
    assert {m.state for m in await messages_in(database) if "bad" in m.recipient} == {"queued"}


async def test_many_that_are_suspect_hold_up_nobody(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """Who signs up after a stranger's thirty does not wait for thirty probes."""
    settings = mailing.model_copy(update={"breaker_cap_seconds": 60})
    mail_server.script["rcpt"] = refuse("bad", "554 5.7.1 Policy")
    await sign_up(database, settings, *addresses(30, "bad"))
    async with running_worker(settings):
        await eventually(lambda: mail_server.commands.count("RCPT") >= 2)
        await sign_up(database, settings, "good@example.com")
        await eventually(lambda: mail_server.recipients == ["good@example.com"])
    assert {m.state for m in await messages_in(database) if "bad" in m.recipient} == {"queued"}


async def test_a_half_open_breaker_counts_as_open_until_something_is_sent(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """One message at a time is tried, and alerts go by the metric."""
    settings = mailing.model_copy(update={"breaker_cap_seconds": 1, "breaker_first_seconds": 0.01})
    mail_server.script["rcpt"] = "554 5.7.1 Policy"
    await sign_up(database, settings, *addresses(2))
    async with running_worker(settings):
        await eventually(lambda: mail_server.commands.count("RSET") >= 1)  # the probe
        heard = mail_server.commands.count("RCPT")
        await eventually(lambda: mail_server.commands.count("RCPT") > heard)
        await eventually(lambda: REGISTRY.get_sample_value("reach_circuit_breaker_open") == 1)
        del mail_server.script["rcpt"]
        await all_sent(database)
        await eventually(lambda: REGISTRY.get_sample_value("reach_circuit_breaker_open") == 0)


async def test_one_that_is_always_too_much_holds_up_nobody_for_ever(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """A server may limit one recipient's rate: time and again, it is that message's trouble."""
    mail_server.script["rcpt"] = refuse("bad", "450 4.7.1 Recipient rate limit exceeded")
    await sign_up(database, mailing, "bad@example.com")
    async with running_worker(mailing):
        for count in range(1, 100):
            await sign_up(database, mailing, f"good{count}@example.com")
            await eventually(lambda count=count: len(mail_server.messages) == count)  # type: ignore[misc]
            if await attempts_later(database):
                break
    (bad,) = [m for m in await messages_in(database) if "bad" in m.recipient]
    assert (bad.state, bad.attempts) == ("queued", 1)


async def attempts_later(database: Database) -> int:
    """Count the attempts that ended as "deferred"."""
    return [attempt.outcome for attempt in await attempts_in(database)].count("deferred")


async def an_operator_is_shown(database: Database, *words: str) -> bool:
    """Whether a message shows the server's code and words."""
    errors = [message.last_error or "" for message in await messages_in(database)]
    return any(all(word in error for word in words) for error in errors)


async def tried(database: Database, count: int) -> bool:
    """Whether so many attempts were recorded."""
    return len(await attempts_in(database)) >= count


async def states_are(database: Database, states: set[str]) -> bool:
    """Whether the messages are in these states."""
    return {message.state for message in await messages_in(database)} == states


async def is_suspected(database: Database, expected: bool) -> bool:
    """Whether the one message there is suspected, or not."""
    (message,) = await messages_in(database)
    return (message.suspected_at is not None) == expected and message.attempts > 0


def suspect_since(tx: Transaction, since: datetime) -> None:
    """Turn the clock of all doubts back."""
    tx.execute(update(messages).values(suspected_at=since))
