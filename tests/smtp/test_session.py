"""What becomes of a message, by what a real mail server says at each stage."""

import pytest

from reach.messages.outcome import Deferred, Outcome, Rejected, Sent, Unavailable, Unknown
from tests.support.clock import eventually
from tests.support.messages import ADA, PASSWORD, SHORT_SECONDS, send, sender_to
from tests.support.servers.mail import (
    DROP,
    GARBAGE,
    SILENCE,
    Authority,
    MailServer,
    Reply,
    Script,
    once,
)

pytestmark = pytest.mark.usefixtures("both_ways")

ENVELOPE = ("mail", "rcpt", "data")
STAGE_NAMES = {"mail": "MAIL FROM", "rcpt": "RCPT TO", "data": "DATA", "dot": "final dot"}


def rows() -> list[tuple[str, Script, type[Outcome]]]:
    """Every answer with a meaning, at every stage where a message can meet it."""
    table: list[tuple[str, Script, type[Outcome]]] = []
    for stage in (*ENVELOPE, "dot"):
        later, never = (Unavailable, Unavailable) if stage == "mail" else (Deferred, Rejected)
        table += [(stage, f"{code} 4.3.2 not now", later) for code in (450, 451, 452, 499)]
        table += [(stage, f"{code} 5.1.1 never", never) for code in (500, 550, 552, 554)]
        table += [(stage, f"{code} 5.7.0 not you", Unavailable) for code in (421, 530, 535)]
    return table


@pytest.mark.parametrize(("stage", "reply", "kind"), rows())
async def test_a_reply_means_what_its_stage_makes_of_it(
    stage: str, reply: str, kind: type[Outcome]
) -> None:
    """The stage table's rows for replies; codes, words and stage are kept."""
    async with MailServer() as server, sender_to(server) as sender:
        server.script[stage] = reply
        outcome = await send(sender)
        assert type(outcome) is kind
        code, enhanced, _ = reply.split(" ", 2)
        assert (outcome.code, outcome.enhanced) == (int(code), enhanced)
        assert outcome.text == f"{STAGE_NAMES[stage]}: {reply[4:]}"
        assert server.messages == []


@pytest.mark.parametrize("behaviour", [DROP, SILENCE, GARBAGE])
@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        ("greeting", Unavailable),
        ("ehlo", Unavailable),
        ("starttls", Unavailable),
        ("auth", Unavailable),
        ("mail", Deferred),
        ("rcpt", Deferred),
        ("data", Deferred),
        ("data-content", Unknown),
        ("dot", Unknown),
        ("accepted", Unknown),
    ],
)
async def test_no_usable_reply_means_what_its_stage_makes_of_it(
    authority: Authority, stage: str, kind: type[Outcome], behaviour: Reply
) -> None:
    """Lost, silent or garbage: unknown if the server may have the whole message, else not."""
    name = {"data-content": "dot", "accepted": "dot"}.get(stage, stage)
    step = {"mail": "mail", "rcpt": "rcpt", "data": "data", "dot": "final"}.get(name, "greeting")
    changes = {f"smtp_{step}_seconds": SHORT_SECONDS} if behaviour is SILENCE else {}
    server = MailServer(
        tls="starttls", certificate=authority.certify(), login=("ada", PASSWORD), requires_auth=True
    )
    async with server, sender_to(server, smtp_ca_file=authority.file, **changes) as sender:
        if stage != "starttls":  # its own time-out would be the handshake's too
            assert await sender.probe() is None
        server.script[stage] = behaviour
        outcome = await send(sender)
        assert type(outcome) is kind
        assert (outcome.code, outcome.enhanced) == (None, None)
        assert outcome.text.startswith(f"{STAGE_NAMES.get(name, '')}")
        # Garbage comes in the middle of the content, but the server reads on.
        is_taken = stage == "accepted" or (stage, behaviour) == ("data-content", GARBAGE)
        assert len(server.messages) == is_taken
        await eventually(lambda: server.connections == 0)


