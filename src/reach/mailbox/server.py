"""The embedded mail server that ``reach up`` and the tests use: SMTP in, a Maildir on disk.

It takes mail for anybody, from this machine, and passes none of it on. What it is sent is
kept to the byte; reading it for people never fails, however broken it is.
"""

import asyncio
import errno
import logging
import re
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.parser import BytesHeaderParser
from mailbox import Maildir
from pathlib import Path
from typing import cast

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from reach.files import sync_folder
from reach.problems import NotFound

log = structlog.get_logger("reach.mailbox")

KEEP = 1000
MOST_BYTES = 2**20
#: An idle client is let go after this. Reach itself lets go sooner (``smtp_idle_seconds``).
IDLE_SECONDS = 300.0
#: What the parser is given. Longer headers, and more parts, are only shown as they came: it takes
#: the square of their number (250 boundaries in a megabyte took 13 s).
HEAD_BYTES, VALUE_CHARACTERS, MOST_BOUNDARIES = 64 * 1024, 8 * 1024, 40
BOUNDARY = re.compile(rb"boundary\s{0,9}[=*]", re.IGNORECASE)
#: How ``Maildir`` names files: by when they came, with microseconds that may lack leading zeros.
NAME = re.compile(r"(\d{10})\.M(\d{1,6})[^:]*")

TAKEN = "250 2.0.0 Kept"
NO_ROOM = "452 4.3.1 The mailbox cannot be written to"
BROKEN = "451 4.3.0 The mailbox failed; its log says why"


class NoSuchMail(NotFound, LookupError):
    """The mailbox has no such email, or no longer: it keeps the newest 1,000."""

    type, title = "no-such-mail", "There is no such email"


@dataclass(frozen=True, slots=True)
class Entry:
    """A mail's line in the list. ``to`` and ``subject`` are decoded, and empty if it has none."""

    id: str
    to: str = field(repr=False)
    subject: str = field(repr=False)
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Reading:
    """A mail for people: every header in order, decoded; its text and its HTML, if any."""

    headers: Sequence[tuple[str, str]] = field(repr=False)
    text: str | None = field(repr=False)
    html: str | None = field(repr=False)


class Mailbox:
    """The newest ``keep`` mails, in a Maildir that no other program writes to.

    Its methods block, and may be called from any thread.
    """

    def __init__(self, folder: Path, *, keep: int = KEEP) -> None:
        """Open the Maildir, making it if it is missing. Raises OSError."""
        self._tmp, self._new, self._keep = folder / "tmp", folder / "new", keep
        for made in (folder, self._tmp, self._new, folder / "cur"):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._maildir = Maildir(folder)
        self._lock = threading.Lock()
        named = [match for each in self._maildir.iterkeys() if (match := NAME.fullmatch(each))]
        named.sort(key=lambda match: (int(match[1]), int(match[2])))
        #: Every mail, the oldest first, with its line in the list once it was asked for.
        self._mails: dict[str, Entry | None] = dict.fromkeys(match[0] for match in named)
        self._sweep()
        self._trim()

    def list(self) -> Sequence[Entry]:
        """Every mail, newest first."""
        with self._lock:
            for mail_id in [each for each, entry in self._mails.items() if entry is None]:
                with suppress(KeyError, FileNotFoundError):  # somebody removed it
                    self._mails[mail_id] = self._entry(mail_id)
            return [entry for entry in reversed(self._mails.values()) if entry is not None]

    def read(self, mail_id: str) -> Reading:
        """Read a mail for people. Raises NoSuchMail."""
        return read(self.raw(mail_id))

    def raw(self, mail_id: str) -> bytes:
        """Read a mail as it came. Raises NoSuchMail."""
        with self._lock:
            if mail_id not in self._mails:  # so no path but of a mail of ours is ever opened
                raise NoSuchMail
            try:
                return self._maildir.get_bytes(mail_id)
            except (KeyError, FileNotFoundError):
                raise NoSuchMail from None

    def put(self, content: bytes) -> None:
        """Keep a mail: once this returns it is on disk. Raises OSError, and leaves nothing."""
        with self._lock:
            try:
                file = self._new / self._maildir.add(content)
            except OSError:
                self._sweep()  # Maildir leaves a part of it there if the disk is full
                raise
            try:
                file.chmod(0o600)
                sync_folder(self._new)
            except OSError:
                file.unlink(missing_ok=True)
                raise
            self._mails[file.name] = None
            self._trim()

    def _entry(self, mail_id: str) -> Entry:
        """Make a mail's line from its first bytes. Raises KeyError, FileNotFoundError."""
        headers = reversed(_headers(self._maildir.get_bytes(mail_id)))
        first = {name.lower(): value for name, value in headers}
        to, subject = (_decoded(first.get(name, "")) for name in ("to", "subject"))
        seconds, microseconds = map(int, NAME.sub(r"\1 \2", mail_id).split())
        at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)
        return Entry(mail_id, to, subject, at)

    def _trim(self) -> None:
        """Drop the oldest mails if there are too many."""
        for mail_id in list(self._mails)[: max(0, len(self._mails) - self._keep)]:
            del self._mails[mail_id]
            try:
                self._maildir.discard(mail_id)
            except OSError as error:  # the new mail is kept all the same
                log.warning("mailbox not trimmed", sqlstate=errno.errorcode.get(error.errno or 0))

    def _sweep(self) -> None:
        """Drop what was half written."""
        for unfinished in self._tmp.iterdir():
            unfinished.unlink()

    @asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Take mail on the running event loop; yields ``smtp://host:port``.

        At the end connections are cut; a mail that is being written is written whole.
        """
        # aiosmtpd logs addresses at INFO, and at WARNING whatever a client says.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        connected: set[_Connection] = set()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self, connected), host, port)
        try:
            bound: int = server.sockets[0].getsockname()[1]
            yield f"smtp://[{host}]:{bound}" if ":" in host else f"smtp://{host}:{bound}"
        finally:
            server.close()
            await asyncio.gather(*(each.end() for each in list(connected)), return_exceptions=True)


class _Connection(SMTP):
    """One client's connection. aiosmtpd keeps no list of them, nor waits for their tasks."""

    def __init__(self, mailbox: Mailbox, connected: "set[_Connection]") -> None:
        super().__init__(
            _Handler(mailbox),
            data_size_limit=MOST_BYTES,
            enable_SMTPUTF8=True,
            hostname="localhost",  # else it asks the DNS, at every connection
            ident="Reach",
            timeout=IDLE_SECONDS,
            loop=asyncio.get_running_loop(),
        )
        self._connected = connected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self._connected.add(self)
        if self._handler_coroutine is not None:  # it is; mypy cannot know
            self._handler_coroutine.add_done_callback(_note_end)

    def connection_lost(self, error: Exception | None) -> None:
        """End."""
        self._connected.discard(self)
        super().connection_lost(error)

    async def end(self) -> None:
        """Hang up, and wait for the task that speaks with the client."""
        if self.transport is not None:
            # Not a matter for isinstance: uvloop's transports inherit nothing of asyncio's.
            cast("asyncio.WriteTransport", self.transport).abort()
        if self._handler_coroutine is not None:
            await self._handler_coroutine


