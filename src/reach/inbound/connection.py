"""One connection of a mail server's that hands us reports, by SMTP or by LMTP (RFC 2033).

aiosmtpd 1.4.6 answers once after the content, whatever the protocol: a client of LMTP waits for
one answer for each recipient, gives up, and delivers again. Nor is it bounded in what it keeps of
a mail: ten megabytes of empty lines are half a gigabyte. So what follows DATA is our own.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol, cast

import structlog
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session, syntax

from reach.inbound.receiving import READ_BYTES, Receiving
from reach.telemetry.logging import frames
from reach.telemetry.metrics import INBOUND_ANSWERS

log = structlog.get_logger("reach.inbound")

#: Postfix takes 10,240,000 bytes unless it is told otherwise, and adds a few headers.
MOST_BYTES = 10 * 1024 * 1024
#: RFC 5321 asks for no less; what is beyond, a mail server sends with another mail.
MOST_RECIPIENTS = 100
#: Of a mail, too: there are servers that return what they were given in lines as long as it likes.
LINE_BYTES = 64 * 1024
#: RFC 5321 §4.5.3.2.7 asks for five minutes: of a pause, and of a whole mail's content.
IDLE_SECONDS = 300.0

CRLF, DOT = b"\r\n", b"."
GO_AHEAD = "354 End with a line that holds a dot alone"
TAKEN = "250 2.0.0 Taken"
NOT_OURS = "550 5.1.1 No reports are taken here for this address"
TOO_MANY = "452 4.5.3 Too many recipients"
TOO_LONG = "552 5.3.4 Longer than 10 MiB"
LATER = "451 4.3.0 Cannot be recorded now, try again"
TOO_BUSY = b"421 4.3.2 Too many connections, try again\r\n"
STOPPING = b"421 4.3.2 Stopping, try again\r\n"


class Connections(Protocol):
    """Those that are open."""

    receiving: Receiving
    is_stopping: bool

    def admit(self, connection: "Connection") -> bool:
        """Count one in; False if there are too many."""

    def leave(self, connection: "Connection") -> None:
        """Count it out."""


class Connection(SMTP):
    """Speaks SMTP with one client."""

    line_length_limit = LINE_BYTES
    # aiosmtpd's own is shared with all that use it in this process.
    command_size_limits: dict[str, int] = defaultdict(lambda: 4096)  # noqa: RUF012 - its name

    def __init__(self, connections: Connections) -> None:
        """Take what all of them share."""
        super().__init__(
            _Handler(connections.receiving),
            data_size_limit=MOST_BYTES,
            enable_SMTPUTF8=True,
            hostname="localhost",  # else it asks the DNS, at every connection
            ident="Reach",
            timeout=IDLE_SECONDS,
            loop=asyncio.get_running_loop(),
        )
        self._connections = connections
        self._is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many."""
        if not self._connections.admit(self):
            _say(transport, TOO_BUSY)
            return
        super().connection_made(transport)
        if self._handler_coroutine is not None:  # it is; mypy cannot know
            self._handler_coroutine.add_done_callback(_note_end)

    def connection_lost(self, error: Exception | None) -> None:
        """End."""
        self._connections.leave(self)
        if self.session is not None:  # it was admitted
            super().connection_lost(error)

    def eof_received(self) -> bool | None:
        """End: the client has nothing more to say, nor does it wait for an answer."""
        return super().eof_received() if self.session is not None else None

    def stop(self) -> None:
        """Hang up, now or when the mail that is coming in is answered."""
        if not self._is_busy and self.transport is not None:
            _say(self.transport, STOPPING)

    def abort(self) -> None:
        """Hang up, whatever is under way. Who was not answered will deliver again."""
        if self.transport is not None:
            # Not a matter for isinstance: uvloop's transports inherit nothing of asyncio's.
            cast("asyncio.WriteTransport", self.transport).abort()

    async def ended(self) -> None:
        """Wait until the task that speaks with the client has ended."""
        if self._handler_coroutine is not None:
            await asyncio.wait([self._handler_coroutine])

    @syntax("DATA")
    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802 - aiosmtpd's name
        """Take a mail, and only then say so."""
        envelope = self.envelope
        if envelope is None or not envelope.rcpt_tos:
            await self.push("503 5.5.1 No recipient was taken")
            return
        if arg:
            await self.push("501 5.5.4 DATA takes nothing")
            return
        self._is_busy = True
        try:
            await self.push(GO_AHEAD)
            mail = await self._content()
            recipients = envelope.rcpt_tos
            answers = await self._answers(mail, recipients)
            self.envelope = self._create_envelope()
            for answer in answers:
                INBOUND_ANSWERS.labels(answer[:3]).inc()
            await self.push("\r\n".join(answers))
        finally:
            self._is_busy = False
        if self._connections.is_stopping:
            self.stop()

    async def _content(self) -> bytes | None:
        """Read up to the dot; gives as much as is read of a mail, None of one that is too long."""
        kept, count, at_start = bytearray(), 0, True
        while True:
            try:
                piece = await self._reader.readuntil(CRLF)
            except asyncio.LimitOverrunError as longer:
                piece = await self._reader.read(longer.consumed)
            if at_start and piece.startswith(DOT):
                if piece == DOT + CRLF:
                    return None if count > MOST_BYTES else bytes(kept)
                piece = piece[1:]
            count += len(piece)
            if len(kept) < READ_BYTES:
                kept += piece
            at_start = piece.endswith(CRLF)

    async def _answers(self, mail: bytes | None, recipients: Sequence[str]) -> Sequence[str]:
        """Answer for a mail: here once, and "later" if any recipient's copy must come again."""
        answers = await self._each(mail, recipients)
        return [LATER if LATER in answers else answers[0]]

    async def _each(self, mail: bytes | None, recipients: Sequence[str]) -> Sequence[str]:
        if mail is None:
            return [TOO_LONG] * len(recipients)
        return await asyncio.gather(*(self._answer(mail, one) for one in recipients))

    async def _answer(self, mail: bytes, recipient: str) -> str:
        """Take one recipient's copy: it is read for that return path."""
        became = await self._connections.receiving.take(mail, recipient)
        return LATER if became in ("later", "failed") else TAKEN


