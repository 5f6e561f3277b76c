"""The stage table, through a worker: what becomes of a message, whatever the mail server says."""

from collections.abc import Callable
from functools import partial

import pytest
from pydantic import SecretStr

from reach.db.database import Database
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import addresses, all_sent, attempts_in, messages_in, sign_up
from tests.support.processes.reach import running_worker
from tests.support.servers.mail import DROP, GARBAGE, SILENCE, Authority, MailServer, Reply, once
from tests.support.servers.mail_session import Session

#: Long enough for a busy machine to answer in, where it does answer.
SHORT_SECONDS = 1.0
#: Where a reply is about the message.
HEARD = ("rcpt", "data", "dot")

Turned = Callable[[Session, str], Reply]


def refuse(reply: str, *recipients: str) -> Turned:
    """Answer so for these recipients, and as usual for all others."""
    return lambda _, argument: reply if any(r in argument for r in recipients) else None


@pytest.fixture
def mailing(mailing: Settings) -> Settings:
    """Settings with one message under way at a time."""
    return mailing.model_copy(update={"worker_slots": 1})


def waiting_for(reply: Reply | int, settings: Settings) -> Settings:
    """Settings with time-outs that can be waited for, if a mail server stays silent."""
    names = ("greeting", "mail", "rcpt", "data", "final") if reply is SILENCE else ()
    return settings.model_copy(update={f"smtp_{name}_seconds": SHORT_SECONDS for name in names})


@pytest.mark.parametrize(
    "row",
    [
        # Each stage, and each code: what all of them mean together is in smtp/test_replies.
        ("rcpt", 450, "deferred"),
        ("data", 451, "deferred"),
        ("dot", 452, "deferred"),
        ("rcpt", 550, "rejected"),
        ("data", 554, "rejected"),
        ("dot", 552, "rejected"),
        *(
            (stage, how, "deferred")
            for stage in ("mail", "rcpt")
            for how in (DROP, SILENCE, GARBAGE)
        ),
        *(("dot", how, "unknown") for how in (DROP, SILENCE, GARBAGE)),
        *(("accepted", how, "unknown") for how in (DROP, SILENCE)),
    ],
)
async def test_an_attempt_that_counts(
    mailing: Settings,
    mail_server: MailServer,
    database: Database,
    row: tuple[str, Reply | int, str],
) -> None:
    """Rejected fails at once; Deferred and Unknown are tried again, and delivered, with one id."""
    stage, reply, outcome = row
    mailing = waiting_for(reply, mailing)
    said = {"deferred": "4.2.1 No", "rejected": "5.1.1 No"}
    text = f"{reply} {said[outcome]}" if isinstance(reply, int) else reply
    mail_server.script[stage] = once(text) if outcome != "rejected" else text
    await sign_up(database, mailing, "ada@example.com")
    async with running_worker(mailing):
        if outcome == "rejected":
            await eventually(lambda: state_is(database, "failed"))
        else:
            await all_sent(database)
    (message,) = await messages_in(database)
    attempts = await attempts_in(database)
    expected = [outcome] if outcome == "rejected" else [outcome, "sent"]
    assert [attempt.outcome for attempt in attempts] == expected
    assert (message.attempts, message.due_at is not None) == (len(expected), True)
    assert attempts[0].smtp_code == (reply if isinstance(reply, int) else None)
    assert {mail.message_id for mail in mail_server.messages} <= {message.message_id}
    assert len(mail_server.messages) == {"rejected": 0, "deferred": 1, "unknown": 1}[outcome] + (
        stage == "accepted"
    )


async def state_is(database: Database, state: str) -> bool:
    """Whether the one message there is in this state."""
    (message,) = await messages_in(database)
    return message.state == state


@pytest.mark.parametrize(
    ("stage", "reply"),
    [
        *(("greeting", how) for how in ("421 4.3.2 No", "554 5.3.2 No", DROP, SILENCE, GARBAGE)),
        *(("ehlo", how) for how in ("421 4.3.2 No", "550 5.7.1 No", DROP)),
        *((stage, "421 4.3.2 Bye") for stage in ("mail", "rcpt", "data", "dot")),
        *((stage, "530 5.7.0 Log in") for stage in ("mail", "rcpt", "data", "dot")),
        *((stage, "535 5.7.8 No") for stage in ("mail", "rcpt")),
        *(("mail", how) for how in ("550 5.7.1 Not you", "553 5.1.8 Who?", "451 4.3.0 Not now")),
    ],
)
async def test_a_pause_spends_no_attempt(
    mailing: Settings, mail_server: MailServer, database: Database, stage: str, reply: Reply
) -> None:
    """No attempt is counted, all is released; when it is over, all is sent."""
    settings = waiting_for(reply, mailing)
    mail_server.script[stage] = reply
    await sign_up(database, settings, *addresses(3))
    async with running_worker(settings):
        await eventually(lambda: mail_server.sessions >= 3)  # it probes, again and again
        await eventually(lambda: none_is_held(database))
        assert {message.attempts for message in await messages_in(database)} == {0}
        assert await attempts_in(database) == []
        assert any(message.last_error for message in await messages_in(database))
        await sign_up(database, settings, "late@example.com")
        del mail_server.script[stage]
        messages = await all_sent(database)
    assert {message.attempts for message in messages} == {1}
    assert sorted(mail_server.recipients) == sorted([*addresses(3), "late@example.com"])


