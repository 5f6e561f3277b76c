"""The database, as a command uses it: one question after the other."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reach.cli.output import database_of
from reach.settings import Settings

if TYPE_CHECKING:
    from reach.db.database import Database


class _Undone(Exception):
    """Ends a transaction that is only tried, with what it came to."""

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result


class Connection:
    """A database whose transactions are run one by one, each to its end.

    A running Reach beside it hears of what is committed here, as of what any other process commits.
    """

    def __init__(self, database: "Database", runner: asyncio.Runner) -> None:
        """Take the database, and the event loop that it lives in."""
        self._database = database
        self._runner = runner

    def read(self, fn: Any, *arguments: Any, **named: Any) -> Any:
        """Run ``fn(tx, …)`` in a read-only transaction. Raises Problem."""
        return self._runner.run(self._database.read(fn, *arguments, **named))

    def write(self, fn: Any, *arguments: Any, **named: Any) -> Any:
        """Run ``fn(tx, …)`` in a transaction, committed when this returns. Raises Problem."""
        return self._runner.run(self._database.write(fn, *arguments, **named))

    def rehearse(self, fn: Any, *arguments: Any, **named: Any) -> Any:
        """Run ``fn(tx, …)``, and undo it: what it gives is what it would give. Raises Problem."""

        def run(tx: Any) -> None:
            raise _Undone(fn(tx, *arguments, **named))

        try:
            self.write(run)
        except _Undone as undone:
            return undone.result

    def scrub(self) -> None:
        """Make sure that no file still holds what was deleted."""
        self._runner.run(self._database.scrub())


@contextmanager
def connected(settings: Settings) -> Iterator[Connection]:
    """Open the database for a command; it ends with 2 where there is none of Reach's."""
    from reach.db.connect import open_database
    from reach.db.schema import require_database

    with database_of(settings), asyncio.Runner() as runner:
        database = open_database(settings)
        connection = Connection(database, runner)
        try:
            connection.read(require_database)
            yield connection
        finally:
            runner.run(database.close())
