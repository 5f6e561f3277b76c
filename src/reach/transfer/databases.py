"""The two databases of a copy, each in one transaction: a snapshot to read, a change to make."""

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from reach.db import postgres, sqlite_connection, sqlite_errors
from reach.db.errors import RESTORE, NoDatabase, Replaced
from reach.db.postgres_connection import FAILURES, LOST, Opener, PostgresConnection, Session
from reach.db.sqlite_files import Place
from reach.db.types import EPOCH
from reach.settings.database_url import DatabaseUrl
from reach.transfer.rows import Row, Shape

if TYPE_CHECKING:
    import asyncpg

Role = Literal["source", "target"]

BATCH_ROWS = 10_000
IN_USE = "The {} is in use. Stop all of Reach that runs on it, then run this again."
#: SQLite: how long a lock is waited for; what a source and a target keep in memory. A target's
#: indexes are written to all over, a source is read from one end to the other.
BUSY_SECONDS = 1
CACHE_KIB = {"source": 2 * 1024, "target": 64 * 1024}
#: Postgres: how long it may take to connect, to take leave, and until a lock is had.
CONNECT_SECONDS, CLOSE_SECONDS, LOCK_SECONDS = 10, 3, 10
LOCK_REFUSED = "55P03"
#: Server settings of a site must not cut a copy short.
SESSION = {
    "statement_timeout": "0",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": "0",
}
#: A setting that only Postgres 17 and later have.
NO_TIMEOUT = (
    "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'"
)
NAME = "reach db copy"
BEGIN = {
    "source": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "target": "BEGIN ISOLATION LEVEL READ COMMITTED",
}
MAY_NOT_READ = "The role may not read the source's tables: connect to the source as their owner."
HELD = (
    "Somebody is writing to the {}'s tables (see pg_stat_activity): end that, and run the same "
    "command again."
)
POOLED = (
    "A pooler (PgBouncer) is before the {}, and a copy needs a connection of its own: "
    "give it Postgres's own address."
)


class CannotCopy(Exception):
    """Something is in the way; ``args[0]`` says what, and what to do."""


class NotThere(CannotCopy):
    """There is no database of Reach at one of the two addresses: they are wrong, most likely."""


class Side(ABC):
    """One of the two databases. Each method raises CannotCopy."""

    #: Whether there is something to open; what is missing is made by migrating it.
    exists = True

    #: How a column of a kind is read as what it is in a ``Row``; as it is, if it is not here.
    read_as: ClassVar[Mapping[str, str]] = {}

    def __init__(self, role: Role, url: DatabaseUrl, ours: Sequence[str]) -> None:
        """Connect to nothing yet. ``ours`` names the tables that a target is to be filled with."""
        self.role = role
        self.url = url
        self.ours = ours

    @abstractmethod
    async def open(self) -> None:
        """Connect, and begin the transaction."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of the database; what is not committed is undone."""

    @abstractmethod
    async def own(self) -> None:
        """Let nobody else write to the target's tables until the transaction ends."""

    @abstractmethod
    async def tables(self) -> set[str]:
        """Name every table that there is, of ours or not."""

    @abstractmethod
    async def fetch(self, statement: str) -> list[Row]:
        """Run a statement that gives a few rows, or none."""

    @abstractmethod
    def rows(self, shape: Shape) -> AsyncIterator[list[Row]]:
        """Read a table, in batches."""

    @abstractmethod
    async def add(self, shape: Shape, rows: Sequence[Row]) -> None:
        """Insert rows."""

    @abstractmethod
    async def analyse(self) -> None:
        """Do what makes the first queries after a copy as quick as later ones."""

    @abstractmethod
    def explain(self, error: Exception) -> CannotCopy | None:
        """Say what the database failed with; None if it is not about the database."""

    @abstractmethod
    def is_about_values(self, error: Exception) -> bool:
        """Whether what was to be stored is at fault."""

    async def commit(self) -> None:
        """End the transaction well."""
        await self.fetch("COMMIT")

    def column(self, name: str, kind: str) -> str:
        """Write a column of a table ``t`` as what it is in a ``Row``."""
        return self.read_as.get(kind, 't."{}"').format(name)

    def select(self, shape: Shape) -> str:
        """Write the statement that reads a table."""
        columns = ", ".join(map(self.column, shape.columns, shape.kinds))
        return f'SELECT {columns} FROM "{shape.name}" AS t'

    @contextmanager
    def may_fail(self, table: str = "") -> Iterator[None]:
        """Turn the driver's failures, whose words may hold what is stored, into CannotCopy."""
        try:
            yield
        except CannotCopy:
            raise
        except Exception as error:
            explained = self.explain(error)
            if explained is None and table and self.is_about_values(error):
                explained = CannotCopy(
                    f"A row of {table} cannot be stored in the target "
                    f"({type(error).__name__}): it holds what that database has no place for."
                )
            if explained is None:
                raise
            raise explained from error


