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
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from mailbox import Maildir
from pathlib import Path
from typing import cast

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from reach.files import sync_folder
from reach.mailbox.news import News
from reach.mailbox.reading import Reading, decoded, headers_of, read, searchable
from reach.problems import NotFound

log = structlog.get_logger("reach.mailbox")

KEEP = 1000
MOST_BYTES = 2**20
#: An idle client is let go after this. Reach itself lets go sooner (``smtp_idle_seconds``).
IDLE_SECONDS = 300.0
#: How ``Maildir`` names files: by when they came, with microseconds that may lack leading zeros.
NAME = re.compile(r"(\d{10})\.M(\d{1,6})[^:]*")
#: Maildir's flag of a mail that was read.
SEEN = "S"

TAKEN = "250 2.0.0 Kept"
NO_ROOM = "452 4.3.1 The mailbox cannot be written to"
BROKEN = "451 4.3.0 The mailbox failed; its log says why"


class NoSuchMail(NotFound, LookupError):
    """The mailbox has no such email, or no longer: it keeps the newest 1,000."""

    type, title = "no-such-mail", "There is no such email"


@dataclass(frozen=True, slots=True)
class Entry:
    """A mail's line in the list. Its texts are decoded, and empty if it has none."""

    id: str
    sender: str = field(repr=False)
    to: str = field(repr=False)
    subject: str = field(repr=False)
    received_at: datetime
    is_unread: bool


class Mailbox:
    """The newest ``keep`` mails, in a Maildir that no other program writes to.

    As Maildir has it, a mail is in ``new`` until it is read, then in ``cur`` with the flag S.
    Methods block, and may be called from any thread; ``news`` hears of every change.
    """

    def __init__(self, folder: Path, *, keep: int = KEEP) -> None:
        """Open the Maildir, making it if it is missing. Raises OSError."""
        self._tmp, self._new, self._cur = folder / "tmp", folder / "new", folder / "cur"
        self._keep, self.news = keep, News()
        for made in (folder, self._tmp, self._new, self._cur):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._maildir = Maildir(folder)
        self._lock = threading.Lock()
        #: Every mail, the oldest first, with its line in the list once it was asked for.
        self._mails: dict[str, Entry | None] = dict.fromkeys(
            sorted(filter(NAME.fullmatch, self._maildir.iterkeys()), key=_when)
        )
        flagged = (path.name.partition(":2,") for path in self._cur.iterdir())
        self._read = {mail_id for mail_id, _, flags in flagged if SEEN in flags}
        #: What each mail is found by, once somebody has searched.
        self._searchable: dict[str, str] = {}
        self._sweep()
        self._trim()

    def list(self) -> Sequence[Entry]:
        """Every mail, newest first."""
        with self._lock:
            for mail_id in [each for each, entry in self._mails.items() if entry is None]:
                with suppress(KeyError, FileNotFoundError):  # somebody removed it
                    self._mails[mail_id] = self._entry(mail_id)
            return [entry for entry in reversed(self._mails.values()) if entry is not None]

    def search(self, query: str) -> Sequence[Entry]:
        """List the mails that have all words of ``query``, in any case; without one, every mail."""
        words = query.casefold().split()
        return [one for one in self.list() if all(word in self._text(one.id) for word in words)]

    def _text(self, mail_id: str) -> str:
        found = self._searchable.get(mail_id)
        if found is None:
            try:
                found = searchable(self.read(mail_id))
            except NoSuchMail:  # it has just gone
                return ""
            with self._lock:
                if mail_id in self._mails:
                    self._searchable[mail_id] = found
        return found

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
        self.news.tell()

    def mark_read(self, mail_id: str) -> None:
        """Note that a mail was opened; one that is not there is no matter."""
        with self._lock:
            if mail_id not in self._mails or mail_id in self._read:
                return
            try:
                (self._new / mail_id).rename(self._cur / f"{mail_id}:2,{SEEN}")
            except OSError as error:  # it can be read all the same
                log.warning("mailbox not written", sqlstate=errno.errorcode.get(error.errno or 0))
                return
            self._read.add(mail_id)
            entry = self._mails[mail_id]
            self._mails[mail_id] = entry and replace(entry, is_unread=False)
        self.news.tell()

    def delete(self, mail_id: str) -> None:
        """Remove a mail from the disk. Raises NoSuchMail; OSError."""
        with self._lock:
            if mail_id not in self._mails:
                raise NoSuchMail
            self._remove(mail_id)
        self.news.tell()

    def clear(self, last: str | None = None) -> None:
        """Remove every mail that came until ``last`` did, or all. Raises NoSuchMail; OSError."""
        if last is not None and not NAME.fullmatch(last):
            raise NoSuchMail
        with self._lock:
            for mail_id in list(self._mails):
                if last is None or _when(mail_id) <= _when(last):
                    self._remove(mail_id)
        self.news.tell()

    def _remove(self, mail_id: str) -> None:
        """Remove a mail from the disk, and only then from the list. Raises OSError."""
        self._maildir.discard(mail_id)
        self._forget(mail_id)

    def _forget(self, mail_id: str) -> None:
        del self._mails[mail_id]
        self._read.discard(mail_id)
        self._searchable.pop(mail_id, None)

    def _entry(self, mail_id: str) -> Entry:
        """Make a mail's line from its first bytes. Raises KeyError, FileNotFoundError."""
        headers = reversed(headers_of(self._maildir.get_bytes(mail_id)))
        first = {name.lower(): value for name, value in headers}
        sender, to, subject = (decoded(first.get(one, "")) for one in ("from", "to", "subject"))
        seconds, microseconds = _when(mail_id)
        at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)
        return Entry(mail_id, sender, to, subject, at, mail_id not in self._read)

    def _trim(self) -> None:
        """Drop the oldest mails if there are too many."""
        for mail_id in list(self._mails)[: max(0, len(self._mails) - self._keep)]:
            self._forget(mail_id)
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


def _when(mail_id: str) -> tuple[int, int]:
    """Read from a mail's name when it came: seconds, and microseconds."""
    seconds, microseconds = NAME.sub(r"\1 \2", mail_id).split()
    return int(seconds), int(microseconds)


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
