"""Writers of several processes take turns at a SQLite file.

SQLite's own busy wait polls, and starves one of two busy processes. The lock file orders our
own writers; SQLite's lock still guards against everybody else's.

In the lock file it is written down which log belongs to which database, for processes that start
later: a log says nothing of it.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reach.db.errors import NoDatabase, Replaced
from reach.db.sqlite_files import REPLACED, Files, Place

#: The lock file itself (a copy of it, with its neighbours, has another number), then their device,
#: and the numbers of database and log; 0: no log.
RECORD = re.compile(rb"(\d+) (\d+) (\d+) (\d+)\n")
RECORD_BYTES = 100


@contextmanager
def take_turn(database: Path, *, waits: bool = True) -> Iterator[None]:
    """Wait for this process's turn to write to ``database``. Raises OSError.

    BlockingIOError if it ``waits`` for nobody, and it is another's.
    """
    with _opened(database, os.O_CREAT) as turn:
        fcntl.flock(turn, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def require_own_log(database: Path, files: Files) -> None:
    """Refuse a database beside a log that is known to be another's. Raises Replaced."""
    with suppress(OSError), _opened(database) as turn:
        device, number = files.database
        known = RECORD.match(os.pread(turn, RECORD_BYTES, 0))
        if known is None or files.log is None:
            return
        itself, its_device, its_number, its_log = map(int, known.groups())
        is_of_here = (itself, its_device) == (os.fstat(turn).st_ino, device)
        if is_of_here and files.log[1] == its_log and number != its_number:
            raise Replaced(REPLACED)


def note_log(database: Path, files: Files, *, is_open: bool) -> None:
    """Write down whose the log is; before it is opened, of another database than before: nobody's.

    Best effort: where it cannot be written, only processes that run notice.
    """
    device, number = files.database
    log = files.log[1] if is_open and files.log is not None else 0
    with suppress(OSError), _opened(database) as turn:
        owner = f"{os.fstat(turn).st_ino} {device} {number} ".encode()
        record = owner + f"{log}\n".encode()
        if not os.pread(turn, RECORD_BYTES, 0).startswith(record if is_open else owner):
            os.pwrite(turn, record.ljust(RECORD_BYTES), 0)


def note_closed(place: Place) -> None:
    """Write down that there is no log, if there is none: its number may be given to another file.

    Then that would be taken for a log that was left beside a database which was put there since.
    """
    with suppress(OSError, NoDatabase):
        files = place.look()
        if files.log is None:
            note_log(place.file, files, is_open=True)


@contextmanager
def _opened(database: Path, flags: int = 0) -> Iterator[int]:
    turn = os.open(f"{database}-turn", flags | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        yield turn
    finally:
        os.close(turn)
