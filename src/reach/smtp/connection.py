"""An open connection to the mail server: ask, and be answered.

aiosmtplib opens it (see ``opening.Opener``). From there on the dialogue is ours, because what a
failure means depends on exactly what was sent before it: so are its time-outs, its parsing, and
what becomes of bytes not sent yet (they are thrown away with the connection, never flushed).
"""

import asyncio
import math
import re
from typing import NamedTuple, TypeVar, cast

import aiosmtplib

from reach.messages.outcome import Outcome
from reach.settings import Settings

T = TypeVar("T", bound=Outcome)

#: How long a server may take to answer QUIT.
QUIT_SECONDS = 1.0
#: The server's yes to DATA.
CONTENT_WELCOME = 354
#: Longest text kept of what a server said.
TEXT_CHARACTERS = 500
#: Longest reply read: a real EHLO is a few hundred bytes.
REPLY_BYTES = 1 << 16

REPLY_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?\r?\n", re.DOTALL)
ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9.])")
#: What a text column cannot hold, or a page should not: controls and lone surrogates.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


class NoReply(Exception):
    """The server gave no usable reply. The connection is closed already."""


class Lost(NoReply):
    """The connection ended."""


class Silent(NoReply):
    """No reply in time."""


class Garbage(NoReply):
    """The reply is not SMTP, or makes no sense at this stage."""


class Reply(NamedTuple):
    """A reply's code, and its lines' texts joined by spaces."""

    code: int
    text: str


def parse(buffer: bytes | bytearray) -> tuple[Reply | None, int]:
    """Read a whole reply from the start of ``buffer``: it, and how many bytes it took.

    None if more is to come. Raises Garbage.
    """
    start, code, texts = 0, b"", []
    while end := buffer.find(b"\n", start) + 1:
        line = REPLY_LINE.fullmatch(buffer, start, end)
        if line is None or code not in (b"", line[1]):
            raise Garbage(f"not an SMTP reply: {bytes(buffer[start:end])!r}")
        code, more, text = line.groups(b"")
        texts.append(text.decode("utf-8", "replace").strip())
        if more != b"-":
            return Reply(int(code), " ".join(texts)), end
        start = end
    if len(buffer) > REPLY_BYTES:
        raise Garbage("a reply without end")
    return None, 0


def outcome(kind: type[T], stage: str, said: Reply | str) -> T:
    """Make an outcome of what the server said (or did) at ``stage``, fit to be stored."""
    code, text = (None, said) if isinstance(said, str) else said
    enhanced = None if code is None else ENHANCED.match(text)
    words = UNPRINTABLE.sub("\ufffd", f"{stage}: {text}")[:TEXT_CHARACTERS]
    return kind(words, code, enhanced.group() if enhanced else None)


