"""The embedded mail server that ``reach up`` and the tests use: SMTP in, a Maildir on disk.

It takes mail for anybody, from this machine, and passes none of it on. What it is sent is
kept to the byte; reading it for people never fails, however broken it is.
"""

import asyncio
import errno
import logging
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import cast

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from reach.files import sync_folder
from reach.messages.reading import Reading, read, read_headers
from reach.problems import NotFound

log = structlog.get_logger("reach.mailbox")

KEEP = 1000
MOST_BYTES = 2**20
#: An idle client is let go after this. Reach itself lets go sooner (``smtp_idle_seconds``).
IDLE_SECONDS = 300.0
#: How much of a mail is read for its line in the list, and of a header kept there.
HEAD_BYTES = 64 * 1024
ENTRY_CHARACTERS = 1000

#: The names we give, so that they sort by arrival and tell its time.
ID = re.compile(r"(?P<seconds>\d{10})\.M(?P<microseconds>\d{6})Q\d{6}P\d+\.reach")

TAKEN = "250 2.0.0 Kept"
NO_ROOM = "452 4.3.1 The mailbox cannot be written to"
BROKEN = "451 4.3.0 The mailbox failed; its log says why"


class NoSuchMail(NotFound, LookupError):  # noqa: N818 - as Problem is
    """The mailbox has no such email, or no longer: it keeps the newest 1,000."""

    type, title = "no-such-mail", "There is no such email"


@dataclass(frozen=True, slots=True)
class Entry:
    """A mail's line in the list. ``to`` and ``subject`` are decoded, and empty if it has none."""

    id: str
    to: str = field(repr=False)
    subject: str = field(repr=False)
    received_at: datetime


