"""The files of a SQLite database, and whether they still belong together.

A log (``-wal``) fits one database and no other, and nothing in either says which. So when another
file is put in the database's place while the log is there, SQLite takes the log for that file's,
and the file is spoilt. Reach looks at the files themselves before it opens or writes: see
docs/decisions/0042-clocks-and-files.md.
"""

import math
import os
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, RLock
from typing import Literal, Protocol

import structlog

from reach.db.errors import NO_FILE, NO_FOLDER, TIMED_OUT, DatabaseUnavailable, NoDatabase, Replaced

log = structlog.get_logger("reach.db")

REPLACED = "Another file was put in its place, and the log beside it is not that file's."
LOG_REPLACED = "Another log was put beside it while it was in use."
OVERWRITTEN = "It was written over while it was in use."

LAG_SECONDS = 1.0
WRITE_LAG_SECONDS = 0.02

#: Device and number of a file.
Identity = tuple[int, int]
#: ``fold``: its log, or the log's index, was removed; what is in the log is still ours to save.
Change = Literal["none", "reopen", "fold"]

#: https://www.sqlite.org/fileformat2.html#the_database_header
HEADER_BYTES = 100
VERSIONS, COUNTER = slice(18, 20), slice(24, 28)
#: What a database says of itself that is read and written by way of a log.
BY_LOG = b"\x02\x02"


@dataclass(frozen=True, slots=True)
class Files:
    """Which files are there: the database, its log, the log's index. None: no such file.

    ``is_logged``: something is in the log.
    """

    database: Identity
    log: Identity | None
    index: Identity | None
    is_logged: bool = field(default=False, compare=False)

    def since(self, before: "Files", *, is_open: bool) -> Change:
        """Say what has become of the files of a connection. Raises Replaced, NoDatabase.

        ``is_open``: there still is one. If not, another process's was the last, and SQLite has
        removed the log and its index with it, as it should.
        """
        if self == before:
            return "none"
        if self.database != before.database:
            is_left = before.log is not None and self.log == before.log
            if is_left or (before.index is not None and self.index == before.index):
                raise Replaced(REPLACED)
            return "reopen"
        if not is_open or before.log is None or before.index is None:
            return "reopen"  # or the log was switched on
        if self.log is None or (self.log == before.log and self.index is None):
            return "fold"
        if self.log != before.log and _size_of(before.log) != 0:
            raise Replaced(LOG_REPLACED)
        return "reopen"


class Connected(Protocol):
    """Who has a connection, and uses it only while they hold ``lock``."""

    lock: RLock

    @property
    def is_open(self) -> bool:
        """Whether they have it now: an error may have ended it."""

    def fold(self) -> bool:
        """Fold its log into the database, if they have a connection; whether they had."""

    def close(self) -> None:
        """Let go of it."""


