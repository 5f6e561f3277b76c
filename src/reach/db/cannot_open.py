"""Why a file of SQLite's cannot be opened: the system says it, and SQLite does not pass it on."""

import errno
import os
from contextlib import ExitStack
from pathlib import Path

from reach.db.errors import DISK_FULL

DISK_SILENT = "Its disk does not answer as it should."
QUOTA_FULL = "The disk quota of this user is used up."
READ_ONLY = "Its file system is mounted read-only."
NOT_OPENED = "Its file cannot be opened."
FOLDER_CLOSED = "This user may not write to its folder."
BESIDE_CLOSED = "This user may not read and write the files beside it (-wal, -shm, -turn)."

#: What the system says, in words. What is not here is told in the system's own.
WORDS = {
    errno.EMFILE: (
        "This process has as many files open as it may have: raise its limit (ulimit -n)."
    ),
    errno.ENFILE: "This machine has as many files open as it can have (fs.file-max).",
    errno.ENOSPC: DISK_FULL,
    errno.EDQUOT: QUOTA_FULL,
    errno.EROFS: READ_ONLY,
    errno.EIO: DISK_SILENT,
    errno.ENOMEM: "It is out of memory.",
    errno.EACCES: FOLDER_CLOSED,
    errno.EPERM: FOLDER_CLOSED,
    errno.ENOENT: NOT_OPENED,
    errno.ESTALE: "Its file server has forgotten it.",
}
#: How many files SQLite opens for one database: itself, its log and the log's index, and what is
#: looked at beside them.
OPENED_TOGETHER = 4

#: Of these, what is said of a file that can be read all the same, and takes no writes.
UNWRITABLE = {DISK_FULL, QUOTA_FULL, READ_ONLY, DISK_SILENT, FOLDER_CLOSED}


def words_for(error: OSError) -> str:
    """Say what the system said about a file."""
    known = WORDS.get(error.errno or 0)
    return known or f"The system says of its files: {error.strerror or type(error).__name__}."


def why_not_opened(file: Path) -> str | None:
    """Find out why SQLite could not open ``file`` or what it keeps beside it; None if unknown.

    The database itself is never opened for that: to close it would end every lock that SQLite has
    on it in this process.
    """
    try:
        _open_as_many(file.parent)
        is_mounted_read_only = bool(os.statvfs(file.parent).f_flag & os.ST_RDONLY)
    except OSError as error:
        return words_for(error)
    if is_mounted_read_only:
        return READ_ONLY
    beside = [Path(f"{os.path.realpath(file)}{kind}") for kind in ("-wal", "-shm", "-journal")]
    if not all(_may_use(found) for found in beside if os.path.lexists(found)):
        return BESIDE_CLOSED
    return None if os.access(beside[0].parent, os.W_OK | os.X_OK) else FOLDER_CLOSED


def _open_as_many(folder: Path) -> None:
    """Take as many descriptors at a time as SQLite does, which has given back what it could get."""
    with ExitStack() as taken:
        for _ in range(OPENED_TOGETHER):
            found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            taken.callback(os.close, found)


def _may_use(file: Path) -> bool:
    return os.access(file, os.R_OK | os.W_OK)
