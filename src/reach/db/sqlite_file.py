"""The SQLite file: how it is opened, and why it is away."""

import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from reach.db import cannot_open, tracing
from reach.db.errors import COPYING, DISK_FULL, NO_FILE, NO_FOLDER, OTHERS, REVISION, NoDatabase
from reach.db.sqlite_errors import DISK_SILENT, NOT_OPENED, why_not_opened, words_for
from reach.db.sqlite_files import Header, Place, note_log, require_own_log
from reach.db.sqlite_wal import switch_on

UNMIGRATED = re.compile(r"no such (table|column): |table \w+ has no column named ")
#: Primary result codes that mean "not now", with what to say about each.
AWAY = {
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
#: Of these, what a file says that can be read all the same, and takes no writes.
UNWRITABLE = {AWAY[sqlite3.SQLITE_READONLY], *cannot_open.UNWRITABLE}


def create(place: Place, *, busy_seconds: float, writes: bool, make: bool = False) -> Engine:
    """Build an engine whose connections keep Reach's rules.

    ``make`` creates a missing file (0600); otherwise that is an error: an empty database that
    nobody asked for would hide a wrong path. Connecting raises NoDatabase, Replaced too.
    """
    file = place.file

    def connect() -> sqlite3.Connection:
        if make:
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        return opened(
            place,
            partial(_prepare, writes=writes, make=make),
            timeout=busy_seconds,
            check_same_thread=False,
            cached_statements=256,
        )

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)
    tracing.watch(engine)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # IMMEDIATE: a transaction that reads first and writes later could fail with a lock
        # that no busy wait helps against.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def opened(
    place: Place, prepare: Callable[[sqlite3.Connection], None] | None = None, **options: Any
) -> sqlite3.Connection:
    """Open a file that is there, unless it does not fit to its log.

    Transactions begin as their owners say, not as the driver guesses. Raises NoDatabase, Replaced,
    and what sqlite3 raises.
    """
    file, files = place.file, place.look()
    require_own_log(file, files)
    note_log(file, files, is_open=False)
    address = f"{file.absolute().as_uri()}?mode=rw"
    connection: sqlite3.Connection
    connection = sqlite3.connect(address, uri=True, isolation_level=None, **options)
    try:
        place.require_whole(Header(files.database), files)
        if prepare is not None:
            prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, *, writes: bool, make: bool) -> None:
    """Set what a connection keeps for its life."""
    if writes and not make and revision_of(connection):  # another program's is left as it is
        switch_on(connection)
    for pragma in (
        "journal_mode=WAL" if make else "wal_autocheckpoint=1000",
        "synchronous=FULL",
        "foreign_keys=ON",
        "secure_delete=ON",
        "journal_size_limit=67108864",
        f"query_only={'OFF' if writes else 'ON'}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def revision_of(connection: Any) -> str | None:
    """Which schema a file says it has; None if it is not Reach's. Asked of the driver itself."""
    named = "SELECT name FROM sqlite_schema WHERE name = 'alembic_version'"
    if connection.execute(named).fetchone() is None:
        return None
    (found,) = connection.execute("SELECT max(version_num) FROM alembic_version").fetchone()
    return str(found) if found == COPYING or REVISION.fullmatch(str(found)) else None


def is_half_copied(connection: Any) -> bool:
    """Whether a file holds an unfinished copy; asked of the driver itself."""
    return revision_of(connection) == COPYING


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
        return NO_FILE if os.path.isdir(file.parent) else NO_FOLDER  # noqa: PTH112 - never raises
    except PermissionError:
        return NOT_ALLOWED
    except OSError:
        return None
    return None if os.access(file, os.R_OK | os.W_OK) else NOT_ALLOWED


def require_ours(file: Path) -> None:
    """Refuse to change a file of another program. Raises NoDatabase, Replaced."""
    if not os.path.isfile(file):  # noqa: PTH113 - it never raises
        return
    require_own_log(file, Place(file).look())
    address = f"{file.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=0)) as connection:
            (tables,) = connection.execute(
                "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            ).fetchone()
            if tables and not revision_of(connection):
                raise NoDatabase(OTHERS)
    except sqlite3.Error as error:
        if (reason := no_database(error, file)) is not None:
            raise NoDatabase(reason) from error


def unavailable_reason(error: BaseException, file: Path) -> str | None:
    """Say in what way the database ``file`` is away; None if the error is something else."""
    if isinstance(error, DBAPIError):
        error = error.orig or error
    if isinstance(error, OSError):
        return words_for(error)
    code: Any = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    is_unopened = code & 0xFF == sqlite3.SQLITE_CANTOPEN or code in NOT_MAPPED
    return (why_not_opened(file) if is_unopened else None) or AWAY.get(code & 0xFF)
