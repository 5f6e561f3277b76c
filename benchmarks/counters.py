"""What counters save, and cost: `python -m benchmarks.counters`, about two minutes.

On each database, with a thousand people and messages and then with a million: reading the stats,
and counting the same. Then how long reading takes while nobody folds. All messages are queued and
late, the worst case.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import func, select, text

from reach.db import counters
from reach.db.connect import open_database
from reach.db.database import Database
from reach.db.migrate import migrate
from reach.db.transaction import Transaction
from reach.db.types import EPOCH, now
from reach.messages.model import messages
from reach.people import stats
from reach.people.model import people
from reach.settings import Settings
from tests.support.servers.postgres import Postgres

FEW, MANY = 1_000, 1_000_000
UNFOLDED_ROWS = 100_000
LOOKS = 21

NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers"
    " WHERE n < {last})",
    "postgresql": "WITH numbers AS (SELECT generate_series({first}, {last}) AS n)",
}
ID = {
    "sqlite": "printf('00000000-0000-7000-8000-%012d', n)",
    "postgresql": "('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid",
}


def main() -> None:
    """Measure on both databases."""
    with tempfile.TemporaryDirectory() as folder, Postgres.private() as postgres:
        for name, url in (("SQLite", f"sqlite:///{folder}/t.sqlite3"), ("Postgres", postgres.url)):
            settings = Settings(
                data_dir=Path(folder), database_url=SecretStr(url), database_seconds=60
            )
            migrate(settings.database)
            asyncio.run(measure(name, settings))


async def measure(name: str, settings: Settings) -> None:
    """Measure on one database, and print a line a figure."""
    database = open_database(settings)
    try:
        for first, last in ((1, FEW), (FEW + 1, MANY)):
            await database.write(fill, first, last)
            await database.write(analyse)
            read = await milliseconds(database, partial(stats.read, settings=settings))
            counted = await milliseconds(database, count)
            found = await database.read(stats.read, settings)
            assert (found.people, found.messages["queued"]) == (last, last)
            print(f"{name:8} {last:9,} rows: read {read:6.2f} ms, counted {counted:7.2f} ms")
        if not settings.database.is_sqlite:
            await database.write(unfold)
            read = await milliseconds(database, partial(stats.read, settings=settings))
            print(f"{name:8} {UNFOLDED_ROWS:9,} rows unfolded: read {read:6.2f} ms")
    finally:
        await database.close()


def fill(tx: Transaction, first: int, last: int) -> None:
    """Add people, each with a message that is queued."""
    dialect = tx.dialect.name
    numbers = NUMBERS[dialect].format(first=first, last=last)
    at, id_ = tx.execute(select(now(-3600))).scalar_one(), ID[dialect]
    moment = int((at - EPOCH).total_seconds() * 1e6) if dialect == "sqlite" else f"'{at}'"
    added: dict[str, dict[str, object]] = {
        "people": {
            "id": id_, "email": "'p'||n||'@example.com'", "email_key": "'p'||n||'@example.com'",
            "name": "'P'", "links_version": 0, "created_at": moment, "updated_at": moment,
            "version": 1,
        },
        "messages": {
            "id": id_, "person_id": id_, "template": "'welcome'", "data": "'{}'",
            "recipient": "'p'||n||'@example.com'", "state": "'queued'", "due_at": moment,
            "lease": 0, "recorded_lease": 0, "attempts": 0, "failures": 0,
            "message_id": "'<'||n||'@example.com>'", "created_at": moment,
        },
    }  # fmt: skip
    for table, columns in added.items():
        values = ", ".join(map(str, columns.values()))
        into = f"INSERT INTO {table} ({', '.join(columns)})"
        tx.execute(text(f"{into} {numbers} SELECT {values} FROM numbers"))


def analyse(tx: Transaction) -> None:
    """Let Postgres's planner know; SQLite has fixed statistics (migration 0008)."""
    if tx.dialect.name == "postgresql":
        tx.execute(text("ANALYZE people, messages"))


def count(tx: Transaction) -> None:
    """Count what the counters of now say."""
    tx.execute(select(func.count(), func.count(people.c.confirmed_at)).select_from(people)).all()
    by_state = select(messages.c.state, func.count()).group_by(messages.c.state)
    tx.execute(by_state).all()


async def milliseconds(database: Database, fn: Callable[[Transaction], object]) -> float:
    """Look several times; the median."""
    taken = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        await database.read(fn)
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


def unfold(tx: Transaction) -> None:
    """Leave as many rows as pile up while no worker runs."""
    row = {"name": "queued", "hour": counters.CURRENT, "count": 0}
    tx.execute(counters.counters.insert(), [row] * UNFOLDED_ROWS)


if __name__ == "__main__":
    main()