class LmtpConnection(Connection, LMTP):
    """Speaks LMTP with one client: each recipient has an answer of its own."""

    async def _answers(self, mail: bytes | None, recipients: Sequence[str]) -> Sequence[str]:
        return await self._each(mail, recipients)


def _say(transport: asyncio.BaseTransport, words: bytes) -> None:
    """Say the last words, and hang up."""
    cast("asyncio.WriteTransport", transport).write(words)
    transport.close()


def _note_end(task: asyncio.Task[None]) -> None:
    """Take note of how a client's task ended: one that hung up as we spoke leaves an error."""
    if not task.cancelled() and (error := task.exception()):
        log.debug("inbound caller hung up", error_type=type(error).__name__)


class _Handler:
    """What aiosmtpd asks us."""

    def __init__(self, receiving: Receiving) -> None:
        self._addresses = receiving.addresses

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self,
        _server: SMTP,
        session: Session,
        _envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        """Say what we can: RFC 2033 asks for PIPELINING. Commands are answered in turn anyway."""
        session.host_name = hostname
        return [responses[0], "250-PIPELINING", *responses[1:]]

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: object
    ) -> str:
        """Take what is sent to an address of ours, and nothing else."""
        if not self._addresses.has(address):
            INBOUND_ANSWERS.labels(NOT_OURS[:3]).inc()
            return NOT_OURS
        if len(envelope.rcpt_tos) >= MOST_RECIPIENTS:
            return TOO_MANY
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_exception(self, error: Exception) -> str:
        """Answer for an unexpected failure; aiosmtpd alone would tell the client its text."""
        log.error("inbound failed", **frames(error))
        return LATER
