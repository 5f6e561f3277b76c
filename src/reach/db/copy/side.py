"""What a database must do to be copied from, or into."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Literal

from reach.db.copy.rows import Row, Shape
from reach.settings.urls import DatabaseUrl

Role = Literal["source", "target"]

BATCH_ROWS = 10_000
IN_USE = "Stop all of Reach that runs on it, then run this again."


class CannotCopy(Exception):  # noqa: N818 - an expected failure
    """Something is in the way; ``args[0]`` says what, and what to do."""


class NotThere(CannotCopy):
    """There is no database of Reach at one of the two addresses: they are wrong, most likely."""


class Side(ABC):
    """One of the two databases. Each method raises CannotCopy.

    Statements have their parameters in order: $1, $2, ….
    """

    def __init__(self, role: Role, url: DatabaseUrl) -> None:
        """Connect to nothing yet."""
        self.role = role
        self.url = url

    @property
    @abstractmethod
    def identity(self) -> str:
        """What tells this database from another, without its credentials."""

    @property
    @abstractmethod
    def exists(self) -> bool:
        """Whether there is something to open; what is missing is made by migrating it."""

    @abstractmethod
    async def open(self) -> None:
        """Connect, and keep others from copying into the same target."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of it; what is not committed is lost."""

    @abstractmethod
    async def hold(self, tables: Sequence[str]) -> None:
        """Let nobody write to the source until it is closed, and read it as it is now."""

    @abstractmethod
    async def tables(self) -> set[str]:
        """Name every table that there is, whoever made it."""

    @abstractmethod
    async def fetch(self, statement: str, *arguments: object) -> list[Row]:
        """Run a statement that gives a few rows."""

    @abstractmethod
    async def execute(self, statement: str, *arguments: object) -> None:
        """Run one that gives none."""

    @abstractmethod
    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """Commit what is done in it, all or nothing."""

    @abstractmethod
    def rows(
        self, shape: Shape, *, after: Row | None = None, upto: Row | None = None
    ) -> AsyncIterator[list[Row]]:
        """Read a table, sorted by its key, in batches, within a transaction."""

    @abstractmethod
    async def add(self, shape: Shape, rows: Sequence[Row]) -> None:
        """Insert rows."""

    @abstractmethod
    async def empty(self, tables: Sequence[str]) -> None:
        """Delete all rows of ``tables``, those that others refer to being first."""

    @abstractmethod
    async def guard(self, tables: Sequence[str]) -> None:
        """Let nobody but a copy write to ``tables``, from the caller's transaction on."""

    @abstractmethod
    async def unguard(self) -> None:
        """Let everybody, in the caller's transaction; whoever reads is not waited for."""

    @abstractmethod
    async def tidy(self) -> None:
        """Remove what is left of guarding, once all is committed, and nobody is in the way."""

    @abstractmethod
    async def record(self, tables: Sequence[str]) -> None:
        """Do what makes the first queries after a copy as quick as later ones."""

    @abstractmethod
    def read_as(self, column: str, kind: str) -> str:
        """Write a column as what it is in a ``Row``."""

    @contextmanager
    def may_fail(self, table: str = "") -> Iterator[None]:
        """Turn the driver's failures, whose words may hold what is stored, into CannotCopy."""
        try:
            yield
        except CannotCopy:
            raise
        except Exception as error:
            refusal = self.refusal(error)
            if refusal is not None:
                raise CannotCopy(refusal) from error
            nowhere = self.nowhere(error)
            if nowhere is not None:
                raise NotThere(f"The {self.role} is not at {self.url}. {nowhere}") from error
            reason = self.reason(error)
            if reason is not None:
                raise CannotCopy(f"The {self.role} is away. {reason}") from error
            if table and self.is_about_values(error):
                raise CannotCopy(
                    f"A row of {table} cannot be stored in the target "
                    f"({type(error).__name__}): it holds what that database has no place for."
                ) from error
            raise

    @abstractmethod
    def nowhere(self, error: Exception) -> str | None:
        """Say why there is no database, or none for us; None if the error is something else."""

    @abstractmethod
    def reason(self, error: Exception) -> str | None:
        """Say in what way the database is away; None if the error is something else."""

    @abstractmethod
    def refusal(self, error: Exception) -> str | None:
        """Say what the database does not let us do; None if the error is something else."""

    @abstractmethod
    def is_about_values(self, error: Exception) -> bool:
        """Whether what was to be stored is at fault."""

    def select(self, shape: Shape, after: Row | None, upto: Row | None) -> tuple[str, list[Any]]:
        """Write the statement that reads a table by its key."""
        columns = ", ".join(map(self.read_as, shape.columns, shape.kinds))
        key = ", ".join(f't."{name}"' for name in shape.key)
        bounds, arguments = [], list[Any]()
        for sign, bound in ((">", after), ("<=", upto)):
            if bound is not None:
                first = len(arguments) + 1
                places = ", ".join(f"${n}" for n in range(first, first + len(bound)))
                bounds.append(f"({key}) {sign} ({places})")
                arguments += bound
        where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
        return f'SELECT {columns} FROM "{shape.name}" AS t{where} ORDER BY {key}', arguments  # noqa: S608 - ours