class SqliteSide(Side):
    """A SQLite file. It blocks the event loop, on which nothing else runs."""

    def __init__(self, role: Role, url: DatabaseUrl, ours: Sequence[str]) -> None:
        """Remember where the file is."""
        super().__init__(role, url, ours)
        self.file = Path(url.url.database or "")
        self._open: sqlite3.Connection | None = None

    @property
    def exists(self) -> bool:  # type: ignore[override]  # it may be made meanwhile
        """Whether there is such a file."""
        return self.file.exists()

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            raise AssertionError("not open")
        return self._open

    async def open(self) -> None:
        """Open the file, which is there. A target is locked: that fails while others have it."""
        with self.may_fail():
            self._open = sqlite_connection.opened(Place(self.file), timeout=BUSY_SECONDS)
            self._run(f"PRAGMA cache_size=-{CACHE_KIB[self.role]}")
            self._run("PRAGMA foreign_keys=ON")
            if self.role == "target":
                self._run("PRAGMA locking_mode=EXCLUSIVE")
            self._run("BEGIN" if self.role == "source" else "BEGIN EXCLUSIVE")
            self._run("SELECT 1 FROM sqlite_schema")  # what it sees now is the snapshot

    async def own(self) -> None:
        """Go on without the log, in which all would be written twice; the lock is kept.

        A copy that is killed is undone by the next who opens the file, who switches the log on.
        """
        with self.may_fail():
            for statement in ("COMMIT", "PRAGMA journal_mode=DELETE", "PRAGMA synchronous=FULL"):
                self._run(statement)
            self._run("BEGIN EXCLUSIVE")

    def _run(self, statement: str) -> None:
        self._connection.execute(statement).fetchall()

    async def close(self) -> None:
        """Undo what is not committed; a target gets its log back."""
        connection, self._open = self._open, None
        if connection is None:
            return
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if self.role == "target" and sqlite_connection.revision_of(connection) is not None:
                connection.execute("PRAGMA journal_mode=WAL").fetchall()
        except sqlite3.Error as error:  # a disk that is full, say: the next who opens it does it
            if self.explain(error) is None:
                raise
        finally:
            connection.close()

    async def tables(self) -> set[str]:
        """Name every table."""
        named = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%'"
        return {str(name) for (name,) in await self.fetch(f"{named} ESCAPE '\\'")}

    async def fetch(self, statement: str) -> list[Row]:
        """Run a statement."""
        with self.may_fail():
            return self._connection.execute(statement).fetchall()

    async def rows(self, shape: Shape) -> AsyncIterator[list[Row]]:
        """Read a table."""
        with self.may_fail():
            cursor = self._connection.execute(self.select(shape))
        while batch := self._next(cursor):
            yield batch
            await asyncio.sleep(0)  # Ctrl-C comes here

    def _next(self, cursor: sqlite3.Cursor) -> list[Row]:
        with self.may_fail():
            return cursor.fetchmany(BATCH_ROWS)

    async def add(self, shape: Shape, rows: Sequence[Row]) -> None:
        """Insert rows, by one statement that is compiled once."""
        columns = ", ".join(f'"{name}"' for name in shape.columns)
        places = ", ".join("?" for _ in shape.columns)
        insert = f'INSERT INTO "{shape.name}" ({columns}) VALUES ({places})'
        with self.may_fail(shape.name):
            self._connection.executemany(insert, rows)

    async def analyse(self) -> None:
        """Do nothing: its statistics come with the schema (migration 0008)."""

    def explain(self, error: Exception) -> CannotCopy | None:
        """Say what is wrong with the file, or with the disk that it is on."""
        if isinstance(error, Replaced):
            return CannotCopy(f"The {self.role} was replaced. {error.detail} {RESTORE}")
        missing = error.detail if isinstance(error, NoDatabase) else None
        missing = missing or sqlite_errors.no_database(error, self.file)
        if missing is not None:
            return NotThere(f"The {self.role} is not at {self.url}. {missing}")
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            return CannotCopy(IN_USE.format(self.role))
        reason = sqlite_errors.unavailable_reason(error, self.file)
        return CannotCopy(f"The {self.role} is unavailable. {reason}") if reason else None

    def is_about_values(self, error: Exception) -> bool:
        """Whether what was to be stored is at fault."""
        return isinstance(
            error, sqlite3.DataError | sqlite3.IntegrityError | sqlite3.InterfaceError
        )


