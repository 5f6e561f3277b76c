"""A SQLite file, as a copy's source or target: nobody else has it meanwhile."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from reach.db.copy.rows import Row, Shape
from reach.db.copy.side import BATCH_ROWS, IN_USE, CannotCopy, Role, Side
from reach.db.errors import RESTORE, NoDatabase, Replaced
from reach.db.sqlite_connection import opened
from reach.db.sqlite_errors import no_database, unavailable_reason
from reach.db.sqlite_files import Place
from reach.settings.urls import DatabaseUrl

BUSY_SECONDS = 1
CACHE_KIB, SMALL_CACHE_KIB = 64 * 1024, 2 * 1024


class SqliteSide(Side):
    """It blocks the event loop, on which nothing else runs.

    Locked as a whole (``locking_mode=EXCLUSIVE``), which fails while anybody has it open: so
    neither can Reach be running on it, nor be started.
    """

    def __init__(self, role: Role, url: DatabaseUrl) -> None:
        """Remember where the file is."""
        super().__init__(role, url)
        self.file = Path(url.url.database or "")
        self._open: sqlite3.Connection | None = None

    @property
    def identity(self) -> str:
        """The file's whole path."""
        return f"sqlite:///{self.file.resolve()}"

    @property
    def exists(self) -> bool:
        """Whether there is such a file."""
        return self.file.exists()

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            raise AssertionError("not open")
        return self._open

    async def open(self) -> None:
        """Open the file, which is there, and lock it."""
        with self.may_fail():
            self._open = opened(Place(self.file), timeout=BUSY_SECONDS)
        try:
            self._lock()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise CannotCopy(f"The {self.role} is in use. {IN_USE}") from error
            with self.may_fail():
                raise

    def _lock(self) -> None:
        """A WAL connection keeps a shared lock for its life: nobody's is left if this succeeds."""
        for statement in (
            "PRAGMA locking_mode=EXCLUSIVE",
            "BEGIN EXCLUSIVE",
            "SELECT 1 FROM sqlite_schema",
            "COMMIT",
            "PRAGMA synchronous=FULL",
            "PRAGMA foreign_keys=ON",
            "PRAGMA secure_delete=ON",
            # Its indexes are written to all over; a source is read from one end to the other.
            f"PRAGMA cache_size=-{CACHE_KIB if self.role == 'target' else SMALL_CACHE_KIB}",
        ):
            self._connection.execute(statement).fetchall()

    async def close(self) -> None:
        """Close the file."""
        connection, self._open = self._open, None
        if connection is not None:
            connection.close()

    async def hold(self, tables: Sequence[str]) -> None:  # noqa: ARG002 - it is locked as a whole
        """Read it all in one transaction."""
        await self.execute("BEGIN")

    async def tables(self) -> set[str]:
        """Name every table."""
        named = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%'"
        return {str(name) for (name,) in await self.fetch(f"{named} ESCAPE '\\'")}

    async def fetch(self, statement: str, *arguments: object) -> list[Row]:
        """Run a statement that gives a few rows."""
        with self.may_fail():
            return self._connection.execute(_marked(statement), arguments).fetchall()

    async def execute(self, statement: str, *arguments: object) -> None:
        """Run one that gives none."""
        with self.may_fail():
            self._connection.execute(_marked(statement), arguments).close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Commit what is done in it; a failure undoes it."""
        await self.execute("BEGIN IMMEDIATE")
        try:
            yield
            await self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    async def rows(
        self, shape: Shape, *, after: Row | None = None, upto: Row | None = None
    ) -> AsyncIterator[list[Row]]:
        """Read a table."""
        statement, arguments = self.select(shape, after, upto)
        with self.may_fail():
            cursor = self._connection.execute(_marked(statement), arguments)
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
        insert = f'INSERT INTO "{shape.name}" ({columns}) VALUES ({places})'  # noqa: S608 - ours
        with self.may_fail(shape.name):
            self._connection.executemany(insert, rows)

    async def empty(self, tables: Sequence[str]) -> None:
        """Delete all rows."""
        for table in reversed(tables):
            await self.execute(f'DELETE FROM "{table}"')  # noqa: S608 - ours

    async def guard(self, tables: Sequence[str]) -> None:
        """Nothing to do: it is locked; between two runs, Reach looks at the mark when it opens."""

    async def unguard(self) -> None:
        """Nothing to undo."""

    async def tidy(self) -> None:
        """Nothing is left."""

    async def record(self, tables: Sequence[str]) -> None:
        """Nothing to do: its statistics come with the schema (migration 0002)."""

    def read_as(self, column: str, kind: str) -> str:  # noqa: ARG002 - Postgres's side needs it
        """As it is stored."""
        return f't."{column}"'

    def nowhere(self, error: Exception) -> str | None:
        """Say why the file is none."""
        return error.detail if isinstance(error, NoDatabase) else no_database(error, self.file)

    def reason(self, error: Exception) -> str | None:
        """Say in what way the file is away."""
        return unavailable_reason(error, self.file)

    def refusal(self, error: Exception) -> str | None:
        """Refuse a file that does not fit to its log: it knows no roles."""
        if isinstance(error, Replaced):
            return f"The {self.role} was replaced. {error.detail} {RESTORE}"
        return None

    def is_about_values(self, error: Exception) -> bool:
        """Whether what was to be stored is at fault."""
        return isinstance(
            error, sqlite3.DataError | sqlite3.IntegrityError | sqlite3.InterfaceError
        )


def _marked(statement: str) -> str:
    return re.sub(r"\$\d+", "?", statement)