def _note_end(task: asyncio.Task[None]) -> None:
    """Take note of how a client's task ended: one that hung up as we spoke leaves an error."""
    if not task.cancelled() and (error := task.exception()):
        log.debug("mailbox caller hung up", error_type=type(error).__name__)


class _Handler:
    """What aiosmtpd asks us: to keep a mail, and what to say of a failure of its own."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Keep a mail, and only then say so; a client that hangs up does not stop the thread."""
        try:
            await asyncio.to_thread(self._mailbox.put, envelope.original_content or b"")
        except OSError as error:
            code = errno.errorcode.get(error.errno or 0)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                log.warning("mailbox full", sqlstate=code)
            else:
                log.warning("mailbox not written", sqlstate=code)
            return NO_ROOM
        return TAKEN

    async def handle_exception(self, error: Exception) -> str:
        """Answer for an unexpected failure; aiosmtpd alone would tell the client its text."""
        log.error("mailbox failed", error_type=type(error).__name__)
        return BROKEN


def read(raw: bytes) -> Reading:
    """Read a whole mail. One that cannot be parsed is shown as it came, as its text."""
    try:
        texts = _texts(raw)
    except Exception as error:  # noqa: BLE001 - the parser fails in many ways on hostile MIME
        log.info("mail unreadable", error_type=type(error).__name__)
        texts = {"plain": readable(raw)}
    headers = [(name, _decoded(value)) for name, value in _headers(raw)]
    return Reading(headers, texts.get("plain"), texts.get("html"))


def _texts(raw: bytes) -> dict[str, str]:
    """Find the text and the HTML that are meant to be read, no attachments."""
    if len(_head(raw)) > HEAD_BYTES or len(BOUNDARY.findall(raw)) > MOST_BOUNDARIES:
        raise ValueError
    whole = message_from_bytes(raw, policy=policy.default)
    parts = {kind: whole.get_body((kind,)) for kind in ("plain", "html")}
    return {kind: _sound(part.get_content()) for kind, part in parts.items() if part is not None}


def readable(raw: bytes) -> str:
    """Read a mail's source: what is not UTF-8 is U+FFFD."""
    return raw.decode("utf-8", "replace")


def _head(raw: bytes) -> bytes:
    return re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[0]


def _headers(raw: bytes) -> Sequence[tuple[str, str]]:
    """Split the headers, in order, those of the first 64 KiB."""
    return list(BytesHeaderParser().parsebytes(_head(raw)[:HEAD_BYTES]).raw_items())


def _decoded(value: str) -> str:
    """Decode a header's value, whichever it is: folds, RFC 2047's words, what is not ASCII."""
    shown = re.sub(r"[\r\n]+", "", value[:VALUE_CHARACTERS])
    with suppress(Exception):  # of many kinds, for hostile words: they are shown as they came
        shown = str(policy.default.header_factory("subject", shown))
    return _sound(shown).strip()


def _sound(text: str) -> str:
    """Leave out half characters, which no answer can hold."""
    return text.encode("utf-8", "replace").decode()
