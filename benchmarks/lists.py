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
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from benchmarks.million import ACTORS, Rows, fill, known
from reach.auth import audit, keys
from reach.db.connect import open_database
from reach.db.database import Database
from reach.db.migrate import migrate
from reach.db.transaction import Transaction
from reach.messages import filters as message_filters
from reach.messages.model import STATES
from reach.people import filters
from reach.runtime.process import keep_what_is_made
from reach.settings import Settings
from tests.support.servers.postgres import Postgres

GOAL_SECONDS, PAGE, QUICK_ROWS, FULL_ROWS = 0.1, 50, 6000, 1_000_000
SHOWN = 8

Ask = Callable[[Transaction], Any]
#: What tells the time, in seconds.
Clock = Callable[[], float]


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
    rows = await known(settings)
    if rows is None:
        rows = Rows(count)
        await fill(settings, url, rows)
    database = open_database(settings)
    try:
        return await measure(kind, database, rows, clock, each=each, quick=quick)
    finally:
        await database.close()


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
