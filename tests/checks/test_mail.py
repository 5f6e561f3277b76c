"""`reach check` finds out whether the mail server takes our mail, and with --to sends some."""

import asyncio
from collections.abc import Callable

import pytest
from pydantic import SecretStr

from reach.checks.mail import check_smtp, check_smtputf8, send_sample
from reach.mail.samples import IN_PLACE
from reach.settings import Settings
from tests.support.messages import a_key, is_believed, signing
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.servers.mail import DROP, MailServer, Reply

MakeSettings = Callable[..., Settings]
TO = "somebody@example.com"


@pytest.fixture
def mailing(make_settings: MakeSettings, mail_server: MailServer, sqlite: str) -> Settings:
    """Settings that send through the scriptable server."""
    return make_settings(
        database_url=sqlite,
        smtp_url=mail_server.url,
        mail_from="Reach <hello@example.org>",
        public_url="https://signup.example.org",
    )


# Without --to: up to MAIL FROM


async def test_the_sender_is_named_and_nothing_sent(
    mailing: Settings, mail_server: MailServer
) -> None:
    """As far as it goes without a recipient: MAIL FROM, and then RSET."""
    finding = await check_smtp(mailing)
    assert finding.remedy == ""
    assert mail_server.commands == ["EHLO", "MAIL", "RSET", "QUIT"]
    assert "MAIL FROM:<hello@example.org>" in mail_server.lines
    assert mail_server.messages == []


async def test_every_server_is_asked(
    make_settings: MakeSettings, mail_server: MailServer, sqlite: str
) -> None:
    """By the sender of envelopes, and a fallback that refuses it is a fault too."""
    async with MailServer() as second:
        settings = make_settings(
            database_url=sqlite,
            smtp_urls=f"{mail_server.url}, {second.url}?rate=5/s",
            envelope_sender="bounces@example.org",
        )
        finding = await check_smtp(settings)
        assert finding.remedy == ""
        assert "takes mail from REACH_ENVELOPE_SENDER; 2. 127.0.0.1:" in finding.words
        second.script["mail"] = "550 5.7.1 Sender not allowed"
        finding = await check_smtp(settings)
        assert f"2. 127.0.0.1:{second.port} (plain): 550 5.7.1" in finding.words
        assert "takes nothing from bounces@example.org: check REACH_ENVELOPE" in finding.remedy
        assert "MAIL FROM:<bounces@example.org>" in mail_server.lines
        # A message on request goes by the next one, too.
        mail_server.script["mail"] = "451 4.3.2 Not now"
        del second.script["mail"]
        assert (await send_sample(settings, TO)).remedy == ""
        assert second.recipients == [TO]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("550 5.7.1 Sender not allowed", "550 5.7.1 MAIL FROM: Sender not allowed"),
        ("451 4.7.1 Not now", "451 4.7.1 MAIL FROM: Not now"),
        (DROP, "MAIL FROM: the connection was lost"),
    ],
    ids=["never", "not now", "lost"],
)
async def test_a_sender_who_is_refused(
    mailing: Settings, mail_server: MailServer, said: Reply, words: str
) -> None:
    """The login is fine, and yet no message would leave: whose fault it is, and what was said."""
    mail_server.script["mail"] = said
    finding = await check_smtp(mailing)
    assert words in finding.words
    assert "REACH_MAIL_FROM" in finding.remedy
    assert "hello@example.org" in finding.remedy


# SMTPUTF8


@pytest.mark.parametrize("offers", [True, False])
async def test_smtputf8_is_a_warning(
    make_settings: MakeSettings, mail_server: MailServer, *, offers: bool
) -> None:
    """On, it says whether the mail server offers it, and that all behind it must."""
    mail_server.smtputf8 = offers
    off = make_settings(smtp_url=mail_server.url)
    finding = await check_smtputf8(off)
    assert (finding.words[:4], finding.remedy, finding.advice) == ("off:", "", "")
    assert mail_server.commands == []
    finding = await check_smtputf8(off.model_copy(update={"smtputf8": True}))
    assert mail_server.commands == ["EHLO", "QUIT"]
    if offers:
        assert finding.words == "on, and the mail server offers SMTPUTF8"
        assert finding.remedy == ""
        assert "bounces" in finding.advice
    else:
        assert finding.words == "on, and the mail server does not offer SMTPUTF8"
        assert "REACH_SMTPUTF8=off" in finding.remedy


async def test_smtputf8_where_nobody_can_be_asked(make_settings: MakeSettings) -> None:
    """The warning stands; that the server is unavailable is another finding."""
    url = f"smtp://127.0.0.1:{free_port()}"
    finding = await check_smtputf8(make_settings(smtp_url=url, smtputf8=True))
    assert "not known" in finding.words
    assert finding.remedy == ""
    assert "bounces" in finding.advice
    assert "bounces" in (await check_smtputf8(make_settings(smtputf8=True))).advice


