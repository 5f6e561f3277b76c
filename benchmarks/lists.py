"""Every list that operators have, with every filter and order: `python -m benchmarks.lists`.

A database of each kind is filled with so many people, messages and audit entries, and the worker's
index of people is made. Then each list is asked for with each combination of what it can be asked
for, its second page too. Printed are the median and the longest; the goal is 100 ms for each.

A question that took longer is asked again twice, and the middle one counts: others may be at work
on this machine. `--processor` counts the processor's time alone, which they do not change much.
`--url` names a database that is kept: it is filled if it is empty, and else only asked again.
`--quick` does it with few rows, for errors only.
"""

import argparse
import asyncio
import itertools
import random
import secrets
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from pydantic import SecretStr
from sqlalchemy import func, select, text

from benchmarks.names import FIRST, LAST, PROVIDERS
from reach.auth import audit, keys
from reach.db.connect import open_database
from reach.db.database import Database
from reach.db.migrate import migrate
from reach.db.transaction import Transaction
from reach.db.types import EPOCH, MICROSECOND
from reach.messages import filters as message_filters
from reach.messages.model import STATES
from reach.people import filters
from reach.people.indexing import Indexing
from reach.people.model import people
from reach.runtime.process import keep_what_is_made
from reach.settings import Settings
from tests.support.servers.postgres import Postgres

GOAL_SECONDS, PAGE, QUICK_ROWS, FULL_ROWS, KEYS = 0.1, 50, 6000, 1_000_000, 1000
AT_ONCE, SHOWN = 20_000, 8
#: When the first of them signed up; all have, by yesterday.
YEARS = timedelta(days=730)
#: How many fifths of them have confirmed their address.
CONFIRMED_FIFTHS = 3
ACTORS = [str(UUID(int=n)) for n in range(20)]

Row = tuple[Any, ...]
Ask = Callable[[Transaction], Any]
#: What tells the time, in seconds.
Clock = Callable[[], float]


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


