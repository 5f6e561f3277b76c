"""What size costs: `python -m benchmarks.size --rows 1000000`, some minutes, mostly of filling.

Two databases of each kind, one of 1,000 people with a queued message each, one of so many, filled
by SQL. Then what happens often is done on both in turns, by the code that processes of Reach run;
printed are the medians, and how many times the small one's the large one's is. The goal is 1.2.

Refused: what fails, a lease that finds nothing, and rows that are missing afterwards.
"""

import argparse
import asyncio
import random
import secrets
import statistics
import tempfile
import time
from base64 import urlsafe_b64encode
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import func, select, text

from benchmarks.delivering import BATCH, deliver
from benchmarks.sizes import requests
from reach.db.connect import open_database
from reach.db.migrate import migrate
from reach.db.transaction import Transaction
from reach.messages import filters
from reach.messages.filters import Filter
from reach.messages.front import Front
from reach.messages.model import messages
from reach.people import filters as people_filters
from reach.people import queries, stats
from reach.people.model import people
from reach.people.schemas import Submission
from reach.people.signup import sign_up_all
from reach.settings import Settings
from tests.support.servers.postgres import Postgres

SMALL, MOST, PAGE, ROUNDS, TIMES = 1000, 10_000_000, 50, 5, 30
GOAL = 1.2
#: What costs more in a large one, but no more than in one ten times as large.
STATS = "stats (up to 10,000 late ones are counted)"
BOUNDED = (STATS,)
#: So many are filled in at a time.
AT_ONCE = 50_000
#: The id of the n-th: in order, and older than any that is made now.
ID = {
    "sqlite": "printf('%08x-0000-7000-8000-000000000000', n)",
    "postgresql": "(lpad(to_hex(n), 8, '0') || '-0000-7000-8000-000000000000')::uuid",
}
NOW = {"sqlite": "CAST(unixepoch() * 1000000 AS INTEGER)", "postgresql": "now()"}
NUMBERS = {
    "sqlite": "(WITH RECURSIVE s(n) AS (SELECT {} UNION ALL SELECT n + 1 FROM s WHERE n < {}) "
    "SELECT n FROM s)",
    "postgresql": "(SELECT generate_series({}, {})::int AS n)",
}
PEOPLE = """
    INSERT INTO people (id, email, email_key, name, links_version, created_at, updated_at, version)
    SELECT {id}, 'p' || n || '@example.org', 'p' || n || '@example.org', 'Ada', 0, {now}, {now}, 1
    FROM {numbers} AS numbers
"""
MESSAGES = """
    INSERT INTO messages (id, person_id, template, data, recipient, state, due_at, lease,
        recorded_lease, attempts, failures, message_id, created_at)
    SELECT {id}, {id}, 'welcome', '{{"name": "Ada"}}', 'p' || n || '@example.org', 'queued',
        {now}, 0, 0, 0, 0, '<' || n || '@example.org>', {now}
    FROM {numbers} AS numbers
"""
Work = Callable[[], Awaitable[object]]


