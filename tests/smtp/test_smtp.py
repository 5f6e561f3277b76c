"""Connections to the mail server are shared, aged, checked and replaced."""

import asyncio
import time

import pytest

from reach.messages.outcome import Deferred, Outcome, Rejected, Sent, Unavailable, Unknown
from reach.smtp import sender as smtp
from tests.support.clock import eventually
from tests.support.messages import LONG_SECONDS, SHORT_SECONDS, send, sender_to
from tests.support.servers.mail import DROP, GARBAGE, SILENCE, MailServer, Reply, once
from tests.support.servers.mail_session import Session

pytestmark = pytest.mark.usefixtures("both_ways")


async def test_a_connection_serves_many_messages() -> None:
    """One connection, one EHLO, and nothing but the messages themselves."""
    async with MailServer() as server:
        async with sender_to(server, smtp_messages_per_connection=20) as sender:
            for _ in range(20):
                assert type(await send(sender)) is Sent
        assert server.commands == ["EHLO", *(["MAIL", "RCPT", "DATA"] * 20), "QUIT"]
        assert server.sessions == 1


async def test_a_connection_may_carry_as_many_as_the_server_takes() -> None:
    """With 0 it is left when that says so, or at its age."""
    async with MailServer() as server:
        async with sender_to(server, smtp_messages_per_connection=0) as sender:
            for _ in range(30):
                assert type(await send(sender)) is Sent
        assert (server.sessions, len(server.messages)) == (1, 30)


