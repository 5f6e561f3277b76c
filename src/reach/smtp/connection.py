"""An open connection to the mail server: ask, and be answered.

aiosmtplib opens it (see ``Opener``). From there on the dialogue is ours, because what a failure
means depends on exactly what was sent before it: so are its time-outs, its parsing, and what
becomes of bytes not sent yet (they are thrown away with the connection, never flushed).
"""

import asyncio
import math
import re
import ssl
from base64 import b64encode
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import aiosmtplib
import anyio

from reach.messages.outcome import Outcome, Unavailable
from reach.network.sockets import open_socket
from reach.settings import BadSettings, Settings
from reach.settings.urls import SmtpUrl, parse_mailbox

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


#: How long the network may take to reach the server, as in Postfix (smtp_connect_timeout): RFC
#: 5321's minutes are for a server that is there.
CONNECT_SECONDS = 30
#: What opening may raise. The last two: aiosmtplib's, if the peer goes between two of its steps.
FAILURES = (aiosmtplib.SMTPException, OSError, ValueError, NoReply, RuntimeError, AttributeError)


class Opener:
    """Opens connections to one mail server: never with less security than its URL says."""

    def __init__(self, settings: Settings, server: SmtpUrl) -> None:
        """Load what TLS needs, once. Raises BadSettings if the CA file cannot be used."""
        self._settings, self._server = settings, server
        self._seconds = settings.smtp_greeting_seconds
        # EHLO's name: the sender's domain. It costs no look-up (socket.getfqdn may block for
        # seconds), is the same on every replica, and is a real domain where a pod's is not.
        self._name = parse_mailbox(settings.mail_from).domain
        self._context = None if server.security == "plain" else _trust(settings.smtp_ca_file)
        self._secrets = _secret_words(server)

    async def open(self) -> Connection | Unavailable:
        """Connect, encrypt, greet and log in; or say why no message can be sent now."""
        opened: list[Connection | Unavailable] = []

        async def attempt() -> None:
            opened.append(await self._try())

        # As a task of its own, because anyio repeats a cancellation until it is heeded: before
        # Python 3.12, asyncio.wait_for (in aiosmtplib) loses one that comes just as it ends.
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(attempt)
        except BaseException:
            for result in opened:
                if isinstance(result, Connection):
                    result.abort()
            raise
        return opened[0]

    async def _try(self) -> Connection | Unavailable:
        client = aiosmtplib.SMTP(
            hostname=self._server.host,  # whose certificate it must be
            local_hostname=self._name,
            timeout=self._seconds,
            use_tls=self._server.security == "tls",
            start_tls=False,
            tls_context=self._context,
        )
        stage = "connect"
        transport: asyncio.BaseTransport | None = None
        try:
            await self._connect(client)
            transport = client.transport
            stage = "EHLO"
            await client.ehlo()
            if self._server.security == "starttls":
                stage = "STARTTLS"
                await client.starttls()
                transport = client.transport
                stage = "EHLO"
                await client.ehlo()
            if self._server.username is not None:
                stage = "AUTH"
                await self._log_in(client)
            return Connection(client, self._settings)
        except BaseException as error:
            if transport is not None:
                cast("asyncio.Transport", transport).abort()
            if isinstance(error, FAILURES):
                return self._unavailable(stage, error)
            raise

    async def _connect(self, client: aiosmtplib.SMTP) -> None:
        """Connect to the first address that answers, encrypt, and hear the greeting."""
        seconds = min(CONNECT_SECONDS, self._seconds)
        connected = await open_socket(self._server.host, self._server.port, seconds=seconds)
        try:
            await client.connect(sock=connected)
        except BaseException:
            connected.close()
            raise

    async def _log_in(self, client: aiosmtplib.SMTP) -> None:
        """Try one way of logging in, so that a wrong password counts once at the server."""
        known = ["plain", "login", "cram-md5"]
        if self._server.security == "plain":
            known = ["cram-md5", "plain", "login"]
        client.server_auth_methods = [m for m in known if m in client.server_auth_methods][:1]
        await client.login(self._server.username or "", self._server.password or "")

    def _unavailable(self, stage: str, error: Exception) -> Unavailable:
        code, words = 0, str(error) or type(error).__name__
        if isinstance(error, aiosmtplib.SMTPResponseException):
            code, words = error.code, error.message.replace("\n", " ")
        if any(secret in words for secret in self._secrets):
            words = "(what the server said is withheld: it repeats the password)"
        # aiosmtplib's own code for what is no reply at all is -1.
        said = Reply(code, words) if code > 0 else words
        return outcome(Unavailable, stage, said)


def _trust(file: Path | None) -> ssl.SSLContext:
    """Make what verifies a server's certificate and its name."""
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:
        raise BadSettings(f"REACH_SMTP_CA_FILE cannot be used: {error}") from None


def _secret_words(server: SmtpUrl) -> tuple[str, ...]:
    """Spell the password as a server could repeat it: in clear, and as it went on the wire."""
    if not server.password:
        return ()
    password = server.password.encode()
    plain = b"\0".join((b"", (server.username or "").encode(), password))
    return (
        server.password,
        *(b64encode(secret).decode().rstrip("=") for secret in (password, plain)),
    )