class Mailbox:
    """The newest ``keep`` mails, in a Maildir that no other program writes to.

    What it holds is read from the folder once, and then kept in memory. Its methods block,
    and may be called from any thread.
    """

    def __init__(self, folder: Path, *, keep: int = KEEP) -> None:
        """Open the Maildir, making it if it is missing. Raises OSError."""
        self._keep = keep
        self._tmp, self._new = folder / "tmp", folder / "new"
        self._count = count()
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        for made in (folder, self._tmp, self._new, folder / "cur"):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        for unfinished in self._tmp.iterdir():
            unfinished.unlink()
        for mail_id in sorted(p.name for p in self._new.iterdir() if ID.fullmatch(p.name)):
            with (self._new / mail_id).open("rb") as file:
                self._remember(_entry(mail_id, file.read(HEAD_BYTES)))

    def list(self) -> Sequence[Entry]:
        """Every mail, newest first."""
        with self._lock:
            return sorted(self._entries.values(), key=lambda entry: entry.id, reverse=True)

    def read(self, mail_id: str) -> Reading:
        """Read a mail for people. Raises NoSuchMail."""
        return read(self.raw(mail_id))

    def raw(self, mail_id: str) -> bytes:
        """Read a mail as it came. Raises NoSuchMail."""
        if mail_id not in self._entries:  # so no path but of a mail of ours is ever opened
            raise NoSuchMail
        try:
            return (self._new / mail_id).read_bytes()
        except FileNotFoundError:
            raise NoSuchMail from None

    def put(self, content: bytes) -> None:
        """Keep a mail: once this returns it is on disk. Raises OSError, and leaves nothing."""
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        number = next(self._count) % 10**6
        name = f"{seconds:010}.M{nanoseconds // 1000:06}Q{number:06}P{os.getpid()}.reach"
        unfinished = self._tmp / name
        try:
            _write(unfinished, content)
            unfinished.rename(self._new / name)
            sync_folder(self._new)
        except OSError:
            for path in (unfinished, self._new / name):
                path.unlink(missing_ok=True)
            raise
        self._remember(_entry(name, content[:HEAD_BYTES]))

    def _remember(self, entry: Entry) -> None:
        """List a mail, and drop the oldest if there are too many."""
        with self._lock:
            self._entries[entry.id] = entry
            surplus = len(self._entries) - self._keep
            dropped = [name for name, _ in zip(self._entries, range(surplus), strict=False)]
            for name in dropped:
                del self._entries[name]
        for name in dropped:
            try:
                (self._new / name).unlink(missing_ok=True)
            except OSError as error:  # the new mail is kept all the same
                log.warning("mailbox not trimmed", sqlstate=errno.errorcode.get(error.errno or 0))

    @asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Take mail on the running event loop; yields ``smtp://host:port``.

        At the end, what is being written is finished, and connections are cut.
        """
        # aiosmtpd logs addresses at INFO, and at WARNING whatever a client says.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        loop = asyncio.get_running_loop()
        handler = _Handler(self)
        server = await loop.create_server(lambda: _Connection(handler, loop), host, port)
        try:
            bound: int = server.sockets[0].getsockname()[1]
            yield f"smtp://[{host}]:{bound}" if ":" in host else f"smtp://{host}:{bound}"
        finally:
            server.close()
            await handler.close()


class _Handler:
    """What aiosmtpd asks us: to keep a mail, and what to say of a failure of its own."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._writing: set[asyncio.Task[str]] = set()
        self.connections: set[_Connection] = set()

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Keep a mail, and only then say so; a client that hangs up does not stop it."""
        task = asyncio.create_task(self._keep(envelope.original_content or b""))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        return await asyncio.shield(task)

    async def _keep(self, content: bytes) -> str:
        try:
            await asyncio.to_thread(self._mailbox.put, content)
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

    async def close(self) -> None:
        """Finish what is being written, then cut every connection."""
        await asyncio.gather(*self._writing, return_exceptions=True)
        ended = [connection.end() for connection in list(self.connections)]
        await asyncio.gather(*ended, *self._writing, return_exceptions=True)


class _Connection(SMTP):
    """One client's connection. aiosmtpd keeps no list of them, nor waits for their tasks."""

    def __init__(self, handler: _Handler, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            handler,
            data_size_limit=MOST_BYTES,
            enable_SMTPUTF8=True,
            hostname="localhost",  # else it asks the DNS, at every connection
            ident="Reach",
            timeout=IDLE_SECONDS,
            loop=loop,
        )
        self._connections = handler.connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self._connections.add(self)
        assert self._handler_coroutine is not None  # noqa: S101 - for mypy; just made
        self._handler_coroutine.add_done_callback(_note_end)

    def connection_lost(self, error: Exception | None) -> None:
        """End."""
        self._connections.discard(self)
        super().connection_lost(error)

    def end(self) -> asyncio.Future[None]:
        """Hang up; the task that speaks with the client ends soon after."""
        assert self._handler_coroutine is not None  # noqa: S101 - for mypy; see connection_made
        if self.transport is not None:
            # Not a matter for isinstance: uvloop's transports inherit nothing of asyncio's.
            cast("asyncio.WriteTransport", self.transport).abort()
        return self._handler_coroutine


def _note_end(task: asyncio.Task[None]) -> None:
    """Take note of how a client's task ended: one that hung up as we spoke leaves an error."""
    if not task.cancelled() and (error := task.exception()):
        log.debug("mailbox caller hung up", error_type=type(error).__name__)


def _write(path: Path, content: bytes) -> None:
    """Make a new file that survives a power cut, for our eyes only. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123 - it is a descriptor
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(descriptor)


def _entry(mail_id: str, head: bytes) -> Entry:
    """Make a mail's line in the list from its first bytes."""
    found = {name.lower(): value for name, value in reversed(read_headers(head))}
    seconds, microseconds = ID.fullmatch(mail_id).groups()  # type: ignore[union-attr]  # it does
    received_at = datetime.fromtimestamp(int(seconds), UTC)
    return Entry(
        id=mail_id,
        to=found.get("to", "")[:ENTRY_CHARACTERS],
        subject=found.get("subject", "")[:ENTRY_CHARACTERS],
        received_at=received_at + timedelta(microseconds=int(microseconds)),
    )
