"""What an error of SQLite's means: no database, one that is unavailable, or a fault of ours.

Why a file cannot be opened the system says, and SQLite does not pass it on.
"""

import errno
import os
import re
import sqlite3
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from reach.db.errors import DISK_FULL, NO_FILE, NO_FOLDER

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

UNMIGRATED = re.compile(r"no such (table|column): |table \w+ has no column named ")
#: Primary result codes that mean "not now", with what to say about each.
UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "It is locked by another program.",
    sqlite3.SQLITE_LOCKED: "It is locked by another program.",
    sqlite3.SQLITE_READONLY: "It cannot be written to.",
    sqlite3.SQLITE_IOERR: DISK_SILENT,
    sqlite3.SQLITE_FULL: DISK_FULL,
    sqlite3.SQLITE_CANTOPEN: NOT_OPENED,
    sqlite3.SQLITE_NOMEM: "It is out of memory.",
    sqlite3.SQLITE_CORRUPT: "Its file is damaged.",
    sqlite3.SQLITE_NOTADB: "Its file is damaged.",
}
#: What else SQLite says of a file beside the database that the system did not give it.
NOT_MAPPED = (
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMMAP,
    sqlite3.SQLITE_READONLY_CANTINIT,
    sqlite3.SQLITE_READONLY_DIRECTORY,
)

NOT_ALLOWED = "This user may not read and write it."
#: Of these, what is said of a file that can be read all the same, and takes no writes.
UNWRITABLE = {
    UNAVAILABLE[sqlite3.SQLITE_READONLY],
    DISK_FULL,
    QUOTA_FULL,
    READ_ONLY,
    DISK_SILENT,
    FOLDER_CLOSED,
}


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


def is_unmigrated(error: BaseException) -> bool:
    """Whether it is about a table or a column that is not there yet."""
    return UNMIGRATED.match(str(getattr(error, "orig", error))) is not None


def no_database(error: BaseException, file: Path) -> str | None:
    """Say why there is no database at ``file``; None if the error is something else."""
    cause = (error.orig or error) if isinstance(error, DBAPIError) else error
    code: Any = getattr(cause, "sqlite_errorcode", 0)
    if code & 0xFF == sqlite3.SQLITE_NOTADB:
        return "It is no SQLite database: it is another program's file, or it is damaged."
    if isinstance(cause, OSError) or code & 0xFF == sqlite3.SQLITE_CANTOPEN:
        return _why_not_found(file)
    return None


def _why_not_found(file: Path) -> str | None:
    """Say why a file is not there for this user; None if it is, or the system does not say."""
    try:
        os.lstat(file)
    except (FileNotFoundError, NotADirectoryError):
        return NO_FILE if os.path.isdir(file.parent) else NO_FOLDER
    except PermissionError:
        return NOT_ALLOWED
    except OSError:
        return None
    return None if os.access(file, os.R_OK | os.W_OK) else NOT_ALLOWED


def unavailable_reason(error: BaseException, file: Path) -> str | None:
    """Say why the database ``file`` is unavailable; None if the error is something else."""
    if isinstance(error, DBAPIError):
        error = error.orig or error
    if isinstance(error, OSError):
        return words_for(error)
    code: Any = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    is_unopened = code & 0xFF == sqlite3.SQLITE_CANTOPEN or code in NOT_MAPPED
    return (why_not_opened(file) if is_unopened else None) or UNAVAILABLE.get(code & 0xFF)
