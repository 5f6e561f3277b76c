"""Databases to copy between, looked into by SQL of our own; and copying in this process."""

import asyncio
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from reach.db.schema import newest
from reach.settings.database_url import DatabaseUrl
from reach.transfer import Watcher
from reach.transfer.copy import KEPT, copy
from tests.support.databases import elsewhere


@dataclass(frozen=True)
class Place:
    """A database, of either kind."""

    url: str

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self.url.startswith("sqlite")

    @property
    def file(self) -> Path:
        """The file, of SQLite."""
        return Path(self.url.removeprefix("sqlite:///"))

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements; what the last one gives."""
        if self.is_sqlite:
            with closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
                connection.execute("PRAGMA foreign_keys=ON")
                return [connection.execute(one).fetchall() for one in statements][-1]

        async def fetch() -> list[tuple[Any, ...]]:
            connection = await asyncpg.connect(self.url, timeout=20)
            try:
                return [[tuple(row) for row in await connection.fetch(one)] for one in statements][
                    -1
                ]
            finally:
                await connection.close()

        return elsewhere(fetch())

    def count(self, table: str) -> int:
        """How many rows a table has."""
        ((found,),) = self.run(f"SELECT count(*) FROM {table}")
        return int(found)

    @property
    def revision(self) -> str:
        """What it says that it is at."""
        ((found,),) = self.run("SELECT version_num FROM alembic_version")
        return str(found)

    def on_adding(self, table: str, n: int, statement: str) -> None:
        """Have a statement run when the row of a number is added: something happens to it."""
        group = {"people": "8000", "messages": "9000", "attempts": "a000"}[table]
        id_ = f"'01900000-0000-7000-{group}-{n:012x}'"
        if self.is_sqlite:
            self.run(
                f"CREATE TRIGGER test AFTER INSERT ON {table} WHEN NEW.id = {id_} "
                f"BEGIN {statement}; END"
            )
            return
        self.run(
            "CREATE FUNCTION test() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {statement}; RETURN NULL; END $$",
            f"CREATE TRIGGER test AFTER INSERT ON {table} FOR EACH ROW WHEN (NEW.id = {id_}) "
            "EXECUTE FUNCTION test()",
        )

    def get_stuck(self, table: str, n: int) -> None:
        """Have nothing go on when the row of a number is added."""
        endless = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n)"
        statement = f"SELECT count(*) FROM ({endless} SELECT n FROM n)"
        self.on_adding(table, n, statement if self.is_sqlite else "PERFORM pg_sleep(100000)")

    def be_well(self, table: str) -> None:
        """Have nothing happen any more."""
        on = "" if self.is_sqlite else f" ON {table}"
        self.run(f"DROP TRIGGER test{on}")
        if not self.is_sqlite:
            self.run("DROP FUNCTION test()")


def copied(source: Place, target: Place, watcher: Watcher | None = None) -> Mapping[str, int]:
    """Copy in this process; how many rows each table has."""

    async def run() -> Mapping[str, int]:
        source_url, target_url = map(DatabaseUrl.parse, (source.url, target.url))
        return await copy(source_url, target_url, watcher or Watcher())

    return asyncio.run(run())


def is_untouched(target: Place) -> bool:
    """Whether a target has no row, and may be used."""
    counted = "SELECT coalesce(sum(count), 0) FROM counters"
    return (
        target.run(counted) == [(0,)]
        and not any(target.count(table.name) for table in KEPT)
        and target.revision == newest()
    )


class Noted(Watcher):
    """Keeps what it is told."""

    def __init__(self) -> None:
        """Nothing yet."""
        super().__init__()
        self.noted: list[str] = []

    def note(self, text: str) -> None:
        """Keep it."""
        self.noted.append(text)
