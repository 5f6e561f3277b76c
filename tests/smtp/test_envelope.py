"""What reaches the mail server is what was meant, or nothing."""

import pytest

from reach.mail.compose import Mail
from reach.messages.outcome import Rejected, Sent
from tests.support.messages import ADA, LARGE, send, sender_to
from tests.support.servers.mail import MailServer

pytestmark = pytest.mark.usefixtures("both_ways")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".\r\n",
        b"..\r\n",
        b".",
        b"\r\n",
        b"\r\n.\r\n",
        b"one\r\n.\r\n..\r\n...\r\n.two\r\n\r\n.\r\n",
        b".\r\n.\r\n.\r\n.",
        b"no line end",
        b"MAIL FROM:<eve@example.com>\r\nRCPT TO:<eve@example.com>\r\nDATA\r\n",
    ],
)
async def test_content_arrives_as_it_was(content: bytes) -> None:
    """Dots at the start of lines neither vanish, nor double, nor end the message."""
    async with MailServer() as server, sender_to(server) as sender:
        for _ in range(2):
            assert type(await send(sender, Mail(ADA.sender, ADA.recipient, content))) is Sent
        expected = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
        assert [message.content for message in server.messages] == [expected] * 2
        assert server.sessions == 1


async def test_large_content_arrives_as_it_was() -> None:
    """More than the buffers hold waits for the server to read."""
    async with MailServer() as server, sender_to(server) as sender:
        assert type(await send(sender, LARGE)) is Sent
        assert server.messages[0].content == LARGE.content


@pytest.mark.parametrize(
    "content", [b"\n.\r\n", b"\r.\r\n", b"a\r\r\nb\r\n", b"a\nb", b"a\r", "é\r\n".encode()]
)
async def test_content_that_servers_read_differently_is_not_sent(content: bytes) -> None:
    """A bare CR or LF lets a second message hide in the first; 8-bit bytes were not announced."""
    async with MailServer() as server, sender_to(server) as sender:
        outcome = await send(sender, Mail(ADA.sender, ADA.recipient, content))
        assert type(outcome) is Rejected
        assert outcome.code is None
        assert server.sessions == 0


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@example.com\r\nRCPT TO:<eve@example.com>",
        "ada@example.com\n",
        "ada\x00@example.com",
        "ada@example.com> SIZE=1",
        "<ada@example.com>",
        "ada lovelace@example.com",
        "ada@exam ple.com",
        "ada\u2028@example.com",
        "ada\x85@example.com",
        "ada\udc80@example.com",
        "ada@éxample.com",
        "ada@eve@example.com",
        '"ada@example.com',
        '"ada\\"@example.com',
        '"ada\r\n"@example.com',
        '"a>b"@example.com',
    ],
)
async def test_an_address_that_could_break_out_is_not_sent(address: str) -> None:
    """Not a byte of it reaches the server, as sender or as recipient."""
    async with MailServer() as server, sender_to(server) as sender:
        for mail in (
            Mail(ADA.sender, address, ADA.content),
            Mail(address, ADA.recipient, ADA.content),
        ):
            outcome = await send(sender, mail)
            assert type(outcome) is Rejected
            assert (outcome.code, outcome.enhanced) == (None, None)
        assert server.sessions == 0


@pytest.mark.parametrize(
    "address",
    [
        "ada+news@example.com",
        "o'hara@example.com",
        '"ada lovelace"@example.com',
        '"ada\\"@\\\\"@example.com',
        "ada@[192.0.2.1]",
        "ada@[IPv6:2001:db8::1]",
        "ada@xn--xample-9ua.com",
    ],
)
async def test_an_unusual_address_is_sent_as_it_is(address: str) -> None:
    """What RFC 5321 allows is not ours to refuse."""
    async with MailServer() as server, sender_to(server) as sender:
        assert type(await send(sender, Mail(ADA.sender, address, ADA.content))) is Sent
        assert f"RCPT TO:<{address}>" in server.lines


async def test_what_comes_back_is_to_name_the_message_and_not_to_hold_it() -> None:
    """Where the server takes such words (RFC 3461), and the message has a name for it."""
    named = Mail(ADA.sender, ADA.recipient, ADA.content, "a-name")
    async with MailServer() as server, sender_to(server) as sender:
        assert type(await send(sender, named)) is Sent
    async with MailServer() as server, sender_to(server) as sender:
        server.script["ehlo"] = lambda *_: "250-127.0.0.1\r\n250 DSN"
        assert type(await send(sender, named)) is Sent
        assert type(await send(sender)) is Sent
        assert [m.parameters for m in server.messages] == ["RET=HDRS ENVID=a-name", ""]


async def test_an_address_that_is_not_ascii_announces_it() -> None:
    """SMTPUTF8 goes with MAIL FROM for such a recipient, and for no other."""
    grete = Mail(ADA.sender, "grété@example.com", ADA.content)
    async with MailServer() as server, sender_to(server) as sender:
        assert type(await send(sender, grete)) is Sent
        assert type(await send(sender)) is Sent
        assert server.recipients == ["grété@example.com", "ada@example.com"]
        assert [message.parameters for message in server.messages] == ["SMTPUTF8", ""]


async def test_an_address_that_is_not_ascii_needs_the_servers_consent() -> None:
    """Without SMTPUTF8 the message is refused here, and the next one is not disturbed."""
    grete = Mail(ADA.sender, "grété@example.com", ADA.content)
    async with MailServer(smtputf8=False) as server, sender_to(server) as sender:
        for _ in range(2):
            refused = Rejected("the mail server does not take SMTPUTF8")
            assert await send(sender, grete) == refused
        assert "MAIL" not in server.commands
        assert type(await send(sender)) is Sent
        assert server.sessions == 3


async def test_a_sender_that_is_not_ascii_is_refused() -> None:
    """The sender is ours to choose: ASCII."""
    async with MailServer() as server, sender_to(server) as sender:
        outcome = await send(sender, Mail("grété@example.org", ADA.recipient, ADA.content))
        assert outcome == Rejected("the sender's address is not ASCII")
        assert server.sessions == 0
