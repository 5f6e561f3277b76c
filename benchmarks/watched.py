"""What it costs to be watched: `python -m benchmarks.watched`, about 40 seconds a database.

Two API processes of one machine take the same flood in turns, the other one being idle: unwatched
(no line of the log, no metric, no counter) and watched (all of it, and scraped every second); then
again with traced (watched, and every span sent to a collector) in its place. Printed is the median
of the turns' ratios of sign-ups a second, and processor time a sign-up.
"""

import asyncio
import secrets
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

import psutil
from pydantic import SecretStr
from sqlalchemy import func, select, text

from benchmarks.context import POSTGRES, Context
from benchmarks.figures import Figure, Goal
from benchmarks.load import flood
from reach.db.connect import open_database
from reach.db.migrate import migrate
from reach.db.transaction import Transaction
from reach.people.model import people
from reach.settings import Settings
from tests.support.database.databases import create_database
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.servers.postgres import Postgres

T = TypeVar("T")

SIGN_UPS, CONNECTIONS = 1500, 64
TURNS = 11
SCRAPE_SECONDS = 1.0
UNWATCHED = "unwatched"


@dataclass(frozen=True)
class Ways:
    """How a process is watched: not at all, by all but traces, or as ``environment`` says."""

    are_any: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)


NONE = Ways(are_any=False)