def people_lists(rows: Rows, clock: Clock) -> Iterator[tuple[str, Ask]]:
    """Ask for people in every way: what is rare and what is common, together and alone."""
    somebody = rows.person(rows.count // 3)
    day = rows.at(rows.count // 2)
    chosen: Mapping[str, Sequence[Any]] = {
        "search": [None, "anna", "lovelace", somebody[1], "example.com", "zzqx", "an be", "ö"],
        "prefix": [None, "anna."],
        "confirmed": [None, True, False],
        "language": [None, "de", "it"],
        "welcome": [None, "sent", "failed"],
        "since": [None, day],
        "until": [None, day + timedelta(days=1)],
    }
    for values in itertools.product(*chosen.values()):
        wanted = dict(zip(chosen, values, strict=True))
        for sort in filters.SORTS:
            said = " ".join(f"{k}={v}" for k, v in wanted.items() if v is not None)
            yield (
                f"people sort={sort} {said}",
                partial(_two_pages, clock, filters.Filter(**wanted), sort),
            )


def _two_pages(
    clock: Clock, chosen_by: filters.Filter, sort: filters.Sort, tx: Transaction
) -> list[float]:
    """Ask for a page, and the next."""
    took, cursor = [], None
    for _ in range(2):
        began = clock()
        _, cursor = filters.page(tx, chosen_by, sort=sort, limit=PAGE, after=cursor)
        took.append(clock() - began)
        if cursor is None:
            break
    return took


def _timed(clock: Clock, ask: Callable[[Transaction], object], tx: Transaction) -> list[float]:
    began = clock()
    ask(tx)
    return [clock() - began]


def other_lists(rows: Rows, clock: Clock) -> Iterator[tuple[str, Ask]]:
    """Ask for messages, audit entries and keys in every way, and count people."""
    day = rows.at(rows.count // 2)
    times: Mapping[str, Sequence[Any]] = {
        "since": [None, day],
        "until": [None, day + timedelta(days=1)],
    }
    chosen: Mapping[str, Sequence[Any]] = {
        "state": [None, *STATES],
        "template": [None, "welcome", "changed", "manage-link", "none"],
        "recipient": [None, rows.person(rows.count // 3)[2]],
        **times,
    }
    deep = UUID(rows.id(rows.count // 10, 1))
    for before in (None, deep):
        for wanted in _product(chosen):
            by = message_filters.Filter(**wanted)
            page = partial(message_filters.page, chosen_by=by, limit=PAGE, before=before)
            yield (
                f"messages deep={before is not None} {_said(wanted)}",
                partial(_timed, clock, page),
            )
    entries: Mapping[str, Sequence[Any]] = {
        "actor": [None, ACTORS[0], "nobody"],
        "action": [None, "person.add", "key.revoke"],
        "subject": [None, UUID(rows.id(rows.count // 3, 0))],
        **times,
    }
    for wanted in _product(entries):
        listed = partial(audit.page, chosen_by=audit.Filter(**wanted), limit=PAGE)
        yield f"audit {_said(wanted)}", partial(_timed, clock, listed)
    yield "keys", partial(_timed, clock, partial(keys.page, limit=PAGE))


def _product(chosen: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*chosen.values()):
        yield dict(zip(chosen, values, strict=True))


def _said(wanted: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in wanted.items() if value is not None)


async def measure(  # noqa: PLR0913 - what is asked for
    kind: str, database: Database, rows: Rows, clock: Clock, *, each: int, quick: bool
) -> bool:
    """Ask for everything, and print what it took; whether all of it reaches the goal."""
    took: list[tuple[float, str]] = []
    lists = [*people_lists(rows, clock), *other_lists(rows, clock)]
    lists = random.Random(0).sample(lists, 200 if quick else len(lists) // each)
    keep_what_is_made()  # as Reach does: to look through the lists alone takes 0.1 s each time
    for name, ask in lists:
        seconds = max(await database.read(ask))
        if seconds > GOAL_SECONDS:
            again = [max(await database.read(ask)) for _ in range(2)]
            seconds = statistics.median([seconds, *again])
        took.append((seconds, name))
    for group in ("people", "messages", "audit", "keys"):
        those = sorted(one for one in took if one[1].startswith(group))
        if those:
            middle = statistics.median(one[0] for one in those)
            print(
                f"{kind:8} {group:9} {len(those):5} questions: "
                f"median {middle * 1000:6.1f} ms, longest {those[-1][0] * 1000:6.1f} ms"
            )
    slow = sorted(took, reverse=True)
    for seconds, name in slow[:SHOWN]:
        print(f"    {seconds * 1000:6.1f} ms  {name}")
    over = sum(seconds > GOAL_SECONDS for seconds, _ in took)
    print(f"{kind:8} {over} of {len(took)} took more than {GOAL_SECONDS * 1000:.0f} ms", flush=True)
    return quick or not over


@contextmanager
def url_of(kind: str, folder: str, kept: str | None) -> Iterator[str]:
    """Give a database of a kind: the one that is kept, or an empty one."""
    if kept is not None:
        yield kept
        return
    if kind == "SQLite":
        yield f"sqlite:///{folder}/lists.sqlite3"
        return
    with Postgres.private() as postgres:
        yield postgres.url


async def run(  # noqa: PLR0913 - what is asked for
    kind: str, folder: str, url: str, count: int, clock: Clock, *, each: int, quick: bool
) -> bool:
    """Fill a database, have a worker index it, and measure."""
    settings = Settings(
        data_dir=Path(folder),
        database_url=SecretStr(url),
        secret_key=SecretStr(secrets.token_hex(32)),
        database_seconds=60,
    )
    await asyncio.to_thread(migrate, settings.database)
    rows = await _known(settings)
    if rows is None:
        rows = Rows(count)
        await fill(settings, url, rows)
    database = open_database(settings)
    try:
        return await measure(kind, database, rows, clock, each=each, quick=quick)
    finally:
        await database.close()


async def _known(settings: Settings) -> Rows | None:
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


def main() -> None:
    """Measure each kind of database; exit 1 if a list takes longer than the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=FULL_ROWS)
    parser.add_argument("--only", choices=["SQLite", "Postgres"])
    parser.add_argument("--url", help="a database that is kept, of the kind of --only")
    parser.add_argument("--each", type=int, default=1, help="ask one of so many questions")
    parser.add_argument("--quick", action="store_true", help="few rows, for errors only")
    parser.add_argument(
        "--processor", action="store_true", help="count the processor's time, not the clock's"
    )
    given = parser.parse_args()
    if given.processor and given.only != "SQLite":
        parser.error("the server's time is not counted: it is for --only SQLite")
    if given.url and not given.only:
        parser.error("--url is for --only one kind")
    clock = time.thread_time if given.processor else time.perf_counter
    count = QUICK_ROWS if given.quick else given.rows
    good = []
    for kind in [given.only] if given.only else ["SQLite", "Postgres"]:
        with tempfile.TemporaryDirectory() as folder, url_of(kind, folder, given.url) as url:
            good.append(
                asyncio.run(
                    run(kind, folder, url, count, clock, each=given.each, quick=given.quick)
                )
            )
    raise SystemExit(not all(good))


if __name__ == "__main__":
    main()