# --to


async def test_one_message_is_sent_as_any_other(mailing: Settings, mail_server: MailServer) -> None:
    """Both parts, all headers, signed; its links are samples; the server's words are told."""
    mail_server.script["accepted"] = "250 2.0.0 Ok: queued as 4711"
    signed = {name: SecretStr(value) for name, value in signing().items() if "key" in name}
    settings = mailing.model_copy(update={**signing(), **signed})
    finding = await send_sample(settings, TO)
    assert finding.remedy == ""
    assert finding.words.startswith("250 2.0.0 final dot: Ok: queued as 4711 (Message-ID <")
    (mail,) = mail_server.messages
    assert (mail.sender, mail.recipient) == ("hello@example.org", TO)
    assert mail.message_id in finding.words
    assert mail.headers["Subject"] == "Welcome to Reach, Sample Name"
    assert mail.headers["Auto-Submitted"] == "auto-generated"
    for part in (mail.text, mail.html):
        assert f"https://signup.example.org/confirm?token={IN_PLACE}" in part
        assert f"https://signup.example.org/manage?token={IN_PLACE}" in part
    assert is_believed(mail.content, a_key())


@pytest.mark.parametrize(
    ("stage", "said", "words", "remedy"),
    [
        ("rcpt", "550 5.1.1 No such user", "rejected: 550 5.1.1 RCPT TO: No such user", "address"),
        ("rcpt", "450 4.2.1 Busy", "deferred: 450 4.2.1 RCPT TO: Busy", "address"),
        (
            "mail",
            "550 5.7.1 Not you",
            "unavailable: 550 5.7.1 MAIL FROM: Not you",
            "REACH_MAIL_FROM",
        ),
        ("ehlo", "554 5.7.1 Go away", "unavailable: 554 5.7.1 EHLO: Go away", "REACH_SMTP_URL"),
        ("dot", "554 5.6.0 Spam", "rejected: 554 5.6.0 final dot: Spam", "address"),
        ("accepted", DROP, "unknown: final dot: the connection was lost", "address"),
    ],
)
async def test_what_is_not_taken(
    mailing: Settings,
    mail_server: MailServer,
    stage: str,
    said: Reply,
    words: str,
    remedy: str,
) -> None:
    """With the code, the enhanced code and the words; not tried again."""
    mail_server.script[stage] = said
    finding = await send_sample(mailing, TO)
    assert finding.words.startswith(words)
    assert remedy in finding.remedy
    assert mail_server.sessions == 1


async def test_the_command_sends_and_says(mailing: Settings, mail_server: MailServer) -> None:
    """0 if the server takes it, 1 if not; without --to, nothing is sent."""
    settings = mailing.model_copy(update={"mail_from": "hello@reach.test"})  # not asked of DNS
    for said, code in ((None, 0), ("550 5.1.1 No such user", 1)):
        mail_server.script["rcpt"] = said
        with ReachProcess("check", "--to", TO, settings=settings) as it:
            await asyncio.to_thread(it.wait, 60)
            lines = it.output.splitlines()
            (line,) = (line for line in lines if " sent: " in line)
            assert line.startswith("!! sent: rejected: 550 5.1.1" if code else "ok sent: 250 2.0.0")
            assert it.exit_code == code, it.output
    assert mail_server.recipients == [TO]


@pytest.mark.parametrize("address", ["nobody", "a@b@example.com", "zoë@example.com"])
async def test_no_address(mailing: Settings, address: str) -> None:
    """2, before anything is checked."""
    with ReachProcess("check", "--to", address, settings=mailing) as process:
        assert await asyncio.to_thread(process.wait, 60) == 2
        assert process.output == ""
        assert "--to" in process.errors


async def test_an_address_of_the_intranet(mailing: Settings, mail_server: MailServer) -> None:
    """Who may be added may be sent to."""
    settings = mailing.model_copy(update={"allow_domains": ".internal"})
    with ReachProcess("check", "--to", "ada@corp.internal", settings=settings) as process:
        await asyncio.to_thread(process.wait, 60)
        assert "ok sent: 250" in process.output, process.errors
    assert mail_server.recipients == ["ada@corp.internal"]


async def test_without_a_mail_server(make_settings: MakeSettings) -> None:
    """The mailbox is another process's: it says what to set."""
    finding = await send_sample(make_settings(), TO)
    assert "REACH_SMTP_URL" in finding.remedy


async def test_a_broken_template_is_not_sent(mailing: Settings, mail_server: MailServer) -> None:
    """It says in which line."""
    folder = mailing.data_dir / "templates"
    folder.mkdir()
    (folder / "welcome.txt").write_text("{{ nmae }}")
    finding = await send_sample(mailing.model_copy(update={"templates_dir": folder}), TO)
    assert finding.remedy == "welcome.txt, line 1: 'nmae' is undefined"
    assert mail_server.messages == []
