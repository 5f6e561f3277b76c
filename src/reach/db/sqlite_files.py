"""The files of a SQLite database, and whether they still belong together.

A log (``-wal``) fits one database and no other, and nothing in either says which. So when another
file is put in the database's place while the log is there, SQLite takes the log for that file's,
and the file is spoilt. Reach looks at the files themselves before it opens or writes: see
docs/decisions/0042-clocks-and-files.md.
"""

import fcntl
import io
import math
import os
import re
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
#: In the lock file: its own number (a copy of it, with its neighbours, has another), then the
#: device, and the numbers of database and log; 0: no log.
RECORD = re.compile(rb"(\d+) (\d+) (\d+) (\d+)\n")
RECORD_BYTES = 100
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
        """Say what has become of the files of a connection, if they differ. Raises Replaced.

        ``is_open``: there still is one. If not, another process's was the last, and SQLite has
        removed the log and its index with it, as it should.
        """
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
        #: Whether all are to let go of the files, the watcher too.
        self.is_closing = False

    @property
    def opened(self) -> Files | None:
        """What connections are open to. Meanwhile no other file can have these numbers."""
        return self._opened

    @property
    def is_overwritten(self) -> bool:
        """Whether its content was replaced; then its log must not be folded into it."""
        return self._is_overwritten

    def look(self) -> Files:
        """Look at which files are there. Raises NoDatabase."""
        try:
            found = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            is_folder = os.path.isdir(self.file.parent)
            raise NoDatabase(NO_FILE if is_folder else NO_FOLDER) from None
        database, self._changed_at_ns = (found.st_dev, found.st_ino), found.st_mtime_ns
        if self._opened is None or database != self._opened.database or not self._real:
            self._real = os.path.realpath(self._path)  # beside what a link leads to
        beside: list[os.stat_result | None] = []
        for end in ("-wal", "-shm"):
            try:
                beside.append(os.stat(self._real + end))
            except (FileNotFoundError, NotADirectoryError):
                beside.append(None)
        log, index = beside
        return Files(
            database,
            log and (log.st_dev, log.st_ino),
            index and (index.st_dev, index.st_ino),
            is_logged=log is not None and log.st_size > 0,
        )

    def change(self, *, writes: bool, may_lag: bool = False) -> Change:
        """Look at what has become of the files that connections are open to.

        Who has a connection ``may_lag``: the database is looked at each time; log, index and header
        where it has changed, and once a second for who reads, every 20 ms for who writes: each look
        costs ten times its time where threads take turns.
        Raises Replaced, NoDatabase; and says it in the log once.
        """
        before = self._opened
        if may_lag and before is not None and not self._is_lost and not self._is_overwritten:
            lag = WRITE_LAG_SECONDS if writes else LAG_SECONDS
            looked_at = self._checked_at if writes else self._looked_at
            # What is written goes to the log: the database itself changes at checkpoints only.
            if time.monotonic() - looked_at <= lag and self._is_as_it_was(before):
                return "none"
        try:
            if self._is_overwritten:
                raise Replaced(OVERWRITTEN)
            now, before = self.look(), self._opened
            found: Change = "none"
            if before is not None and now != before:
                found = now.since(before, is_open=self._is_open())
        except NoDatabase as lost:
            self.tell(lost)
            raise
        if self._is_lost:
            self.tell(None)
        header = self._header if writes and found == "none" else None
        if header is not None and not header.is_ours(is_logged=now.is_logged):
            raise self._overwritten()
        self._looked_at = time.monotonic() if found == "none" else -math.inf
        if writes:
            self._checked_at = self._looked_at
        return found

    def _is_as_it_was(self, opened: Files) -> bool:
        """Whether nobody has changed or replaced the database since it was last looked at."""
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        is_there = (found.st_dev, found.st_ino) == opened.database
        return is_there and found.st_mtime_ns == self._changed_at_ns

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
            self.is_closing = True
            try:
                if not self.unwatched.wait(seconds):
                    raise DatabaseUnavailable(TIMED_OUT)
            finally:
                self.is_closing = False
            for one in self.connected:
                one.close()
            self._opened = self._header = None

    def require_whole(self, header: "Header", files: Files) -> None:
        """Refuse a database whose content was replaced. Raises Replaced."""
        if not header.is_ours(is_logged=files.is_logged):
            raise self._overwritten()

    def _overwritten(self) -> Replaced:
        """Note that its content was replaced: it is refused until the process ends."""
        self._is_overwritten = True
        lost = Replaced(OVERWRITTEN)
        self.tell(lost)
        return lost

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
        for _ in range(2):  # it may be written at this very moment
            found = self._read()
            if found is None:
                return True
            if is_by_log and (len(found) < HEADER_BYTES or found[VERSIONS] != BY_LOG):
                continue
            self._is_by_log = found[VERSIONS] == BY_LOG
            counter = int.from_bytes(found[COUNTER], "big")
            is_good = counter >= self._counter
            self._counter = max(self._counter, counter)
            if is_good:
                return True
        return False

    def _read(self) -> bytes | None:
        for _ in range(2):
            if self._descriptor is None:
                self._descriptor = _descriptor_of(self._database)
            if self._descriptor is None:
                return None
            with suppress(OSError):
                found = os.pread(self._descriptor, HEADER_BYTES, 0)
                its = os.fstat(self._descriptor)
                if (its.st_dev, its.st_ino) == self._database:
                    return found
            self._descriptor = None  # SQLite has closed it, and it may be another file's by now
        return None


