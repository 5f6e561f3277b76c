"""A large database to ask: so many people, a message and an audit entry of each, some keys.

They are made up, the same in each run, and written past Reach; the worker's index of people is made
as a worker makes it.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import func, select, text

from benchmarks.names import FIRST, LAST, PROVIDERS
from reach.auth import audit, keys
from reach.db.connect import open_database
from reach.db.transaction import Transaction
from reach.db.types import EPOCH, MICROSECOND
from reach.people.indexing import Indexing
from reach.people.model import people
from reach.settings import Settings

AT_ONCE, KEYS = 20_000, 1000
#: When the first of them signed up; all have, by yesterday.
YEARS = timedelta(days=730)
#: How many fifths of them have confirmed their address.
CONFIRMED_FIFTHS = 3
ACTORS = [str(UUID(int=n)) for n in range(20)]

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Table:
    """What is put into a table: its columns, which of them are times, and a row by its number."""

    name: str
    columns: str
    times: Sequence[int]
    row: Callable[[int], Row]


class Rows:
    """Made-up rows, the same in each run."""

    def __init__(self, count: int, began: datetime | None = None) -> None:
        """Spread so many over two years; ``began`` is when the first of a kept database came."""
        self.count = count
        self.began = began or datetime.now(UTC) - YEARS - timedelta(days=1)
        self.step = YEARS / count

    @property
    def tables(self) -> Sequence[Table]:
        """All that is filled, those that others refer to first."""
        return (
            Table("people", PEOPLE, (7, 8, 9), self.person),
            Table("messages", MESSAGES, (6, 12, 13), self.message),
            Table("audit", AUDIT, (1,), self.entry),
        )

    def at(self, n: int) -> datetime:
        """When the n-th came."""
        return self.began + n * self.step

    def id(self, n: int, kind: int) -> str:
        """The id that was made then."""
        milliseconds = int(self.at(n).timestamp() * 1000)
        rest = _mixed(n, kind) & (1 << 62) - 1
        text = f"{milliseconds << 80 | 7 << 76 | 0b10 << 62 | rest:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def person(self, n: int) -> Row:
        """Somebody; each tenth has only a nickname in the address, and few speak Italian."""
        some, when = _mixed(n, 3), self.at(n)
        first, last = FIRST[some % len(FIRST)], LAST[some // 1009 % len(LAST)]
        local = f"{last[:4]}{n}" if some % 10 == 0 else f"{first}.{last}{n}"
        provider = PROVIDERS[some // 7 % len(PROVIDERS)]
        email = f"{local}@{provider}".encode("ascii", "ignore").decode()
        language = "it" if some % 5003 == 0 else (None, "de", None, "fr", None, None)[some % 6]
        confirmed = when if some // 13 % 5 < CONFIRMED_FIFTHS else None
        name = f"{first.title()} {last.title()}"
        return (self.id(n, 0), email, email, name, language, 0, 1, confirmed, when, when, 1)

    def message(self, n: int) -> Row:
        """A message of theirs: most are welcomes, and most were sent."""
        some, when, id_ = _mixed(n, 4), self.at(n), self.id(n, 1)
        state = {0: "failed", **dict.fromkeys(range(1, 20), "cancelled")}.get(some % 1000, "sent")
        state = "queued" if state == "sent" and some // 1000 % 50 == 0 else state
        template = "manage-link" if some % 997 == 0 else ("welcome", "changed")[some % 10 == 0]
        finished = None if state == "queued" else when + timedelta(seconds=some % 5000 / 1000)
        told = (template, "{}", "x@example.com", state, when, 1, 1, 1, 0, f"<{id_}@example.org>")
        return (id_, self.id(n, 0), *told, when, finished)

    def entry(self, n: int) -> Row:
        """What an operator did."""
        some = _mixed(n, 5)
        action = audit.ACTIONS[some % len(audit.ACTIONS)]
        told = ("key", ACTORS[some // 101 % len(ACTORS)], "api", action, self.id(n, 0), 1, "{}")
        return (self.id(n, 2), self.at(n), *told)


def _mixed(n: int, kind: int) -> int:
    """Make of each number another that looks like chance: quickly, and the same in each run."""
    mixed = (n * 8 + kind) * 0x9E3779B97F4A7C15 & (1 << 64) - 1
    mixed = (mixed ^ mixed >> 31) * 0xBF58476D1CE4E5B9 & (1 << 64) - 1
    return mixed ^ mixed >> 30


PEOPLE = (
    "id, email, email_key, name, language, links_version, typed_version, confirmed_at, "
    "created_at, updated_at, version"
)
MESSAGES = (
    "id, person_id, template, data, recipient, state, due_at, lease, recorded_lease, attempts, "
    "failures, message_id, created_at, finished_at"
)
AUDIT = "id, at, actor_kind, actor, via, action, subject, count, details"


def fill_sqlite(file: str, tables: Sequence[Table], count: int) -> None:
    """Fill a file that nobody else has open."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-1000000")
        for table in tables:
            marks = ", ".join("?" * len(table.columns.split(",")))
            statement = f"INSERT INTO {table.name} ({table.columns}) VALUES ({marks})"
            connection.execute("BEGIN")
            connection.executemany(statement, (_for_sqlite(table, n) for n in range(count)))
            connection.execute("COMMIT")


def _for_sqlite(table: Table, n: int) -> Row:
    row = list(table.row(n))
    for place in table.times:
        row[place] = row[place] and (row[place] - EPOCH) // MICROSECOND
    return tuple(row)


async def fill_postgres(url: str, tables: Sequence[Table], count: int) -> None:
    """Fill a database."""
    connection = await asyncpg.connect(url)
    try:
        for table in tables:
            columns = table.columns.split(", ")
            for first in range(0, count, AT_ONCE):
                records = [table.row(n) for n in range(first, min(first + AT_ONCE, count))]
                await connection.copy_records_to_table(table.name, columns=columns, records=records)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def known(settings: Settings) -> Rows | None:
    """Say what a kept database was filled with; None if it is empty."""
    database = open_database(settings)
    try:
        first, count = await database.read(_first_and_count)
    finally:
        await database.close()
    return Rows(count, first) if count else None


def _first_and_count(tx: Transaction) -> Row:
    known = select(func.min(people.c.created_at), func.count())
    return tuple(tx.execute(known).one())


async def fill(settings: Settings, url: str, rows: Rows) -> None:
    """Fill an empty database that nobody else has open, and have a worker index it."""
    began = time.monotonic()
    if settings.database.is_sqlite:
        await asyncio.to_thread(
            fill_sqlite, url.removeprefix("sqlite:///"), rows.tables, rows.count
        )
    else:
        await fill_postgres(url, rows.tables, rows.count)
    filled = time.monotonic()
    database = open_database(settings)
    try:
        before = await database.read(_bytes)
        for n in range(KEYS):
            await database.write(keys.add, keys.generate(), f"key {n}", ["people:read"], None)
        began_index = time.monotonic()
        await Indexing(database).keep()
        took = {"fill": filled - began, "index": time.monotonic() - began_index}
        size = await database.read(_bytes) - before
    finally:
        await database.close()
    print(
        f"{rows.count} of each filled in {took['fill']:.0f} s; people indexed in "
        f"{took['index']:.0f} s, {size / 1e6:.0f} MB beside {before / 1e6:.0f}",
        flush=True,
    )


def _bytes(tx: Transaction) -> int:
    """How large the database is."""
    if tx.dialect.name == "sqlite":
        pages, size = (tx.execute(text(f"PRAGMA page_{n}")).scalar_one() for n in ("count", "size"))
        return int(pages * size)
    return int(tx.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