@pytest.mark.parametrize("most", [1, 3])
async def test_a_connection_is_left_after_so_many_messages(most: int) -> None:
    """The next message goes on another, before the server has reason to say no or to queue it."""
    async with MailServer() as server:
        async with sender_to(server, smtp_messages_per_connection=most) as sender:
            for _ in range(6):
                assert type(await send(sender)) is Sent
        messages = ["MAIL", "RCPT", "DATA"] * most
        assert server.sessions == 6 // most
        assert sorted(server.commands) == sorted(["EHLO", *messages, "QUIT"] * (6 // most))


async def test_a_server_that_announces_its_limit_is_believed() -> None:
    """RFC 9422: ``LIMITS MAILMAX=2``."""
    async with MailServer() as server, sender_to(server) as sender:
        server.script["ehlo"] = ["250-127.0.0.1", "250-LIMITS RCPTMAX=100 MAILMAX=2", "250 HELP"]
        for _ in range(6):
            assert type(await send(sender)) is Sent
        assert server.sessions == 3


async def test_an_old_connection_is_left() -> None:
    """Whether it is idle when it comes of age, or has just sent something."""
    changes = {"smtp_connection_seconds": 0.2, "smtp_messages_per_connection": 10**6}
    async with MailServer() as server, sender_to(server, **changes) as sender:
        began = time.monotonic()
        assert type(await send(sender)) is Sent

        async def is_replaced() -> bool:
            assert type(await send(sender)) is Sent
            return server.sessions == 2

        await eventually(is_replaced)
        assert time.monotonic() - began >= 0.2
        assert server.commands.count("QUIT") == 1


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
async def test_a_session_that_is_full_costs_a_message_nothing(stage: str) -> None:
    """Stalwart's ``452 4.4.5`` to the eleventh: the same message, at once, on a new connection."""
    async with MailServer() as server, sender_to(server, smtp_messages_per_connection=50) as sender:

        def answer(session: Session, _: str) -> Reply:
            is_full = session.messages >= 10
            return "452 4.4.5 Maximum number of messages per session exceeded." if is_full else None

        server.script[stage] = answer
        assert [type(await send(sender)) for _ in range(35)] == [Sent] * 35
        assert server.sessions == 4
        assert len(server.messages) == 35


async def test_a_full_session_at_its_first_message_is_no_loop() -> None:
    """A server that says so of every session takes nothing now."""
    async with MailServer() as server, sender_to(server) as sender:
        server.script["mail"] = "452 4.4.5 Maximum number of messages per session exceeded."
        outcome = await send(sender)
        assert isinstance(outcome, Unavailable)
        assert outcome.is_rate
        assert server.sessions == 1


async def test_a_replaced_connection_is_not_one_too_many() -> None:
    """A server that allows one at a time, and is slow to close: the next waits for that."""
    async with MailServer() as server, sender_to(server, smtp_messages_per_connection=2) as sender:
        quit_gate = server.gate("quit")

        def greet(_: Session, __: str) -> Reply:
            return "421 4.7.0 Too many connections" if server.connections > 1 else None

        server.script["greeting"] = greet
        for _ in range(2):
            assert type(await send(sender)) is Sent
        third = asyncio.ensure_future(send(sender))
        await quit_gate.wait_reached()
        await eventually(lambda: server.sessions == 2)
        quit_gate.open()
        assert type(await third) is Sent
        assert [type(await send(sender)) for _ in range(3)] == [Sent] * 3


async def test_a_connection_was_one_too_many_that_is_closed_when_we_hear_of_it() -> None:
    """It left as the next one was greeted: that is refused, and can be made now."""
    async with MailServer() as server, sender_to(server, smtp_messages_per_connection=2) as sender:
        quit_gate = server.gate("quit")
        for _ in range(2):
            assert type(await send(sender)) is Sent
        greeting_gate = server.gate("greeting")
        third = asyncio.ensure_future(send(sender))
        await quit_gate.wait_reached()
        await greeting_gate.wait_reached()
        quit_gate.open()
        await eventually(lambda: not sender._open)
        greeting_gate.open("421 4.7.0 Too many connections")
        assert type(await third) is Sent
        assert server.sessions == 3


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
async def test_a_mended_server_is_asked_again(stage: str) -> None:
    """Some go on refusing in a session that they once refused in, whatever was mended since."""
    async with MailServer() as server, sender_to(server) as sender:
        refused: set[Session] = set()

        def answer(session: Session, _: str) -> Reply:
            if not server.messages or session in refused:
                refused.add(session)
                return "550 5.1.1 As before"
            return None

        server.script[stage] = answer
        assert type(await send(sender)) in (Rejected, Unavailable)
        server.take("", "", "", b"")  # mended
        assert type(await send(sender)) is Sent


async def test_a_connection_serves_one_message_at_a_time() -> None:
    """Concurrent messages have a connection each, which later ones share."""
    async with MailServer() as server, sender_to(server) as sender:
        gate = server.gate("rcpt")
        tasks = [asyncio.ensure_future(send(sender)) for _ in range(8)]
        await gate.wait_reached(8)
        assert server.connections == 8
        gate.open()
        assert {type(outcome) for outcome in await asyncio.gather(*tasks)} == {Sent}
        await asyncio.gather(*(send(sender) for _ in range(8)))
        assert server.sessions == 8
        assert len(server.messages) == 16


async def test_one_message_at_a_time_leaves_the_other_connections_to_age() -> None:
    """Last in, first out: those in excess are never touched, and close."""
    async with MailServer() as server, sender_to(server, smtp_idle_seconds=0.5) as sender:
        gate = server.gate("rcpt")
        tasks = [asyncio.ensure_future(send(sender)) for _ in range(3)]
        await gate.wait_reached(3)
        gate.open()
        await asyncio.gather(*tasks)

        async def only_one_is_left() -> bool:
            assert type(await send(sender)) is Sent
            return server.connections == 1

        await eventually(only_one_is_left)
        assert server.sessions == 3


async def test_an_idle_connection_is_closed_in_time() -> None:
    """With QUIT, and without a next message to notice its age."""
    async with MailServer() as server, sender_to(server, smtp_idle_seconds=0.1) as sender:
        assert type(await send(sender)) is Sent
        await eventually(lambda: server.connections == 0)
        assert server.commands[-1] == "QUIT"
        assert type(await send(sender)) is Sent
        assert server.sessions == 2


async def test_a_connection_that_the_server_closed_costs_nothing() -> None:
    """Its farewell was seen before the next message: that one starts afresh."""
    async with MailServer() as server, sender_to(server) as sender:
        assert type(await send(sender)) is Sent
        assert server.close_idle() == 1
        await eventually(lambda: server.connections == 0)
        assert type(await send(sender)) is Sent
        assert server.sessions == 2


@pytest.mark.parametrize("goodbye", [DROP, "421 4.4.2 Idle for too long"])
async def test_a_connection_closed_as_it_is_taken_costs_nothing(goodbye: Reply) -> None:
    """The server closed it while MAIL FROM was on its way: a fresh connection starts over."""
    async with MailServer() as server, sender_to(server) as sender:
        assert type(await send(sender)) is Sent
        server.script["mail"] = once(goodbye)
        assert type(await send(sender)) is Sent
        assert server.sessions == 2
        assert len(server.messages) == 2


async def test_a_server_that_limits_messages_per_connection_costs_nothing() -> None:
    """421 to the next MAIL FROM is how it says so."""
    server = MailServer(max_messages_per_connection=3)
    async with server, sender_to(server) as sender:
        assert [type(await send(sender)) for _ in range(10)] == [Sent] * 10
        assert server.sessions == 4


@pytest.mark.parametrize(
    ("reply", "kind"), [("421 4.3.2 going down", Unavailable), (DROP, Deferred)]
)
async def test_a_fresh_connection_is_tried_once_only(reply: Reply, kind: type[Outcome]) -> None:
    """If that one is refused or lost as well, it was not idleness."""
    async with MailServer() as server, sender_to(server) as sender:
        assert type(await send(sender)) is Sent
        server.script["mail"] = reply
        assert type(await send(sender)) is kind
        assert server.sessions == 2


@pytest.mark.parametrize("stage", ["rcpt", "data", "dot"])
async def test_a_reused_connection_lost_later_counts(stage: str) -> None:
    """Once MAIL FROM was answered an attempt is under way; it is not made twice."""
    async with MailServer() as server, sender_to(server) as sender:
        assert type(await send(sender)) is Sent
        server.script[stage] = once(DROP)
        assert type(await send(sender)) is (Unknown if stage == "dot" else Deferred)
        assert server.sessions == 1


async def test_a_reused_connection_that_falls_silent_counts() -> None:
    """Silence is no goodbye: the server may be slow, and is not asked twice."""
    async with MailServer() as server, sender_to(server, smtp_mail_seconds=1.0) as sender:
        assert type(await send(sender)) is Sent
        server.script["mail"] = SILENCE
        assert type(await send(sender)) is Deferred
        assert server.sessions == 1


@pytest.mark.parametrize("stage", ["rcpt", "data", "dot"])
@pytest.mark.parametrize("reply", ["450 4.2.1 busy", "550 5.1.1 no such user"])
async def test_a_refused_message_does_not_disturb_the_next(stage: str, reply: str) -> None:
    """It goes on another connection: a session may go on refusing when its server was mended."""
    async with MailServer() as server, sender_to(server) as sender:
        server.script[stage] = once(reply)
        assert type(await send(sender)) in (Deferred, Rejected)
        assert type(await send(sender)) is Sent
        assert server.sessions == 2
        await eventually(lambda: server.connections == 1)
        assert "QUIT" in server.commands


@pytest.mark.parametrize("answer", ["502 5.5.1 what?", "421 4.4.2 bye", DROP, GARBAGE, SILENCE])
async def test_a_connection_that_fails_its_check_is_replaced(
    answer: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NOOP that goes wrong costs the message nothing, and closes that connection."""
    monkeypatch.setattr(smtp, "TRUSTED_SECONDS", -1)
    monkeypatch.setattr(smtp, "CHECK_SECONDS", SHORT_SECONDS)
    async with MailServer() as server, sender_to(server) as sender:
        server.script["noop"] = once(answer)
        assert type(await send(sender)) is Sent
        assert type(await send(sender)) is Sent
        assert "NOOP" in server.commands
        assert server.sessions == 2
        await eventually(lambda: server.connections == 1)


async def test_a_connection_idle_for_a_while_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """NOOP is answered, so the connection is used."""
    monkeypatch.setattr(smtp, "TRUSTED_SECONDS", -1)
    async with MailServer() as server, sender_to(server) as sender:
        assert type(await send(sender)) is Sent
        assert type(await send(sender)) is Sent
        assert server.commands[-4:] == ["NOOP", "MAIL", "RCPT", "DATA"]
        assert server.sessions == 1


async def test_a_server_that_speaks_out_of_turn_is_left() -> None:
    """Its next reply might be to something else. What was answered stays answered."""
    async with MailServer() as server, sender_to(server) as sender:
        server.script["dot"] = once("250 2.0.0 Ok\r\n250 2.0.0 Ok")
        assert type(await send(sender)) is Sent
        server.script["rcpt"] = once("250 2.1.5 Ok\r\n250 2.1.5 Ok")
        assert type(await send(sender)) is Deferred
        assert type(await send(sender)) is Sent
        assert server.sessions == 3
        assert len(server.messages) == 2


async def test_a_restarted_server_costs_nothing() -> None:
    """All its connections are gone at once: the next messages start afresh."""
    async with MailServer() as server, sender_to(server) as sender:
        gate = server.gate("rcpt")
        tasks = [asyncio.ensure_future(send(sender)) for _ in range(4)]
        await gate.wait_reached(4)
        gate.open()
        await asyncio.gather(*tasks)
        await server.stop()
        assert type(await send(sender)) is Unavailable
        await server.start()
        assert type(await send(sender)) is Sent


async def test_an_unasked_word_ends_a_connection() -> None:
    """Kept, it would be taken for the reply to the next command."""
    async with MailServer() as server, sender_to(server) as sender:
        assert type(await send(sender)) is Sent
        server.speak_to_idle("250 2.0.0 by the way")
        await eventually(lambda: server.connections == 0)
        assert type(await send(sender)) is Sent
        assert server.sessions == 2


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
async def test_a_connection_that_is_refused_itself_is_not_used_again(stage: str) -> None:
    """Its login has lapsed, say: a fresh one logs in again."""
    async with MailServer() as server, sender_to(server) as sender:
        server.script[stage] = once("530 5.7.0 Authentication required")
        assert type(await send(sender)) is Unavailable
        await eventually(lambda: server.connections == 0)
        assert server.commands[-1] == "QUIT"
        assert type(await send(sender)) is Sent
        assert server.sessions == 2


async def test_an_idle_connection_is_closed_though_quit_is_not_answered() -> None:
    """A frozen server does not keep our sockets."""
    async with MailServer() as server, sender_to(server, smtp_idle_seconds=0.1) as sender:
        server.script["quit"] = SILENCE
        assert type(await send(sender)) is Sent
        await eventually(lambda: "QUIT" in server.commands)
        await eventually(lambda: server.connections == 0)


async def test_closing_is_bounded() -> None:
    """A server that does not answer QUIT is left all the same; closing twice does no harm."""
    async with MailServer() as server, sender_to(server) as sender:
        server.script["quit"] = SILENCE
        assert type(await send(sender)) is Sent
        began = time.monotonic()
        await sender.close()
        assert time.monotonic() - began < LONG_SECONDS / 2
        await sender.close()
        await eventually(lambda: server.connections == 0)


async def test_closing_lets_a_message_under_way_finish() -> None:
    """It is answered, and its connection closed afterwards."""
    async with MailServer() as server, sender_to(server) as sender:
        gate = server.gate("dot")
        task = asyncio.ensure_future(send(sender))
        await gate.wait_reached()
        await sender.close()
        gate.open()
        assert type(await task) is Sent
        await eventually(lambda: server.connections == 0)
        assert server.commands[-1] == "QUIT"