def _is_of(descriptor: int, file: Identity) -> bool:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == file


def _descriptor_of(file: Identity) -> int | None:
    """Find a descriptor of this process for a file; None where that cannot be asked."""
    with suppress(OSError, ValueError):
        for name in os.listdir("/dev/fd"):
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


def take_turn(database: Path, *, waits: bool = True) -> io.FileIO:
    """Wait for this process's turn to write to ``database``; closing what it gives ends the turn.

    SQLite's own busy wait polls, and starves one of two busy processes. This lock orders our own
    writers; SQLite's lock still guards against everybody else's. Raises OSError; BlockingIOError
    if it ``waits`` for nobody, and it is another's.
    """
    flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC
    turn = io.FileIO(os.open(f"{database}-turn", flags, 0o600), "r+")
    try:
        fcntl.flock(turn, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        turn.close()
        raise
    return turn


def _open_turn(database: Path) -> io.FileIO:
    return io.FileIO(os.open(f"{database}-turn", os.O_RDWR | os.O_CLOEXEC), "r+")


def require_own_log(database: Path, files: Files) -> None:
    """Refuse a database beside a log that is known to be another's. Raises Replaced."""
    with suppress(OSError), _open_turn(database) as turn:
        device, number = files.database
        known = RECORD.match(os.pread(turn.fileno(), RECORD_BYTES, 0))
        if known is None or files.log is None:
            return
        itself, its_device, its_number, its_log = map(int, known.groups())
        is_of_here = (itself, its_device) == (os.fstat(turn.fileno()).st_ino, device)
        if is_of_here and files.log[1] == its_log and number != its_number:
            raise Replaced(REPLACED)


def note_log(database: Path, files: Files, *, is_open: bool) -> None:
    """Write down whose the log is; before it is opened, of another database than before: nobody's.

    It stands in the lock file, for processes that start later: a log says nothing of it. Where it
    cannot be written, only processes that run notice.
    """
    device, number = files.database
    log_number = files.log[1] if is_open and files.log is not None else 0
    with suppress(OSError), _open_turn(database) as turn:
        owner = f"{os.fstat(turn.fileno()).st_ino} {device} {number} ".encode()
        record = owner + f"{log_number}\n".encode()
        known = os.pread(turn.fileno(), RECORD_BYTES, 0)
        if not known.startswith(record if is_open else owner):
            os.pwrite(turn.fileno(), record.ljust(RECORD_BYTES), 0)


def note_closed(place: Place) -> None:
    """Write down that there is no log, if there is none: its number may be given to another file.

    Then that would be taken for a log that was left beside a database which was put there since.
    """
    with suppress(OSError, NoDatabase):
        files = place.look()
        if files.log is None:
            note_log(place.file, files, is_open=True)
