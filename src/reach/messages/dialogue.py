"""What is said to the mail server for one message, and what each reply means.

The line that matters: before the final dot the server cannot have the message; after it, only
its reply can tell.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from opentelemetry.trace import SpanKind

from reach.messages.compose import Mail
from reach.messages.connection import Connection
from reach.messages.outcome import Later, Outcome, Paused, Refused, Sent, Unsure
from reach.messages.reply import Garbage, Lost, NoReply, Reply, outcome
from reach.settings import Settings
from reach.telemetry import traces

#: "Closing this connection": on one that lay idle, it says nothing about a message.
SERVICE_CLOSING = 421
#: What a server says when nobody may send, whatever the stage (RFC 5321, RFC 4954).
LANE_CLOSED = frozenset({SERVICE_CLOSING, 530, 535})

#: An address that can stand between < and > and end neither them nor the command.
SENDABLE = re.compile(r"""(?:[^\s"<>@]+|"(?:[^"\\<>]|\\[^<>])+")@[!-;=?A-~]+""")


class Gone(Exception):  # noqa: N818 - an expected end
    """The server had left this reused connection before it heard of the message."""


class Ended(Exception):  # noqa: N818 - an expected end
    """The dialogue ends here, with ``outcome``."""

    def __init__(self, outcome: Outcome) -> None:
        """Carry it."""
        super().__init__(outcome.name)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of the dialogue: which replies let it go on, and what any other one means."""

    name: str
    welcome: frozenset[int]
    never: type[Outcome]
    unanswered: type[Outcome]

    def judge(self, reply: Reply) -> Outcome | None:
        """Say what ``reply`` means; None: go on. Raises Garbage if it means nothing here."""
        if reply.code in self.welcome:
            return None
        if reply.code in LANE_CLOSED:
            return self._paused(reply)
        match reply.code // 100:
            case 4:
                return outcome(Later, self.name, reply)
            case 5 if self.never is Paused:
                return self._paused(reply)
            case 5:
                return outcome(self.never, self.name, reply)
            case _:
                raise Garbage(f"a reply that makes no sense here: {reply.code} {reply.text}")

    def _paused(self, reply: Reply) -> Paused:
        return replace(outcome(Paused, self.name, reply), was_heard=True)


MAIL = Stage("MAIL FROM", frozenset({250}), never=Paused, unanswered=Later)
RCPT = Stage("RCPT TO", frozenset({250, 251, 252}), never=Refused, unanswered=Later)
DATA = Stage("DATA", frozenset({354}), never=Refused, unanswered=Later)
DOT = Stage("final dot", frozenset(range(200, 300)), never=Refused, unanswered=Unsure)


async def converse(
    connection: Connection,
    mail: Mail,
    settings: Settings,
    still_held: Callable[[], bool],
    *,
    is_fresh: bool,
) -> Outcome:
    """Hand ``mail`` (see ``unsendable``) over on this connection, and say what became of it.

    Raises Gone, on a connection that is not fresh. The connection is fit for another message if
    it is still open and the outcome is not Paused; after anything but Sent it needs RSET first.
    """
    parameters = "" if mail.recipient.isascii() else " SMTPUTF8"
    if parameters and not connection.smtputf8:
        return Refused("the mail server does not take SMTPUTF8")
    mail_from = f"MAIL FROM:<{mail.sender}>{parameters}\r\n".encode()
    rcpt_to = f"RCPT TO:<{mail.recipient}>\r\n".encode()
    try:
        await _step(connection, MAIL, mail_from, settings.smtp_mail_seconds, is_fresh=is_fresh)
        await _step(connection, RCPT, rcpt_to, settings.smtp_rcpt_seconds)
        await _step(connection, DATA, b"DATA\r\n", settings.smtp_data_seconds)
        if not still_held():
            connection.abort()
            return Later("the lease was lost")
        if not connection.is_open:
            return outcome(Later, DATA.name, "the connection was lost")
        content = stuffed(mail.content)
        reply = await _step(connection, DOT, content, settings.smtp_final_seconds)
    except Ended as ended:
        return ended.outcome
    return outcome(Sent, DOT.name, reply)


async def _step(
    connection: Connection, stage: Stage, words: bytes, seconds: float, *, is_fresh: bool = True
) -> Reply:
    """Say ``words`` and return the reply that lets us go on. Raises Ended, Gone."""
    with traces.child(stage.name, SpanKind.CLIENT) as span:
        try:
            reply = await connection.ask(words, seconds)
            span.set_attribute("reach.smtp.code", reply.code)
            if reply.code == SERVICE_CLOSING and not is_fresh:
                raise Gone
            if (result := stage.judge(reply)) is None:
                return reply
        except NoReply as why:
            connection.abort()  # open still, if its reply only made no sense
            if isinstance(why, Lost) and not is_fresh:
                raise Gone from why
            result = outcome(stage.unanswered, stage.name, str(why))
        traces.fail(span, result.name)
    raise Ended(result)


def unsendable(mail: Mail) -> str | None:
    """Why no server may be given this message: it would break out of a command, or of DATA."""
    for side, address in (("sender", mail.sender), ("recipient", mail.recipient)):
        if not (address.isprintable() and SENDABLE.fullmatch(address)):
            return f"the {side}'s address cannot be written in a command"
    if not mail.sender.isascii():
        return "the sender's address is not ASCII"
    lines = mail.content.count(b"\r\n")
    if not (mail.content.count(b"\n") == lines == mail.content.count(b"\r")):
        return "the content has a line that does not end in CRLF"
    if not mail.content.isascii() and mail.recipient.isascii():
        return "the content is not ASCII"  # with SMTPUTF8, its To is not (RFC 6532)
    return None


def stuffed(content: bytes) -> bytes:
    """Make of content what goes over the wire: dots doubled (RFC 5321 §4.5.2), the final one."""
    if content.startswith(b"."):
        content = b"." + content
    end = b".\r\n" if content.endswith(b"\r\n") or not content else b"\r\n.\r\n"
    return content.replace(b"\r\n.", b"\r\n..") + end