async def none_is_held(database: Database) -> bool:
    """Whether every lease was given back."""
    return all(message.lease == message.recorded_lease for message in await messages_in(database))


@pytest.mark.parametrize("trouble", ["certificate", "starttls", "password"])
async def test_a_server_that_cannot_be_trusted_gets_nothing(
    mailing: Settings, authority: Authority, database: Database, trouble: str
) -> None:
    """Bad certificate, STARTTLS not offered, refused password: unavailable, nothing in clear."""
    certificate = authority.certify(*(["elsewhere.example"] if trouble == "certificate" else []))
    server = MailServer(
        tls=None if trouble == "starttls" else "starttls",
        certificate=None if trouble == "starttls" else certificate,
        login=("ada", "right"),
        requires_auth=True,
    )
    async with server:
        password = "wrong" if trouble == "password" else "right"
        url = f"smtp+starttls://ada:{password}@{server.url.rpartition('@')[2].split('//')[-1]}"
        settings = mailing.model_copy(
            update={"smtp_url": SecretStr(url), "smtp_ca_file": authority.file}
        )
        await sign_up(database, settings, "ada@example.com")
        async with running_worker(settings):
            await eventually(lambda: server.sessions >= 2)
            await eventually(lambda: none_is_held(database))
        assert "MAIL" not in server.commands
        if trouble != "password":
            assert "AUTH" not in server.commands
    (message,) = await messages_in(database)
    assert (message.state, message.attempts) == ("queued", 0)
    assert message.last_error


async def test_twenty_refusals_in_a_row_are_about_us(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """Nineteen recipients fail; from the twentieth on all is kept, until the server takes one."""
    mail_server.script["rcpt"] = "550 5.1.1 Nobody"
    await sign_up(database, mailing, *addresses(60))
    async with running_worker(mailing):
        await eventually(lambda: mail_server.commands.count("RCPT") >= 60)
        states = [message.state for message in await messages_in(database)]
        assert (states.count("failed"), states.count("queued")) == (19, 41)
        del mail_server.script["rcpt"]
        await eventually(lambda: sent(database, 41))
    assert len(mail_server.messages) == 41


async def sent(database: Database, count: int) -> bool:
    """Whether so many messages are sent."""
    return [message.state for message in await messages_in(database)].count("sent") == count


@pytest.mark.parametrize("reply", ["550 5.1.1 Nobody", "421 4.3.0 Not this one", "530 5.7.0 No"])
async def test_recipients_that_are_always_refused_hold_up_nobody(
    mailing: Settings, mail_server: MailServer, database: Database, reply: str
) -> None:
    """Their messages go behind the others; and once others are served, it is they who fail."""
    dead = addresses(50 if reply.startswith("550") else 2, "dead")
    mail_server.script["rcpt"] = refuse(reply, *dead)
    await sign_up(database, mailing, *dead)
    async with running_worker(mailing):
        for count, good in enumerate(("bob@example.com", "cy@example.com"), start=1):
            await sign_up(database, mailing, good)
            await eventually(partial(sent, database, count), 20)
            assert mail_server.recipients[-1] == good
        if not reply.startswith("550"):
            await eventually(lambda: tried(database, len(dead)), 20)


async def tried(database: Database, count: int) -> bool:
    """Whether so many messages have had an attempt that failed and counted."""
    later = [one.message_id for one in await attempts_in(database) if one.outcome == "deferred"]
    return len(set(later)) == count


@pytest.mark.parametrize("most", [1, 3])
async def test_a_server_that_allows_few_connections_gets_everything(
    mailing: Settings, mail_server: MailServer, database: Database, most: int
) -> None:
    """Refused beyond a few connections, a worker makes do with these, and goes on sending."""

    def greet(_: Session, __: str) -> Reply:
        return "421 4.7.0 Too many connections" if mail_server.connections > most else None

    mail_server.script["greeting"] = greet
    settings = mailing.model_copy(update={"worker_slots": 8, "breaker_cap_seconds": 60})
    await sign_up(database, settings, *addresses(200))
    async with running_worker(settings):
        await all_sent(database, 20)
    assert len(mail_server.messages) == 200


async def test_what_waits_behind_a_silent_server_is_given_back(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """A worker keeps what it has begun, and lets another worker have the rest."""
    settings = mailing.model_copy(
        update={"worker_slots": 2, "lease_seconds": 1.0, "smtp_mail_seconds": 60}
    )
    gate = mail_server.gate("mail")
    await sign_up(database, settings, *addresses(30))
    async with running_worker(settings):
        await gate.wait_reached(2)

        async def the_rest_is_free() -> bool:
            held = [m for m in await messages_in(database) if m.lease != m.recorded_lease]
            return len(held) == 2

        await eventually(the_rest_is_free)
        gate.open()
        await all_sent(database)
    assert len(mail_server.messages) == 30


async def test_an_address_that_is_not_ascii_is_delivered(
    mailing: Settings, database: Database
) -> None:
    """With ``REACH_SMTPUTF8=on``, from the composer to a server that offers it."""
    async with MailServer(smtputf8=True) as server:
        settings = mailing.model_copy(update={"smtp_url": SecretStr(server.url), "smtputf8": True})
        await sign_up(database, settings, "jürgen@example.com")
        async with running_worker(settings):
            await all_sent(database)
        (mail,) = server.messages
    assert mail.recipient == "jürgen@example.com"
    assert "To: jürgen@example.com".encode() in mail.content
    assert "SMTPUTF8" in mail.parameters
