"""A SQLite file's connections: how one is opened."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, create_engine, event

from reach.db import tracing
from reach.db.errors import OTHERS, REVISION, NoDatabase
from reach.db.sqlite_errors import no_database
from reach.db.sqlite_files import Header, Place, note_log, require_own_log
from reach.db.sqlite_wal import switch_on
from reach.db.transaction import Transaction

#: See ``enlarge_cache``.
LARGE_CACHE_KIB = 32 * 1024


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

    # IMMEDIATE: a transaction that reads first and writes later could fail with a lock that no busy
    # wait helps against.
    statement = "BEGIN IMMEDIATE" if writes else "BEGIN"
    event.listen(engine, "begin", partial(Connection.exec_driver_sql, statement=statement))
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


def enlarge_cache(tx: Transaction) -> None:
    """Have room for the pages of a transaction that adds many rows; Postgres has its own.

    SQLite's 2 MB are fewer than such a transaction changes: some would be written, and read, more
    than once. It is for a connection of a process of its own: those that serve must stay small.
    """
    if tx.dialect.name == "sqlite":
        tx.exec_driver_sql(f"PRAGMA cache_size=-{LARGE_CACHE_KIB}")


def revision_of(connection: Any) -> str | None:
    """Which schema a file says it has; None if it is not Reach's. Asked of the driver itself."""
    named = "SELECT name FROM sqlite_schema WHERE name = 'alembic_version'"
    if connection.execute(named).fetchone() is None:
        return None
    (found,) = connection.execute("SELECT max(version_num) FROM alembic_version").fetchone()
    return str(found) if REVISION.fullmatch(str(found)) else None


def require_ours(file: Path) -> None:
    """Refuse to change a file of another program. Raises NoDatabase, Replaced."""
    if not os.path.isfile(file):
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