class Filled:
    """A database of so many people, and what is done with it."""

    def __init__(self, settings: Settings, rows: int) -> None:
        """Open it. ``fill`` it next."""
        self.settings, self.rows = settings, rows
        self.database = open_database(settings)
        self.front = Front()
        self.added = self.sent = 0

    async def fill(self) -> None:
        """Put everybody there, and have the database know it."""
        for first in range(1, self.rows + 1, AT_ONCE):
            await self.database.write(_fill, first, min(first + AT_ONCE - 1, self.rows))
        if not self.settings.database.is_sqlite:
            await self.database.write(lambda tx: tx.execute(text("ANALYZE people, messages")))

    async def sign_up(self) -> None:
        """Sign some up in one commit."""
        wanted = list(map(Submission, requests(self.rows + self.added, BATCH)))
        await self.database.write(sign_up_all, wanted, self.settings)
        self.added += BATCH

    async def read(self) -> None:
        """Read one person."""
        assert await self.database.read(queries.find, _id(random.randint(1, self.rows)))

    async def page(self) -> None:
        """Read the newest people."""
        found, _ = await self.database.read(
            people_filters.page, people_filters.Filter(), limit=PAGE, after=None
        )
        assert len(found) == PAGE

    async def deep_page(self) -> None:
        """Read people of whom nine tenths are newer."""
        deep = urlsafe_b64encode(_id(self.rows // 10).bytes).decode().rstrip("=")
        found, _ = await self.database.read(
            people_filters.page, people_filters.Filter(confirmed=False), limit=PAGE, after=deep
        )
        assert len(found) == PAGE

    async def deep_messages(self) -> None:
        """Read messages of one template, of which nine tenths are newer."""
        chosen, before = Filter(template="welcome"), _id(self.rows // 10)
        found, _ = await self.database.read(filters.page, chosen, limit=PAGE, before=before)
        assert len(found) == PAGE

    async def deliver(self) -> None:
        """Look, lease some, and record that they were sent."""
        await deliver(self.database, self.settings, self.front)
        self.sent += BATCH

    async def stats(self) -> None:
        """Read the numbers that operators and gauges show."""
        found = await self.database.read(stats.read, self.settings)
        assert found.people == self.rows + self.added

    async def check(self) -> None:
        """Refuse to report what was not done."""
        counts = await self.database.read(_count)
        assert counts == (self.rows + self.added, self.rows + self.added, self.sent), counts

    @property
    def works(self) -> dict[str, Work]:
        """What is measured, by its name."""
        return {
            f"{BATCH} sign-ups, one commit": self.sign_up,
            "a person": self.read,
            "a page of people": self.page,
            "… nine tenths down, unconfirmed": self.deep_page,
            "a page of messages, as far down": self.deep_messages,
            f"look, lease and record {BATCH}": self.deliver,
            STATS: self.stats,
        }


def _id(number: int) -> UUID:
    return UUID(f"{number:08x}-0000-7000-8000-000000000000")


def _fill(tx: Transaction, first: int, last: int) -> None:
    name = tx.dialect.name
    words = {"id": ID[name], "now": NOW[name], "numbers": NUMBERS[name].format(first, last)}
    for statement in (PEOPLE, MESSAGES):
        tx.exec_driver_sql(statement.format(**words))


def _count(tx: Transaction) -> tuple[int, int, int]:
    sent = select(func.count()).select_from(messages).where(messages.c.state == "sent")
    all_of = [select(func.count()).select_from(table) for table in (people, messages)]
    first, second, third = (tx.execute(one).scalar_one() for one in (*all_of, sent))
    return first, second, third


@contextmanager
def urls(kind: str, folder: str) -> Iterator[list[str]]:
    """Give two empty databases of a kind."""
    if kind == "SQLite":
        yield [f"sqlite:///{folder}/{name}.sqlite3" for name in ("small", "large")]
        return
    with Postgres.private() as small, Postgres.private() as large:
        yield [small.url, large.url]


async def measure(kind: str, pair: list[Filled]) -> bool:
    """Do everything on both in turns, and print a line for each; whether all reach the goal."""
    for filled in pair:
        began = time.monotonic()
        await filled.fill()
        print(f"{kind}: {filled.rows} rows filled in {time.monotonic() - began:.0f} s", flush=True)
    took: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for number in range(ROUNDS + 1):
        for name in pair[0].works:
            for _ in range(TIMES):
                for n, filled in enumerate(pair):
                    began = time.perf_counter()
                    await filled.works[name]()
                    if number:  # the first round warms up
                        took[name][n].append(time.perf_counter() - began)
    are_good = True
    for name, times in took.items():
        small, large = (statistics.median(some) * 1e6 for some in times)
        are_good &= large <= GOAL * small or name in BOUNDED
        print(f"{kind:8} {name:46} {small:8.0f} µs {large:8.0f} µs {large / small:6.2f} times")
    for filled in pair:
        await filled.check()
    return are_good


async def run(kind: str, folder: str, found: list[str], rows: int) -> bool:
    """Make both databases of a kind, measure, and close them."""
    pair = []
    for url, count in zip(found, (SMALL, rows), strict=True):
        settings = Settings(
            data_dir=Path(folder),
            database_url=SecretStr(url),
            secret_key=SecretStr(secrets.token_hex(32)),
            database_seconds=60,
        )
        await asyncio.to_thread(migrate, settings.database)
        pair.append(Filled(settings, count))
    try:
        return await measure(kind, pair)
    finally:
        for filled in pair:
            await filled.database.close()


def main() -> None:
    """Measure each kind of database; exit 1 if a figure misses the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--only", choices=["SQLite", "Postgres"])
    given = parser.parse_args()
    assert SMALL < given.rows <= MOST, f"more than {SMALL}, and {MOST} at most"
    good = []
    for kind in [given.only] if given.only else ["SQLite", "Postgres"]:
        with tempfile.TemporaryDirectory() as folder, urls(kind, folder) as found:
            good.append(asyncio.run(run(kind, folder, found, given.rows)))
    raise SystemExit(not all(good))


if __name__ == "__main__":
    main()