@dataclass
class Api:
    """An API process, and what its turns came to."""

    name: str
    process: ReachProcess
    settings: Settings
    sign_ups: int = SIGN_UPS
    per_second: list[float] = field(default_factory=list)
    microseconds: list[float] = field(default_factory=list)

    def take_turn(self, turn: int) -> None:
        """Let a flood in, and note how it went. Any answer but a 202 is an error."""
        before = self._busy_seconds()
        name = f"turn{turn}-"
        figure = asyncio.run(
            flood(self.settings.port, count=self.sign_ups, connections=CONNECTIONS, name=name)
        )
        self.per_second.append(figure)
        self.microseconds.append((self._busy_seconds() - before) / self.sign_ups * 1e6)

    def _busy_seconds(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


def main() -> None:
    """Measure on both databases, and print one line for each way of being watched."""
    with tempfile.TemporaryDirectory() as folder, Postgres.private() as postgres:
        measure("SQLite", Path(folder), lambda name: f"sqlite:///{folder}/{name}.sqlite3")
        measure("Postgres", Path(folder), lambda _: create_database(postgres.url))


def measure(database: str, folder: Path, new_url: Callable[[str], str]) -> None:
    """Compare each way of being watched with none.

    One at a time: what is still to be sent of traces would be done in another's turn.
    """
    compare(database, api("watched", folder, new_url), api("none", folder, new_url, ways=NONE))
    with collector() as endpoint:
        ways = Ways(environment={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
        traced = api("traced", folder, new_url, ways=ways)
        compare(database, traced, api("none, again", folder, new_url, ways=NONE))


def compare(
    database: str, one: AbstractContextManager["Api"], other: AbstractContextManager["Api"]
) -> None:
    """Compare two, and print what came of it."""
    with one as watched, other as unwatched:
        take_turns(watched, unwatched, TURNS)
    report(database, watched, unwatched)


def take_turns(watched: Api, unwatched: Api, turns: int) -> None:
    """Let the floods in, by turns, and see that nobody is missing afterwards.

    The first turn is for warming up.
    """
    for turn in range(-1, turns):
        for each in (watched, unwatched) if turn % 2 else (unwatched, watched):
            each.take_turn(turn)
    for each in (watched, unwatched):
        assert asyncio.run(written(each.settings, count)) == each.sign_ups * (turns + 1)
        del each.per_second[0], each.microseconds[0]


def figures(context: Context) -> list[Figure]:
    """The part of `make bench`: sign-ups a second beside those of a process that is not watched."""
    found = []
    for database in context.size.databases:

        def new_url(name: str, database: str = database) -> str:
            if database == POSTGRES:
                return create_database(context.postgres.url)
            return f"sqlite:///{context.folder}/{name}.sqlite3"

        with (
            api("watched", context.folder, new_url) as watched,
            api("none", context.folder, new_url, ways=NONE) as unwatched,
        ):
            for each in (watched, unwatched):
                each.sign_ups = context.size.turn_sign_ups
            take_turns(watched, unwatched, context.size.turns)
        title = f"sign-ups/s, {database}, one process, with logs, metrics and counters"
        goal = Goal(0.95, is_least=True, beside=UNWATCHED)
        beside = {UNWATCHED: unwatched.per_second}
        found.append(Figure(title, "/s", watched.per_second, beside, goal))
        title = f"processor time of such a sign-up, {database}"
        beside = {UNWATCHED: unwatched.microseconds}
        found.append(Figure(title, "µs", watched.microseconds, beside))
    return found


def report(database: str, watched: Api, unwatched: Api) -> None:
    """Print the medians."""
    pairs = zip(watched.per_second, unwatched.per_second, strict=True)
    shares = [one / other for one, other in pairs]
    low, share, high = statistics.quantiles(shares, n=4)
    figure = statistics.median(watched.per_second)
    took, least = (statistics.median(each.microseconds) for each in (watched, unwatched))
    print(
        f"sign-ups, {database:8}, {watched.name:7} {figure:6.0f} /s, {share:.3f} x unwatched"
        f" ({low:.3f} to {high:.3f}); {took:3.0f} µs of processor each, unwatched {least:3.0f}",
        flush=True,
    )


@contextmanager
def api(
    name: str,
    folder: Path,
    new_url: Callable[[str], str],
    *,
    ways: Ways = Ways(),
) -> Iterator[Api]:
    """Run an API process with a database of its own."""
    settings = Settings(
        data_dir=folder,
        database_url=SecretStr(new_url(name)),
        secret_key=SecretStr(secrets.token_hex(32)),
        limit_signups="1000000/second",
        port=free_port(),
        metrics_port=free_port() if ways.are_any else None,
        log_level="info" if ways.are_any else "error",
    )
    migrate(settings.database)
    module = "reach" if ways.are_any else "benchmarks.unwatched"
    if not ways.are_any:
        asyncio.run(written(settings, stop_counters))
    with ReachProcess(
        "api", settings=settings, environment=ways.environment, module=module
    ) as process:
        process.wait_ready(settings.port)
        with scraped(settings.metrics_port):
            yield Api(name, process, settings)


async def written(settings: Settings, fn: Callable[[Transaction], T]) -> T:
    """Run ``fn(tx)`` in a transaction of its own."""
    database = open_database(settings)
    try:
        return await database.write(fn)
    finally:
        await database.close()


def stop_counters(tx: Transaction) -> None:
    """Take the counters' triggers out of a database."""
    if tx.dialect.name == "postgresql":
        for table in ("people", "messages"):
            tx.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        return
    named = tx.execute(text("SELECT name FROM sqlite_schema WHERE type = 'trigger'"))
    for name in named.scalars().all():
        tx.execute(text(f'DROP TRIGGER "{name}"'))


def count(tx: Transaction) -> int:
    """Count who was signed up."""
    return tx.execute(select(func.count()).select_from(people)).scalar_one()


@contextmanager
def scraped(port: int | None) -> Iterator[None]:
    """Ask for the metrics every second, as Prometheus would. A scrape that fails is an error."""
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(SCRAPE_SECONDS):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                assert b"reach_signups_total" in answer.read()

    with ThreadPoolExecutor(1) as thread:
        scraping = None if port is None else thread.submit(scrape)
        try:
            yield
        finally:
            ended.set()
        if scraping is not None:
            scraping.result()


class Collector(BaseHTTPRequestHandler):
    """Takes every span, and forgets it."""

    def do_POST(self) -> None:
        """Read it all, and say yes."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def collector() -> Iterator[str]:
    """Run a collector of traces; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"in {time.monotonic() - began:.0f} s")
