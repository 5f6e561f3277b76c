"""What it costs to be watched: `python -m benchmarks.watched`, about 40 seconds a database.

Three API processes of one machine take the same flood in turns, the other two being idle:
unwatched (no line of the log, no metric, no tally), watched (all of it, and scraped every second)
and traced (watched, and every span sent to a collector). Printed is the median over the turns of
each turn's ratio to the unwatched one's, of sign-ups a second and of processor time a sign-up.
"""

import asyncio
import sqlite3
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
from pydantic import SecretStr

from benchmarks.load import flood
from reach.db.migrate import migrate
from reach.settings import Settings
from tests.servers.ports import free_port
from tests.servers.processes import ReachProcess

SIGN_UPS, CONNECTIONS = 1500, 64
TURNS = 11
SCRAPE_SECONDS = 1.0


@dataclass
class Door:
    """An API process, and what its turns came to."""

    name: str
    process: ReachProcess
    port: int
    per_second: list[float] = field(default_factory=list)
    microseconds: list[float] = field(default_factory=list)

    def take_turn(self, turn: int) -> None:
        """Let a flood in, and note how it went. Any answer but a 202 is an error."""
        before = self._busy_seconds()
        name = f"turn{turn}-"
        figure = asyncio.run(flood(self.port, count=SIGN_UPS, connections=CONNECTIONS, name=name))
        self.per_second.append(figure)
        self.microseconds.append((self._busy_seconds() - before) / SIGN_UPS * 1e6)

    def _busy_seconds(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


def main() -> None:
    """Measure, and print one line for each way of being watched."""
    with tempfile.TemporaryDirectory() as folder, collector() as endpoint, ExitStack() as stack:
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        doors = [
            stack.enter_context(door("unwatched", Path(folder), is_watched=False)),
            stack.enter_context(door("watched", Path(folder))),
            stack.enter_context(door("traced", Path(folder), environment=traced)),
        ]
        for turn in range(-1, TURNS):
            order = doors if turn % 2 else doors[::-1]
            for each in order:
                each.take_turn(turn)
        for each in doors:
            each.process.stop()
        for each in doors:
            assert people_in(file_of(Path(folder), each.name)) == SIGN_UPS * (TURNS + 1)
    report(doors)


def report(doors: Sequence[Door]) -> None:
    """Print the medians, the first turn being for warming up."""
    first = doors[0]
    for each in doors:
        speeds = [one / of for one, of in zip(each.per_second, first.per_second, strict=True)][1:]
        costs = [one / of for one, of in zip(each.microseconds, first.microseconds, strict=True)]
        cuts = statistics.quantiles(speeds, n=4)
        print(
            f"sign-ups, {each.name:10} {statistics.median(each.per_second[1:]):7.0f} /s"
            f"  {statistics.median(speeds):.3f} x unwatched ({cuts[0]:.3f} to {cuts[2]:.3f})"
            f"  {statistics.median(each.microseconds[1:]):6.0f} µs of processor each,"
            f" {statistics.median(costs[1:]):.3f} x"
        )


@contextmanager
def door(
    name: str,
    folder: Path,
    *,
    is_watched: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Door]:
    """Run an API process with a database of its own."""
    port, metrics_port = free_port(), free_port()
    settings = Settings(
        data_dir=folder,
        database_url=SecretStr(f"sqlite:///{file_of(folder, name)}"),
        secret_key=SecretStr("a-key-that-is-long-enough-for-tests"),
        limit_signups="1000000/second",
        port=port,
        metrics_port=metrics_port if is_watched else None,
        log_level="info" if is_watched else "error",
    )
    migrate(settings.database)
    program = "reach" if is_watched else "benchmarks.unwatched"
    if not is_watched:
        drop_triggers(file_of(folder, name))
    with (
        ReachProcess("api", settings=settings, environment=environment, module=program) as process,
        scraped(metrics_port if is_watched else None),
    ):
        process.wait_ready(port)
        yield Door(name, process, port)


def file_of(folder: Path, name: str) -> Path:
    """Say where a door's database is."""
    return folder / f"{name}.sqlite3"


def drop_triggers(file: Path) -> None:
    """Take the tallies' triggers out of a database."""
    with closing(sqlite3.connect(file)) as connection:
        named = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        for (name,) in named.fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.commit()


def people_in(file: Path) -> int:
    """Count who was signed up."""
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("SELECT count(*) FROM people").fetchone()[0])


@contextmanager
def scraped(port: int | None) -> Iterator[None]:
    """Ask for the metrics every second, as Prometheus would."""
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(SCRAPE_SECONDS):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                assert b"reach_signups_total" in answer.read()

    thread = threading.Thread(target=scrape, daemon=True)
    if port is not None:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if port is not None:
            thread.join()


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
