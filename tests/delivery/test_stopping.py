"""A message that is stopped half-way: what the mail server has of it then."""

import asyncio
import time

import pytest

from reach.messages.outcome import Deferred, Sent, Unavailable, Unknown
from reach.smtp import sender as smtp
from tests.support.clock import eventually
from tests.support.messages import ADA, LARGE, LONG_SECONDS, send, sender_to
from tests.support.servers.mail import SILENCE, MailServer, once


async def test_a_lost_lease_sends_no_dot() -> None:
    """It is asked after the server's 354 and before any content; a no drops the connection."""
    async with MailServer() as server, sender_to(server) as sender:
        commands_when_asked: list[str] = []

        def lost() -> bool:
            commands_when_asked.extend(server.commands)
            return False

        outcome = await sender.send(ADA, still_held=lost)
        assert outcome == Deferred("the lease was lost")
        assert commands_when_asked == ["EHLO", "MAIL", "RCPT", "DATA"]
        await eventually(lambda: server.connections == 0)
        assert server.messages == []
        assert type(await send(sender)) is Sent


@pytest.mark.parametrize("refused_at", ["mail", "rcpt", "data"])
async def test_the_lease_is_asked_for_once_and_late(refused_at: str) -> None:
    """A message that does not get as far as its content never asks."""
    asked: list[str] = []

    def held() -> bool:
        asked.append(refused_at)
        return True

    async with MailServer() as server, sender_to(server) as sender:
        server.script[refused_at] = once("450 busy")
        assert type(await sender.send(ADA, still_held=held)) in (Deferred, Unavailable)
        assert asked == []
        assert type(await sender.send(ADA, still_held=held)) is Sent
        assert asked == [refused_at]


async def test_a_connection_lost_while_the_lease_is_asked_for_is_not_unknown() -> None:
    """Nothing of the content was handed over: the server cannot have it."""
    async with MailServer() as server, sender_to(server) as sender:
        server.script["data"] = "354 go\r\n421 4.3.0 no, going"
        outcome = await send(sender)
        assert type(outcome) is Deferred
        assert server.messages == []


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "mail", "rcpt", "data"])
async def test_a_cancelled_send_is_over_at_once(stage: str) -> None:
    """It leaves no connection behind, and the server without the message."""
    async with MailServer() as server, sender_to(server) as sender:
        gate = server.gate(stage)
        task = asyncio.ensure_future(send(sender))
        await gate.wait_reached()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open()
        await eventually(lambda: server.connections == 0)
        assert server.messages == []
        assert type(await send(sender)) is Sent


async def test_a_send_cancelled_within_its_content_never_ends_it() -> None:
    """What was not sent yet is thrown away, the dot with it; closing must not flush it."""
    async with MailServer() as server, sender_to(server) as sender:
        gate = server.gate("data-content")
        task = asyncio.ensure_future(send(sender, LARGE))
        await gate.wait_reached()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open()
        await eventually(lambda: server.connections == 0)
        assert server.messages == []


async def test_a_server_that_stops_reading_is_given_up() -> None:
    """The final time-out bounds the writing too; and what was not sent by then never is."""
    async with MailServer() as server, sender_to(server, smtp_final_seconds=0.3) as sender:
        gate = server.gate("data-content")
        outcome = await send(sender, LARGE)
        assert outcome == Unknown("final dot: no reply within 0.3 s")
        gate.open()
        await eventually(lambda: server.connections == 0)
        assert server.messages == []


@pytest.mark.parametrize("stage", ["greeting", "mail", "rcpt", "data", "final"])
async def test_each_stage_has_a_time_out_of_its_own(stage: str) -> None:
    """Short for one stage is not short for the others, however slowly all of them answer."""
    async with MailServer() as server:
        async with sender_to(server, **{f"smtp_{stage}_seconds": 0.05}) as sender:
            server.script["dot" if stage == "final" else stage] = SILENCE
            began = time.monotonic()
            outcome = await send(sender)
            assert time.monotonic() - began < LONG_SECONDS / 2
            assert type(outcome) is {"greeting": Unavailable, "final": Unknown}.get(stage, Deferred)
        others = {
            f"smtp_{other}_seconds": 0.5
            for other in ("mail", "rcpt", "data", "final")
            if other != stage
        }
        async with sender_to(server, **others) as sender:
            slow = server.gate(next(iter(server.script)))
            server.script.clear()
            task = asyncio.ensure_future(send(sender))
            await slow.wait_reached()
            done, _ = await asyncio.wait([task], timeout=0.8)
            assert not done
            slow.open()
            assert type(await task) is Sent


async def test_a_send_cancelled_while_its_connection_is_checked_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection whose NOOP was not answered is closed, not lost."""
    monkeypatch.setattr(smtp, "TRUSTED_SECONDS", -1)
    async with MailServer() as server, sender_to(server) as sender:
        assert type(await send(sender)) is Sent
        server.script["noop"] = SILENCE
        task = asyncio.ensure_future(send(sender))
        await eventually(lambda: "NOOP" in server.commands)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: server.connections == 0)


async def test_a_lease_that_cannot_be_asked_for_sends_nothing() -> None:
    """The caller's own fault is the caller's to see; the connection does not outlive it."""

    def broken() -> bool:
        raise LookupError("no such lease")

    async with MailServer() as server, sender_to(server) as sender:
        with pytest.raises(LookupError):
            await sender.send(ADA, still_held=broken)
        await eventually(lambda: server.connections == 0)
        assert server.messages == []