class Connection(asyncio.Protocol):
    """An open connection, on which one caller at a time may ``ask``.

    Where the server takes it (``pipelines``, RFC 2920), several commands can be said at once; then
    each reply is heard, in order.

    It takes over the transport from the client that opened it. A server that speaks unasked
    is about to close, or out of step with us: either way its next reply could be to something
    else, so the connection is given up.
    """

    def __init__(self, client: aiosmtplib.SMTP, settings: Settings) -> None:
        """Take over from ``client``, which is not to be used any more. Raises Lost."""
        transport = cast("asyncio.Transport | None", client.transport)
        if transport is None or transport.is_closing():
            raise Lost("the connection was lost")
        #: Whether the server takes addresses that are not ASCII (RFC 6531).
        self.smtputf8 = client.supports_extension("smtputf8")
        #: Whether it takes several commands at once.
        self.pipelines = client.supports_extension("pipelining")
        #: Whether it may be told what to say of a message that comes back (RFC 3461).
        self.reports = client.supports_extension("dsn")
        #: How many messages it has carried.
        self.messages = 0
        #: How many it may carry: fewer, if the server says so (RFC 9422, MAILMAX).
        self.most_messages = min(
            settings.smtp_messages_per_connection or math.inf,
            _mail_max(client.esmtp_extensions.get("limits", "")),
        )
        self._loop = asyncio.get_running_loop()
        #: When it was last used, and from when on it is too old, by the event loop's clock.
        self.used_at = self._loop.time()
        self.leaves_at = self.used_at + settings.smtp_connection_seconds
        self._transport = transport
        self._waiter: asyncio.Future[Reply] | None = None
        #: How many replies are owed to us, but for that to QUIT.
        self._owed = 0
        #: Done when the connection is closed.
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._quit_timer: asyncio.TimerHandle | None = None
        self._buffer = bytearray()
        # Kept here too: a TLS transport does not say is_closing when its peer went.
        self._over = False
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether, as far as this side knows, the server is still there."""
        return not (self._over or self._transport.is_closing())

    @property
    def is_leaving(self) -> bool:
        """Whether QUIT was said and the connection is not closed yet."""
        return self._quit_timer is not None and not self.closed.done()

    async def ask(self, words: bytes, seconds: float) -> Reply:
        """Send ``words`` and wait for the reply to them, ``seconds`` in all. Raises NoReply.

        Whatever it raises, the connection is closed and what was not sent yet never will be.
        """
        self.say(words)
        return await self.hear(seconds)

    def say(self, words: bytes, replies: int = 1) -> None:
        """Send ``words``, to which there are to be so many replies. Raises Lost."""
        if self._over or self._transport.is_closing():
            raise Lost("the connection was lost")
        self._owed += replies
        self._transport.write(words)

    async def hear(self, seconds: float) -> Reply:
        """Wait for the next reply to what was said. Raises NoReply, as ``ask`` does."""
        if self._buffer:
            try:
                if (reply := self._next_reply()) is not None:
                    return reply
            except Garbage:
                self.abort()
                raise
        if self._over or self._transport.is_closing():
            raise Lost("the connection was lost")
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(seconds, self._fall_silent, seconds)
        try:
            return await self._waiter
        except BaseException:
            self.abort()
            raise
        finally:
            timer.cancel()
            self._waiter = None

    def _next_reply(self) -> Reply | None:
        """Take a whole reply from what came, if there is one. Raises Garbage."""
        reply, size = parse(self._buffer)
        if reply is not None:
            del self._buffer[:size]
            self._owed -= 1
            if self._buffer and not self._owed:
                self.abort()
        return reply

    def abort(self) -> None:
        """Close at once, throwing away what was not sent yet."""
        self._over = True
        self._transport.abort()

    def leave(self) -> None:
        """Say QUIT, after the replies that are owed; closed when it is answered, or in a second."""
        if self.is_open:
            self._over = True
            self._quit_timer = self._loop.call_later(QUIT_SECONDS, self.abort)
            self._go_on_leaving()

    def _go_on_leaving(self) -> None:
        """Take the replies that are owed, each to a command that should be refused; say QUIT then.

        Where DATA is accepted none the less, a single dot ends it (RFC 2920 §3.1). But who takes a
        recipient without a sender could take that for a message.
        """
        try:
            while self._owed:
                reply = self._next_reply()
                if reply is None:
                    return
                if reply.code < CONTENT_WELCOME:
                    self.abort()
                    return
                if reply.code == CONTENT_WELCOME and not self._owed:
                    self._owed = 1
                    self._transport.write(b".\r\n")
        except Garbage:
            self.abort()
        else:
            self._transport.write(b"QUIT\r\n")

    def data_received(self, data: bytes) -> None:
        """Read replies, which may come in pieces, or several at once."""
        self._buffer += data
        if not self._owed:
            self.abort()
        elif self._quit_timer is not None:
            self._go_on_leaving()
        elif self._waiter is not None and not self._waiter.done():
            try:
                reply = self._next_reply()
            except Garbage as garbage:
                self._fail(garbage)
            else:
                if reply is not None:
                    self._waiter.set_result(reply)

    def eof_received(self) -> None:
        """Note that the server says nothing more; the transport then closes itself."""
        self._over = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell those who wait."""
        self._fail(Lost(f"the connection was lost ({exc})" if exc else "the connection was lost"))
        if self._quit_timer is not None:
            self._quit_timer.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    def _fall_silent(self, seconds: float) -> None:
        self._fail(Silent(f"no reply within {seconds:g} s"))

    def _fail(self, why: NoReply) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(why)
            self._waiter.exception()  # a waiter that was cancelled meanwhile never asks for it
        self.abort()


def _mail_max(limits: str) -> float:
    """Read ``MAILMAX=10`` among the limits that a server announces; infinite if it is not there."""
    found = re.search(r"(?:^|\s)MAILMAX=([1-9][0-9]{0,5})(?:\s|$)", limits, re.IGNORECASE)
    return int(found[1]) if found else math.inf
