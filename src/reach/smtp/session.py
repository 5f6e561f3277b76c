"""What is said to the mail server for one message, and what each reply means.

The line that matters: before the final dot the server cannot have the message; after it, only
its reply can tell.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from opentelemetry.trace import SpanKind

from reach.mail.compose import Mail
from reach.messages.outcome import Deferred, Outcome, Rejected, Sent, Unavailable, Unknown
from reach.settings import Settings
from reach.smtp import replies
from reach.smtp.connection import Connection, Garbage, Lost, NoReply, Reply, outcome
from reach.smtp.replies import Meaning, meaning_of
from reach.telemetry import traces

#: "Closing this connection": on one that lay idle, it says nothing about a message.
SERVICE_CLOSING = 421

#: An address that can stand between < and > and end neither them nor the command.
SENDABLE = re.compile(r"""(?:[^\s"<>@]+|"(?:[^"\\<>]|\\[^<>])+")@[!-;=?A-~]+""")


class Gone(Exception):
    """The server had left this reused connection before it heard of the message."""


class Ended(Exception):
    """The dialogue ends here, with ``outcome``."""

    def __init__(self, outcome: Outcome) -> None:
        """Carry it."""
        super().__init__(outcome.name)
        self.outcome = outcome


class SessionOver(Exception):
    """The server takes no more on this connection, and has not taken the message."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of the dialogue: which replies let it go on, and what it means that none comes."""

    name: str
    welcome: frozenset[int]
    unanswered: type[Outcome]

    def judge(self, reply: Reply, *, is_first: bool = True) -> Outcome:
        """Say what a ``reply`` means that is not welcome (see ``replies``).

        ``is_first``: the session has had no message before. Raises SessionOver; Garbage if it
        means nothing here.
        """
        match meaning_of(self.name, reply):
            case Meaning.SESSION_OVER if not is_first:
                raise SessionOver
            case Meaning.SESSION_OVER | Meaning.TOO_MUCH:
                unavailable = outcome(Unavailable, self.name, reply)
                return replace(unavailable, was_heard=True, is_rate=True)
            case Meaning.UNAVAILABLE:
                return replace(outcome(Unavailable, self.name, reply), was_heard=True)
            case Meaning.DEFERRED:
                return outcome(Deferred, self.name, reply)
            case Meaning.SUSPECT:
                return replace(outcome(Deferred, self.name, reply), is_suspect=True)
            case Meaning.REJECTED:
                return outcome(Rejected, self.name, reply)
            case None:
                raise Garbage(f"a reply that makes no sense here: {reply.code} {reply.text}")


MAIL = Stage(replies.MAIL, frozenset({250}), unanswered=Deferred)
RCPT = Stage(replies.RCPT, frozenset({250, 251, 252}), unanswered=Deferred)
DATA = Stage(replies.DATA, frozenset({354}), unanswered=Deferred)
DOT = Stage(replies.DOT, frozenset(range(200, 300)), unanswered=Unknown)


async def may_send(connection: Connection, sender: str, settings: Settings) -> Unavailable | None:
    """Ask whether ``sender`` may send, and take it back (RSET); None means yes."""
    try:
        words = f"MAIL FROM:<{sender}>\r\n".encode()
        await _step(connection, MAIL, words, settings.smtp_mail_seconds)
        await connection.ask(b"RSET\r\n", settings.smtp_mail_seconds)
    except Ended as ended:
        result = ended.outcome
        return Unavailable(result.text, result.code, result.enhanced)
    except NoReply as why:
        return outcome(Unavailable, "RSET", str(why))
    return None


async def converse(
    connection: Connection,
    mail: Mail,
    settings: Settings,
    still_held: Callable[[], bool],
    *,
    is_fresh: bool,
) -> Outcome:
    """Hand ``mail`` (see ``unsendable``) over on this connection, and say what became of it.

    Raises Gone and SessionOver, on a connection that is not fresh: the message goes on another.
    The connection is fit for one more only if the outcome is Sent: a relay that has been mended
    may go on refusing in the sessions that it knows.
    """
    if not (connection.smtputf8 or mail.recipient.isascii()):
        return Rejected("the mail server does not take SMTPUTF8")
    mail_from = _mail_from(connection, mail)
    rcpt_to, data, replies = f"RCPT TO:<{mail.recipient}>\r\n".encode(), b"DATA\r\n", 1
    if connection.pipelines:
        mail_from, rcpt_to, data, replies = mail_from + rcpt_to + data, b"", b"", 3
    try:
        step = partial(_step, connection, is_first=is_fresh)
        await step(
            MAIL, mail_from, settings.smtp_mail_seconds, replies=replies, was_idle=not is_fresh
        )
        await step(RCPT, rcpt_to, settings.smtp_rcpt_seconds)
        await step(DATA, data, settings.smtp_data_seconds)
        if not still_held():
            connection.abort()
            return Deferred("the lease was lost")
        if not connection.is_open:
            return outcome(Deferred, DATA.name, "the connection was lost")
        content = stuffed(mail.content)
        reply = await step(DOT, content, settings.smtp_final_seconds)
    except Ended as ended:
        return ended.outcome
    return outcome(Sent, DOT.name, reply)


def _mail_from(connection: Connection, mail: Mail) -> bytes:
    """Write the command that begins a message, with what the server has to know of it."""
    parameters = "" if mail.recipient.isascii() else " SMTPUTF8"
    if mail.envelope_id and connection.reports:
        # Its links are nobody's but the recipient's: they need not come back.
        parameters += f" RET=HDRS ENVID={mail.envelope_id}"
    return f"MAIL FROM:<{mail.sender}>{parameters}\r\n".encode()


async def _step(  # noqa: PLR0913 - what is said, how long it may take, and after what
    connection: Connection,
    stage: Stage,
    words: bytes,
    seconds: float,
    *,
    replies: int = 1,
    is_first: bool = True,
    was_idle: bool = False,
) -> Reply:
    """Say ``words``, if any, and return the reply that lets us go on.

    Raises Ended, Gone, SessionOver.
    """
    span_of = traces.child(stage.name, SpanKind.CLIENT) if traces.process.tracer else traces.OFF
    with span_of as span:
        try:
            if words:
                connection.say(words, replies)
            reply = await connection.hear(seconds)
            span.set_attribute("reach.smtp.code", reply.code)
            if reply.code == SERVICE_CLOSING and was_idle:
                raise Gone
            if reply.code in stage.welcome:
                return reply
            result = stage.judge(reply, is_first=is_first)
        except NoReply as why:
            connection.abort()  # open still, if its reply only made no sense
            if isinstance(why, Lost) and was_idle:
                raise Gone from why
            result = outcome(stage.unanswered, stage.name, str(why))
        traces.fail(span, result.name)
    raise Ended(result)


def unsendable(mail: Mail) -> str | None:
    """Why no server may be given this message: it would break out of a command, or of DATA."""
    for side, address in (("sender", mail.sender), ("recipient", mail.recipient)):
        if not _is_sendable(address):
            return f"the {side}'s address cannot be written in a command"
    if not mail.sender.isascii():
        return "the sender's address is not ASCII"
    lines = mail.content.count(b"\r\n")
    if not (mail.content.count(b"\n") == lines == mail.content.count(b"\r")):
        return "the content has a line that does not end in CRLF"
    if not mail.content.isascii() and mail.recipient.isascii():
        return "the content is not ASCII"  # with SMTPUTF8, its To is not (RFC 6532)
    return None


@lru_cache(maxsize=64)
def _is_sendable(address: str) -> bool:
    """Whether an address can stand in a command; the sender's is asked about time and again."""
    return address.isprintable() and SENDABLE.fullmatch(address) is not None


def stuffed(content: bytes) -> bytes:
    """Make of content what goes over the wire: dots doubled (RFC 5321 §4.5.2), the final one."""
    if content.startswith(b"."):
        content = b"." + content
    end = b".\r\n" if content.endswith(b"\r\n") or not content else b"\r\n.\r\n"
    return content.replace(b"\r\n.", b"\r\n..") + end