@pytest.mark.parametrize(
    ("stage", "reply", "kind"),
    [
        ("mail", "354 go ahead", Deferred),
        ("mail", "220 hello again", Deferred),
        ("rcpt", "354 go ahead", Deferred),
        ("rcpt", "199 hm", Deferred),
        ("data", "250 Ok", Deferred),
        ("data", "334 VXNlcm5hbWU6", Deferred),
        ("dot", "354 more", Unknown),
        ("dot", "600 hm", Unknown),
        ("dot", "250thanks", Unknown),
        ("dot", "25 Ok", Unknown),
        ("dot", "250-Ok\r\n550 No", Unknown),
        ("dot", "OK", Unknown),
        ("dot", " ", Unknown),
        ("dot", "250-" + "x" * 70_000, Unknown),
    ],
)
async def test_a_reply_that_makes_no_sense_is_garbage(
    stage: str, reply: str, kind: type[Outcome]
) -> None:
    """It says nothing about the message, and its connection is not used again."""
    async with MailServer() as server, sender_to(server) as sender:
        server.script[stage] = once(reply)
        outcome = await send(sender)
        assert type(outcome) is kind
        assert "no reply" not in outcome.text
        assert (outcome.code, outcome.enhanced) == (None, None)
        assert type(await send(sender)) is Sent
        assert server.sessions == 2


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "starttls", "auth"])
@pytest.mark.parametrize("code", [421, 450, 454, 502, 530, 535, 554])
async def test_a_server_that_does_not_let_us_in_opens_the_breaker(
    authority: Authority, stage: str, code: int
) -> None:
    """Before MAIL FROM no answer is about the message; both ``send`` and ``probe`` say so."""
    server = MailServer(
        tls="starttls", certificate=authority.certify(), login=("ada", PASSWORD), requires_auth=True
    )
    async with server, sender_to(server, smtp_ca_file=authority.file) as sender:
        server.script[stage] = [f"{code}-4.7.0 not", f"{code} now"]
        for outcome in (await send(sender), await sender.probe()):
            assert type(outcome) is Unavailable
            assert outcome.code == code
            assert "4.7.0" in outcome.text
        assert "MAIL" not in server.commands
        await eventually(lambda: server.connections == 0)


@pytest.mark.parametrize(
    ("stage", "reply"),
    [
        ("rcpt", "251 will forward"),
        ("rcpt", "252 cannot verify"),
        ("dot", "200 Ok"),
        ("dot", "251 Ok"),
        ("dot", "250"),
        ("mail", ["250-2.1.0 Ok", "250 and more"]),
        ("rcpt", ["250-2.1.5 Ok", "250 and more"]),
        ("data", ["354-go", "354 ahead"]),
        ("dot", ["250-2.0.0 Ok", "250 queued as 7"]),
    ],
)
async def test_every_way_of_saying_yes_is_understood(stage: str, reply: Reply) -> None:
    """Other 2yz codes and replies of several lines go on to Sent."""
    async with MailServer() as server, sender_to(server) as sender:
        server.script[stage] = reply
        assert type(await send(sender)) is Sent
        assert [message.content for message in server.messages] == [ADA.content]


async def test_what_the_server_said_of_a_sent_message_is_kept() -> None:
    """The reply to the final dot often holds the id to ask the server's operator about."""
    async with MailServer() as server, sender_to(server) as sender:
        server.script["dot"] = ["250-2.0.0 Ok", "250 queued as 4F1C"]
        outcome = await send(sender)
        assert outcome == Sent("final dot: 2.0.0 Ok queued as 4F1C", 250, "2.0.0")


@pytest.mark.parametrize(
    ("words", "enhanced"),
    [
        ("5.1.1 no such user", "5.1.1"),
        ("4.7.650 from another class", "4.7.650"),
        ("5.7.1", "5.7.1"),
        ("no such user 5.1.1", None),
        ("5.1.1.1 is a version", None),
        ("5.1 is a number", None),
        ("3.1.1 is no class", None),
        ("", None),
    ],
)
async def test_the_enhanced_code_is_kept(words: str, enhanced: str | None) -> None:
    """RFC 3463's code, where the server begins with one."""
    async with MailServer() as server, sender_to(server) as sender:
        server.script["rcpt"] = f"550 {words}"
        outcome = await send(sender)
        assert (outcome.text, outcome.code) == (f"RCPT TO: {words}", 550)
        assert outcome.enhanced == enhanced


async def test_the_text_can_be_stored_whatever_the_server_says() -> None:
    """No NUL, control character or broken UTF-8 is left of it; at most 500 characters are."""
    async with MailServer() as server, sender_to(server) as sender:
        server.script["rcpt"] = "550 5.1.1 \udcff\x00\x1b[31m\x85é\r\n"
        text = (await send(sender)).text
        assert text == "RCPT TO: 5.1.1 \ufffd\ufffd[31m\ufffdé"
        server.script["rcpt"] = "550 " + "é" * 2000
        text = (await send(sender)).text
        assert text == "RCPT TO: " + "é" * (500 - len("RCPT TO: "))
        server.script["rcpt"] = "\x00" * 2000
        text = (await send(sender)).text
        assert len(text) <= 500
        assert text.isprintable()
