"""No message leaves by a connection that is not what its URL promises."""

from pathlib import Path
from typing import Any

import pytest

from reach.messages.outcome import Sent, Unavailable
from reach.settings import BadSettings
from reach.settings.urls import SmtpUrl
from reach.smtp.sender import Sender
from tests.support.clock import eventually
from tests.support.messages import ADA, LARGE, PASSWORD, send, sender_to, settings_for
from tests.support.servers.mail import Authority, MailServer


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
async def test_encrypted_connections_are_verified_and_used(authority: Authority, tls: Any) -> None:
    """The right authority and name: the message goes out, over one connection."""
    server = MailServer(tls=tls, certificate=authority.certify())
    async with server, sender_to(server, smtp_ca_file=authority.file) as sender:
        assert [type(await send(sender, mail)) for mail in (ADA, LARGE, ADA)] == [Sent] * 3
        assert server.sessions == 1
        assert await sender.probe() is None


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("wrong", ["authority", "name", "system"])
async def test_a_certificate_that_does_not_verify_opens_the_breaker(
    authority: Authority, tmp_path: Path, tls: Any, wrong: str
) -> None:
    """Another authority, another name, or none but the system's: nothing is said in the clear."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    trusted = {"authority": Authority(elsewhere).file, "name": authority.file, "system": None}
    names = ("mail.example.org",) if wrong == "name" else ()
    server = MailServer(tls=tls, certificate=authority.certify(*names), login=("ada", PASSWORD))
    async with server, sender_to(server, smtp_ca_file=trusted[wrong]) as sender:
        for outcome in (await send(sender), await sender.probe()):
            assert type(outcome) is Unavailable
            assert "certificate" in outcome.text.lower()
        assert not {"AUTH", "MAIL"} & set(server.commands)


async def test_starttls_that_is_not_offered_opens_the_breaker() -> None:
    """There is no fall-back to the clear, for the login neither."""
    async with MailServer(login=("ada", PASSWORD)) as server:
        url = server.url.replace("smtp://", "smtp+starttls://")
        async with sender_to(url) as sender:
            outcome = await send(sender)
            assert type(outcome) is Unavailable
            assert outcome.text.startswith("STARTTLS: ")
            assert set(server.commands) == {"EHLO"}
            await eventually(lambda: server.connections == 0)


async def test_a_server_without_tls_where_it_is_due_opens_the_breaker() -> None:
    """``smtps://`` to a port that speaks plain SMTP."""
    async with MailServer() as server:
        async with sender_to(server.url.replace("smtp://", "smtps://")) as sender:
            assert type(await send(sender)) is Unavailable
        assert not {"AUTH", "MAIL"} & set(server.commands)


async def test_a_plain_url_stays_plain(authority: Authority) -> None:
    """``smtp://`` does what it says, whatever the server offers."""
    server = MailServer(tls="starttls", certificate=authority.certify())
    async with server, sender_to(f"smtp://127.0.0.1:{server.port}") as sender:
        assert type(await send(sender)) is Sent
        assert "STARTTLS" not in server.commands


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_an_authority_file_that_cannot_be_used_is_a_wrong_setting(
    tmp_path: Path, content: str | None
) -> None:
    """It is noticed when the sender is made, by the variable's name."""
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_text(content)
    url = "smtps://127.0.0.1:1"
    with pytest.raises(BadSettings, match="REACH_SMTP_CA_FILE"):
        Sender(settings_for(url, smtp_ca_file=file), SmtpUrl.parse(url))


async def test_the_login_is_used() -> None:
    """A server that takes mail only after it takes ours, once a connection."""
    server = MailServer(login=("ada@example.org", PASSWORD), requires_auth=True)
    async with server, sender_to(server) as sender:
        assert [type(await send(sender)) for _ in range(2)] == [Sent] * 2
        assert await sender.probe() is None
        assert server.commands.count("AUTH") == 2


async def test_a_wrong_login_opens_the_breaker_and_is_tried_once() -> None:
    """Neither the outcome nor its repr holds the password; one try is one at the server."""
    async with MailServer(login=("ada", PASSWORD), requires_auth=True) as server:
        url = server.url.replace("ada:", "eve:")
        async with sender_to(url) as sender:
            outcome = await send(sender)
            assert outcome == Unavailable("AUTH: 5.7.8 Wrong user or password", 535, "5.7.8")
            assert server.commands.count("AUTH") == 1
            assert await sender.probe() == outcome


async def test_a_login_that_the_server_does_not_offer_opens_the_breaker() -> None:
    """It is not quietly left out."""
    async with MailServer() as server:
        async with sender_to(f"smtp://ada:secret@127.0.0.1:{server.port}") as sender:
            outcome = await send(sender)
            assert type(outcome) is Unavailable
            assert outcome.text.startswith("AUTH: ")
        assert "MAIL" not in server.commands


async def test_a_server_that_wants_a_login_that_we_lack_opens_the_breaker() -> None:
    """530 is about us, not about the message."""
    async with MailServer(login=("ada", PASSWORD), requires_auth=True) as server:
        url = f"smtp://127.0.0.1:{server.port}"
        async with sender_to(url) as sender:
            outcome = await send(sender)
            words = "MAIL FROM: 5.7.0 Authentication required"
            assert outcome == Unavailable(words, 530, "5.7.0", was_heard=True)


async def test_the_password_is_never_kept_even_if_the_server_repeats_it() -> None:
    """Neither in clear, nor as it went over the wire."""
    async with MailServer(login=("ada", PASSWORD)) as server, sender_to(server) as sender:
        encoded: list[str] = []

        def repeat(_session: object, argument: str) -> str:
            encoded.append(argument.rsplit(maxsplit=1)[-1])
            return f"535 5.7.8 bad: {argument}" if len(encoded) == 1 else f"535 not {PASSWORD}"

        server.script["auth"] = repeat
        for _ in range(2):
            outcome = await send(sender)
            assert type(outcome) is Unavailable
            assert outcome.code == 535
            assert PASSWORD not in outcome.text
            assert encoded[0] not in outcome.text


async def test_a_probe_says_whether_we_may_send() -> None:
    """It connects, asks whether we may send, takes that back and leaves: it sends nothing."""
    async with MailServer() as server, sender_to(server) as sender:
        assert type(await send(sender)) is Sent
        assert await sender.probe() is None
        assert server.sessions == 2
        assert server.commands[-4:] == ["EHLO", "MAIL", "RSET", "QUIT"]
        assert len(server.messages) == 1
        server.script["mail"] = "550 5.7.1 Not you"
        refusal = await sender.probe()
        assert refusal == Unavailable("MAIL FROM: 5.7.1 Not you", 550, "5.7.1")
        await server.stop()
        assert type(await sender.probe()) is Unavailable


async def test_nobody_listening_opens_the_breaker() -> None:
    """An outage costs no message anything."""
    async with MailServer() as server:
        url = server.url
    for target in (url, "smtp://does-not-exist.invalid:25"):
        async with sender_to(target) as sender:
            outcome = await send(sender)
            assert type(outcome) is Unavailable
            assert outcome.text.startswith("connect: ")


async def test_our_name_is_the_senders_domain() -> None:
    """EHLO needs a name; this one costs no look-up and is the same everywhere."""
    async with MailServer() as server, sender_to(server) as sender:
        assert await sender.probe() is None
        assert server.lines[0] == "EHLO example.org"