class Place:
    """Where a database's files are, for all connections of this process to them.

    All have the same files: SQLite keeps one index of the log for a database and a process, for as
    long as any connection is open. So they are closed together, before another is opened.
    """

    def __init__(self, file: Path) -> None:
        """Look at nothing yet."""
        self.file = file
        self._path, self._real = str(file), ""
        self._is_lost = self._is_overwritten = self._was_open = False
        self._looked_at = self._checked_at = -math.inf
        self._changed_at_ns = 0
        self._telling, self._closing = Lock(), Lock()
        self._header: Header | None = None
        self._opened: Files | None = None
        #: Who has connections, but for a watcher, which comes and goes.
        self.connected: list[Connected] = []
        self.unwatched = Event()
        self.unwatched.set()

    @property
    def opened(self) -> Files | None:
        """What connections are open to. Meanwhile no other file can have these numbers."""
        return self._opened

    @property
    def is_overwritten(self) -> bool:
        """Whether its content was replaced; then its log must not be folded into it."""
        return self._is_overwritten

    def look(self) -> Files:
        """See which files are there. Raises NoDatabase."""
        found = _stat(self._path)
        if found is None:
            is_folder = os.path.isdir(self.file.parent)  # noqa: PTH112 - it never raises
            raise NoDatabase(NO_FILE if is_folder else NO_FOLDER)
        database, self._changed_at_ns = _identity(found), found.st_mtime_ns
        if self._opened is None or database != self._opened.database or not self._real:
            self._real = os.path.realpath(self._path)  # beside what a link leads to
        log, index = _stat(f"{self._real}-wal"), _stat(f"{self._real}-shm")
        return Files(
            database,
            log and _identity(log),
            index and _identity(index),
            is_logged=log is not None and log.st_size > 0,
        )

    def change(self, *, writes: bool, may_lag: bool = False) -> Change:
        """See what has become of the files that connections are open to.

        Who has a connection ``may_lag``: the database is looked at each time; log, index and header
        where it has changed, and once a second for who reads, every 20 ms for who writes: each look
        costs ten times its time where threads take turns.
        Raises Replaced, NoDatabase; and says it in the log once.
        """
        lag = WRITE_LAG_SECONDS if writes else LAG_SECONDS
        if may_lag and self._is_recent(self._checked_at if writes else self._looked_at, lag):
            return "none"
        try:
            if self._is_overwritten:
                raise Replaced(OVERWRITTEN)
            now, before = self.look(), self._opened
            found: Change = "none"
            if before is not None:
                found = now.since(before, is_open=self._is_open())
        except NoDatabase as lost:
            self.tell(lost)
            raise
        if self._is_lost:
            self.tell(None)
        if writes and found == "none" and self._header is not None:
            self.require_whole(self._header, now)
        self._looked_at = time.monotonic() if found == "none" else -math.inf
        if writes:
            self._checked_at = self._looked_at
        return found

    def _is_recent(self, looked_at: float, lag_seconds: float) -> bool:
        """Whether all was well a moment ago, and nobody has changed or replaced the database since.

        What is written goes to the log: the database itself changes at checkpoints only.
        """
        opened = self._opened
        if opened is None or self._is_lost or self._is_overwritten:
            return False
        if time.monotonic() - looked_at > lag_seconds:
            return False
        found = _stat(self._path)
        if found is None or _identity(found) != opened.database:
            return False
        return found.st_mtime_ns == self._changed_at_ns

    def _is_open(self) -> bool:
        return not self.unwatched.is_set() or any(one.is_open for one in self.connected)

    def note_opened(self, files: Files) -> None:
        """Take note of what a connection was opened to: the same as the others, or none.

        Raises DatabaseUnavailable if it is not: the next one is told why.
        """
        before = self._opened
        if before is not None and before.log is not None and files != before:
            raise DatabaseUnavailable(TIMED_OUT)
        if files != before:
            self._opened, self._header, self._was_open = files, Header(files.database), True

    def close_all(self, seconds: float) -> None:
        """Close every connection, so that others can be opened. Raises DatabaseUnavailable."""
        before = self._opened
        with self._closing, ExitStack() as held:
            if self._opened is not before:
                return  # somebody has done it meanwhile
            for one in self.connected:
                if not one.lock.acquire(timeout=seconds):
                    raise DatabaseUnavailable(TIMED_OUT)
                held.callback(one.lock.release)
            if not self.unwatched.wait(seconds):
                raise DatabaseUnavailable(TIMED_OUT)
            for one in self.connected:
                one.close()
            self._opened = self._header = None

    def require_whole(self, header: "Header", files: Files) -> None:
        """Refuse a database whose content was replaced: from then on, until the process ends.

        Raises Replaced.
        """
        if not header.is_ours(is_logged=files.is_logged):
            self._is_overwritten = True
            lost = Replaced(OVERWRITTEN)
            self.tell(lost)
            raise lost

    def tell(self, lost: NoDatabase | None) -> None:
        """Say once that the file is lost, or (None) that it is back; not before it was open."""
        with self._telling:
            if (lost is not None) == self._is_lost or not self._was_open:
                return
            self._is_lost = lost is not None
        if lost is None:
            log.info("the database file is back")
        else:
            log.error("the database file is lost", reason=lost.detail)


class Header:
    """The first bytes of a database, read by the descriptor that SQLite itself has.

    Another would not do: to close it would end every lock that SQLite has in this process.
    """

    def __init__(self, database: Identity) -> None:
        """Look at nothing yet."""
        self._database = database
        self._descriptor: int | None = None
        self._counter = 0
        self._is_by_log = False

    def is_ours(self, *, is_logged: bool) -> bool:
        """Whether it may be what we have written, or nobody can tell.

        A backup that `reach db backup` made knows of no log; any older copy has a lower counter.
        """
        is_by_log = self._is_by_log or is_logged
        # Twice: it may be written at this very moment.
        return self._is_good(is_by_log=is_by_log) or self._is_good(is_by_log=is_by_log)

    def _is_good(self, *, is_by_log: bool) -> bool:
        found = self._read()
        if found is None:
            return True
        if is_by_log and (len(found) < HEADER_BYTES or found[VERSIONS] != BY_LOG):
            return False
        self._is_by_log = found[VERSIONS] == BY_LOG
        counter = int.from_bytes(found[COUNTER], "big")
        is_good = counter >= self._counter
        self._counter = max(self._counter, counter)
        return is_good

    def _read(self) -> bytes | None:
        if self._descriptor is None or not _is_of(self._descriptor, self._database):
            self._descriptor = _descriptor_of(self._database)
        if self._descriptor is None:
            return None
        with suppress(OSError):
            found = os.pread(self._descriptor, HEADER_BYTES, 0)
            if _is_of(self._descriptor, self._database):
                return found
        return None


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - it is asked before each transaction
    except (FileNotFoundError, NotADirectoryError):
        return None


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino


def _is_of(descriptor: int, file: Identity) -> bool:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == file


def _descriptor_of(file: Identity) -> int | None:
    """Find a descriptor of this process for a file; None where that cannot be asked."""
    with suppress(OSError, ValueError):
        for name in os.listdir("/dev/fd"):  # noqa: PTH208 - they are numbers
            if _is_of(int(name), file):
                return int(name)
    return None


def _size_of(file: Identity) -> int | None:
    """Tell the size of a file that this process has open, whatever has become of its name."""
    descriptor = _descriptor_of(file)
    if descriptor is None:
        return None
    with suppress(OSError):
        return os.fstat(descriptor).st_size
    return None