class PostgresSide(Side):
    """One connection, with asyncpg itself: COPY is what it has and SQLAlchemy has not."""

    #: As SQLite stores it.
    read_as: ClassVar[Mapping[str, str]] = {
        "time": '(extract(epoch FROM t."{}") * 1000000)::bigint',
        "key": 't."{}"::text',
        "document": 't."{}"::text',
    }
    _open: PostgresConnection | None = None

    @property
    def _connection(self) -> PostgresConnection:
        if self._open is None:
            raise AssertionError("not open")
        return self._open

    async def open(self) -> None:
        """Connect."""
        opener = Opener(self.url, Session(NAME, SESSION), seconds=CONNECT_SECONDS)
        with self.may_fail():
            self._open = await opener.open()
        if self._open.is_shared:
            raise CannotCopy(POOLED.format(self.role))
        await self.fetch(NO_TIMEOUT)
        await self.fetch(BEGIN[self.role])

    async def close(self) -> None:
        """Disconnect, which undoes what is not committed; a server that is silent is left."""
        connection, self._open = self._open, None
        if connection is not None:
            with suppress(*FAILURES):
                await connection.close(timeout=CLOSE_SECONDS)

    async def own(self) -> None:
        """Lock the tables: who wants to write waits, or is told 503; who reads sees them empty."""
        names = ", ".join(f'"{name}"' for name in self.ours)
        await self.fetch(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")

    async def tables(self) -> set[str]:
        """Name every table where ours would be made."""
        named = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()"
        return {str(name) for (name,) in await self.fetch(named)}

    async def fetch(self, statement: str) -> list[Row]:
        """Run a statement."""
        with self.may_fail():
            return [tuple(row) for row in await self._connection.fetch(statement)]

    async def rows(self, shape: Shape) -> AsyncIterator[list[Row]]:
        """Read a table through a cursor."""
        with self.may_fail():
            cursor = await self._connection.cursor(self.select(shape))
        while batch := await self._next(cursor):
            yield batch

    async def _next(self, cursor: "asyncpg.cursor.Cursor[Any]") -> list[Row]:
        with self.may_fail():
            return [tuple(row) for row in await cursor.fetch(BATCH_ROWS)]

    async def add(self, shape: Shape, rows: Sequence[Row]) -> None:
        """Insert rows by COPY."""
        times = [n for n, kind in enumerate(shape.kinds) if kind == "time"]
        with self.may_fail(shape.name):
            await self._connection.copy_records_to_table(
                shape.name, columns=shape.columns, records=[_as_stored(row, times) for row in rows]
            )

    async def analyse(self) -> None:
        """Let the planner know: by itself the server may come to it in minutes."""
        names = ", ".join(f'"{name}"' for name in self.ours)
        await self.fetch(f"ANALYZE {names}")

    def explain(self, error: Exception) -> CannotCopy | None:
        """Say what the role may not do, who is in the way, or how the server is unavailable."""
        state = postgres.sqlstate(error)
        if state == LOCK_REFUSED:
            return CannotCopy(HELD.format(self.role))
        if state in postgres.REFUSED_CODES:
            return CannotCopy(postgres.MAY_NOT_CREATE if self.role == "target" else MAY_NOT_READ)
        missing = postgres.no_database(error)
        if missing is not None:
            return NotThere(f"The {self.role} is not at {self.url}. {missing}")
        is_lost = isinstance(error, LOST) and not isinstance(error, ValueError)
        is_lost = is_lost or isinstance(error, OSError)
        codes = postgres.UNAVAILABLE_CODES + postgres.CONFLICT_CODES
        if is_lost or state[:2] in postgres.UNAVAILABLE_CLASSES or state in codes:
            reason = postgres.unavailable_reason(error) or "The connection to it was lost."
            return CannotCopy(f"The {self.role} is unavailable. {reason}")
        return None

    def is_about_values(self, error: Exception) -> bool:
        """Whether what was to be stored is at fault: class 22 is of data, 23 of constraints.

        What asyncpg itself cannot write down is a ValueError.
        """
        return isinstance(error, ValueError) or postgres.sqlstate(error)[:2] in ("22", "23")


def _as_stored(row: Row, times: Sequence[int]) -> Sequence[object]:
    """Write times as times; a key may stay text."""
    values: list[object] = list(row)
    for n in times:
        at = values[n]
        if isinstance(at, int):
            values[n] = EPOCH + timedelta(microseconds=at)
    return values
