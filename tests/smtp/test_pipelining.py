"""Commands that are said at once (RFC 2920) mean what they mean one by one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from reach.messages.outcome import Deferred, Rejected, Sent, Unavailable
from tests.support.clock import eventually
from tests.support.messages import LONG_SECONDS, SHORT_SECONDS, send, sender_to
from tests.support.servers.mail import SILENCE, MailServer

COMMANDS = b"MAIL FROM:<reach@example.org>\r\nRCPT TO:<ada@example.com>\r\nDATA\r\n"
YES = (b"250 2.1.0 Ok\r\n", b"250 2.1.5 Ok\r\n", b"354 go ahead\r\n")
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def talking(talk: Talk, offer: bytes = b"PIPELINING") -> AsyncIterator[str]:
    """Greet, say what is offered, then ``talk``; the URL of that."""
    faults: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(LONG_SECONDS):
                writer.write(b"220 hello\r\n")
                await reader.readuntil(b"\r\n")
                writer.write(b"250-hello\r\n250 " + offer + b"\r\n")
                await talk(reader, writer)
        except BaseException as fault:
            faults.append(fault)
            raise
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    async with server:
        yield f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    assert not faults


async def take_content(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the content, and say goodbye."""
    await reader.readuntil(b"\r\n.\r\n")
    writer.write(b"250 2.0.0 taken\r\n")
    assert await reader.readuntil(b"\r\n") == b"QUIT\r\n"
    writer.write(b"221 bye\r\n")


@pytest.mark.parametrize("piece", [1, 7, 10**6])
async def test_three_commands_are_said_before_the_first_is_answered(piece: int) -> None:
    """Their replies may come in one piece or in many, and the content only after all of them."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readuntil(b"DATA\r\n") == COMMANDS
        replies = b"".join(YES)
        for start in range(0, len(replies), piece):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.001)
            writer.write(replies[start : start + piece])
            await writer.drain()
        await take_content(reader, writer)

    async with talking(talk) as url, sender_to(url) as sender:
        assert type(await send(sender)) is Sent
        await sender.close()


async def test_a_server_that_does_not_offer_it_hears_one_at_a_time() -> None:
    """Nothing comes before the reply to what came before it."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for command, reply in zip(COMMANDS.splitlines(keepends=True), YES, strict=True):
            assert await reader.read(1000) == command
            writer.write(reply)
        await take_content(reader, writer)

    async with talking(talk, b"SIZE 1000000") as url, sender_to(url) as sender:
        assert type(await send(sender)) is Sent
        await sender.close()


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    """Run a mail server that takes several commands at once."""
    async with MailServer(pipelining=True) as running:
        yield running


@pytest.mark.parametrize("stage", ["mail", "rcpt"])
async def test_the_first_reply_that_is_no_yes_decides(server: MailServer, stage: str) -> None:
    """What the server says to the commands after it follows from it."""
    later = {"mail": ("rcpt", "data"), "rcpt": ("data",)}[stage]
    async with sender_to(server) as sender:
        server.script[stage] = "552 5.2.2 full"
        server.script |= dict.fromkeys(later, "503 5.5.1 bad sequence")
        outcome = await send(sender)
        assert (outcome.code, outcome.enhanced) == (552, "5.2.2")
        assert type(outcome) is (Unavailable if stage == "mail" else Rejected)
        await eventually(lambda: server.connections == 0)
        assert server.commands == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


async def test_content_without_a_recipient_ends_with_a_dot(server: MailServer) -> None:
    """As RFC 2920 §3.1 has it: the server has taken DATA, though nobody is to get it."""
    async with sender_to(server) as sender:
        server.script["rcpt"] = "550 5.1.1 no such user"
        server.script["data"] = "354 go ahead"
        server.script["dot"] = "554 5.5.1 no valid recipients"
        assert type(await send(sender)) is Rejected
        await eventually(lambda: server.connections == 0)
        assert server.commands == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
        assert server.messages == []


async def test_who_takes_a_recipient_without_a_sender_gets_no_dot(server: MailServer) -> None:
    """It could take that for an email, and an empty one would be delivered."""
    async with sender_to(server) as sender:
        server.script["mail"] = "451 4.3.0 not now"
        server.script["rcpt"] = "250 2.1.5 Ok"
        server.script["data"] = "354 go ahead"
        server.script["dot"] = "250 2.0.0 taken"
        assert type(await send(sender)) is Unavailable
        await eventually(lambda: server.connections == 0)
        assert server.messages == []
        assert "QUIT" not in server.commands


async def test_a_refused_message_waits_for_no_other_reply(server: MailServer) -> None:
    """Its outcome is known; the connection is closed though DATA is never answered."""
    async with sender_to(server) as sender:
        server.script["rcpt"] = "550 5.1.1 no such user"
        server.script["data"] = SILENCE
        assert type(await send(sender)) is Rejected
        await eventually(lambda: server.connections == 0)


async def test_each_reply_has_its_own_time(server: MailServer) -> None:
    """A server that is slow to answer RCPT is given up then, not by DATA's time."""
    async with sender_to(server, smtp_rcpt_seconds=SHORT_SECONDS) as sender:
        server.script["rcpt"] = SILENCE
        outcome = await send(sender)
        assert outcome == Deferred(f"RCPT TO: no reply within {SHORT_SECONDS} s")


async def test_one_reply_too_many_ends_the_connection(server: MailServer) -> None:
    """The next one could be to something else; the content is not sent."""
    async with sender_to(server) as sender:
        server.script["data"] = "354 go ahead\r\n354 go ahead"
        assert type(await send(sender)) is Deferred
        assert server.messages == []
        del server.script["data"]
        assert type(await send(sender)) is Sent
        assert server.sessions == 2
