"""What greedy callers cost the others: ``python -m benchmarks.callers``, about ten minutes.

Sign-ups at an even pace before, during and after each kind of greedy caller (see ``greedy``), and
probes and an operator's read meanwhile; the memory of the process; then many requests of all
kinds. A bound that is missed ends with 1. While the greedy are being opened the cores are theirs
as much as Reach's, so that the bound of others' times is for when all are there.
``--source FOLDER`` measures the Reach of another checkout (its ``src``), ``--only KIND`` one kind.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import func, select

from benchmarks.greedy import KINDS
from benchmarks.load import sign_up
from benchmarks.mixed import REQUESTS, flood_of_all_kinds
from reach.auth import keys
from reach.db.connect import open_database
from reach.db.migrate import migrate
from reach.people.model import people
from reach.runtime.server import allow_many_connections
from reach.settings import Settings
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
MB = 1_000_000
PER_SECOND = 50.0
WARM_UPS = 1500
#: How long others are watched, before and after, and while all that is greedy is open.
QUIET_SECONDS, HELD_SECONDS = 8, 12
#: A greedy kind that cannot be opened within this time says enough.
OPENING_SECONDS = 90
LOOK_SECONDS = 0.5
ANSWER_SECONDS = 10

# The bounds.
MOST_MORE_BYTES = 5 * MB
MOST_SLOWER = 2.0
#: Below this, a p99 says more of the machine than of Reach.
LEAST_P99_MS = 10.0
#: Each sign-up has an address of its own.
NUMBERS = itertools.count()


@dataclass
class Others:
    """Those who sign up meanwhile, and what they met."""

    port: int
    key: str
    taken: list[float] = field(default_factory=list)
    accepted: int = 0
    begun_again: int = 0
    lost: list[str] = field(default_factory=list)
    looks: int = 0
    slowest_look: float = 0.0

    async def sign_up_for(self, stop: asyncio.Event) -> None:
        """Sign up at an even pace until ``stop``; ``taken`` has the milliseconds of each."""
        idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        start, number = time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                await asyncio.sleep(max(0.0, start + number / PER_SECOND - time.monotonic()))
                group.create_task(self._one(idle))
                number += 1
        for _, writer in idle:
            writer.close()

    async def _one(self, idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
        began = time.monotonic()
        email = f"o{next(NUMBERS)}@example.com"
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while idle and idle[-1][0].at_eof():  # as any client does: it was closed meanwhile
                    idle.pop()[1].close()
                if idle:
                    pair = idle.pop()
                    try:
                        await sign_up(*pair, email)
                    except (ConnectionError, asyncio.IncompleteReadError):
                        self.begun_again += 1
                        pair = await asyncio.open_connection("127.0.0.1", self.port)
                        await sign_up(*pair, email)
                else:
                    pair = await asyncio.open_connection("127.0.0.1", self.port)
                    await sign_up(*pair, email)
        except (OSError, EOFError, AssertionError, TimeoutError) as error:
            self.lost.append(f"a sign-up: {error!r}"[:200])
            return
        self.accepted += 1
        self.taken.append((time.monotonic() - began) * 1000)
        idle.append(pair)

    async def look_for(self, stop: asyncio.Event) -> None:
        """Ask for what probes and operators ask for, each over a connection of its own."""
        while not stop.is_set():
            for path in ("/livez", "/readyz", "/v1/people?limit=1"):
                began = time.monotonic()
                try:
                    async with asyncio.timeout(ANSWER_SECONDS):
                        status = await self._ask(path)
                except (OSError, EOFError, TimeoutError) as error:
                    status = repr(error)
                if status != "200":
                    self.lost.append(f"{path}: {status}")
                self.looks += 1
                self.slowest_look = max(self.slowest_look, (time.monotonic() - began) * 1000)
            await asyncio.sleep(LOOK_SECONDS)

    async def _ask(self, path: str) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with closing(writer):
            lines = f"Host: 127.0.0.1\r\nAuthorization: Bearer {self.key}\r\nConnection: close"
            writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n\r\n".encode())
            return (await reader.readuntil(b"\r\n")).decode().split()[1]


@dataclass
class Found:
    """What was measured of one kind."""

    kind: str
    before: list[float]
    opening: list[float]
    held: list[float]
    rss: tuple[int, int, int]
    others: Others
    told: dict[str, int]

    def row(self, normal: float) -> str:
        """Write it as a line of the table."""
        (b50, b99), (d50, d99) = cuts(self.before), cuts(self.held)
        first, most, last = self.rss
        return (
            f"{self.kind:18} {b50:6.1f} {b99:7.1f} {cuts(self.opening)[1]:10.1f}"
            f" {d50:7.1f} {d99:8.1f} {d99 / normal:5.1f} x"
            f" {first / MB:7.1f} {(most - first) / MB:+8.1f} {(last - first) / MB:+7.1f}"
            f" {self.others.looks:5} {self.others.slowest_look:7.0f} {len(self.others.lost):5}"
            f" {self.others.begun_again:5}  {self.told}"
        )

    def misses(self, normal: float) -> list[str]:
        """Say which bounds were missed."""
        d99, (first, _, last) = cuts(self.held)[1], self.rss
        found = []
        if d99 > MOST_SLOWER * max(normal, LEAST_P99_MS):
            found.append(f"p99 {d99:.1f} ms, normally {normal:.1f}")
        if last - first > MOST_MORE_BYTES:
            found.append(f"{(last - first) / MB:+.1f} MB after")
        if self.others.lost:
            found.append(f"{len(self.others.lost)} lost, first {self.others.lost[0]}")
        return [f"{self.kind}: {one}" for one in found]


HEADS = (
    "kind                p50     p99 opening:p99 held:p50   p99          RSS MB    most   after"
    " looks slowest  lost again"
)


def cuts(taken: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    if len(taken) <= 1:  # quantiles needs two
        return (float("inf"), float("inf"))
    found = statistics.quantiles(taken, n=100)
    return found[49], found[98]


class Watched:
    """Reads the memory of a process until it is told to stop."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.most = 0

    def now(self) -> int:
        """Bytes in memory."""
        found: int = self._process.memory_info().rss
        self.most = max(self.most, found)
        return found

    async def until(self, stop: asyncio.Event) -> None:
        """Look ten times a second."""
        while not stop.is_set():
            self.now()
            await asyncio.sleep(0.1)

    async def recorded(self, wanted: int, seconds: float = 20) -> int:
        """Wait a while for it to come down to ``wanted``."""
        deadline = time.monotonic() + seconds
        while self.now() > wanted and time.monotonic() < deadline:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.5)
        return self.now()

    def connections(self) -> int:
        """How many are open there."""
        return len(self._process.net_connections("tcp"))


@contextmanager
def greedy(kind: str, port: int) -> Iterator[subprocess.Popen[str]]:
    """Run greedy callers in a process of their own."""
    command = [sys.executable, "-m", "benchmarks.greedy", kind, str(port)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def measure(kind: str, port: int, key: str, watched: Watched, begin: int) -> Found:
    """Others' times before and during, and the memory before, at most, and after."""
    before = Others(port, key, accepted=begin)
    await for_a_while(before, QUIET_SECONDS)
    assert not before.lost, before.lost
    first = watched.most = watched.now()
    during = Others(port, key, accepted=before.accepted)
    stop = asyncio.Event()
    told: dict[str, int] = {}
    opened = 0
    with greedy(kind, port) as process:
        async with asyncio.TaskGroup() as group:
            group.create_task(during.sign_up_for(stop))
            group.create_task(during.look_for(stop))
            group.create_task(watched.until(stop))
            assert process.stdout is not None
            with suppress(TimeoutError):
                async with asyncio.timeout(OPENING_SECONDS):
                    line = await asyncio.to_thread(process.stdout.readline)
                    assert line, "the greedy callers failed"
                    told = json.loads(line)
            opened = len(during.taken)
            await asyncio.sleep(HELD_SECONDS)
            stop.set()
        assert process.poll() is None, "the greedy callers failed"
        out, _ = await asyncio.to_thread(process.communicate, "")
        told["open at the end"] = json.loads(out.splitlines()[-1])["open"] if out else -1
        assert process.returncode == 0, "the greedy callers failed"
    last = await watched.recorded(first + MOST_MORE_BYTES)
    times = before.taken, during.taken[:opened], during.taken[opened:]
    return Found(kind, *times, (first, watched.most, last), during, told)


async def for_a_while(others: Others, seconds: float) -> None:
    """Have others sign up so long."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(others.sign_up_for(stop))
        await asyncio.sleep(seconds)
        stop.set()


async def make_key(settings: Settings) -> str:
    """Make an operator's key."""
    database, text = open_database(settings), keys.generate()
    await database.write(keys.add, text, "benchmark", keys.SCOPES)
    await database.close()
    return text


async def count_people(settings: Settings) -> int:
    """Count who is there."""
    database = open_database(settings)
    count = select(func.count()).select_from(people)
    found = await database.read(lambda tx: tx.execute(count).scalar_one())
    await database.close()
    return int(found)


def report(source: Path, kinds: list[str], requests: int) -> list[str]:
    """Measure each kind, print the table, and give the bounds that were missed."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=Path(folder),
            port=free_port(),
            limit_signups="off",
            limit_mail_per_address="off",
        )
        migrate(settings.database)
        environment = {"PYTHONPATH": str(source / "src")}
        with ReachProcess("api", settings=settings, environment=environment) as process:
            process.wait_ready(settings.port)
            misses = asyncio.run(everything(settings, process.pid, kinds, requests))
            assert process.exit_code is None
    return misses


async def everything(settings: Settings, pid: int, kinds: list[str], requests: int) -> list[str]:
    """Do as ``report`` says; count people at the end."""
    key, watched = await make_key(settings), Watched(pid)
    warm = Others(settings.port, key)
    await for_a_while(warm, WARM_UPS / PER_SECOND)
    assert not warm.lost, warm.lost
    accepted = warm.accepted
    print(HEADS)
    found: list[Found] = []
    misses: list[str] = []
    for kind in kinds:
        found.append(await measure(kind, settings.port, key, watched, accepted))
        accepted = found[-1].others.accepted
        normal = cuts([ms for one in found for ms in one.before])[1]
        print(found[-1].row(normal), flush=True)
        misses += found[-1].misses(normal)
    if requests:
        misses += await mixed(settings.port, watched, requests)
        accepted += requests // len(REQUESTS)
    there = await count_people(settings)
    assert there >= accepted, f"{there} people, and {accepted} were promised"
    return misses


async def mixed(port: int, watched: Watched, requests: int) -> list[str]:
    """Memory after each fifth of many requests of all kinds; it must not grow after the first."""
    sizes = []
    for number in range(5):
        await flood_of_all_kinds(port, requests // 5, number)
        sizes.append(watched.now())
        print(f"after {requests // 5 * (number + 1):7} mixed requests {sizes[-1] / MB:7.1f} MB")
    grown = max(sizes[1:]) - sizes[0]
    return [f"mixed requests: {grown / MB:+.1f} MB"] if grown > MOST_MORE_BYTES else []


def main() -> None:
    """Read the command's words, measure, and end with 1 if a bound was missed."""
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    words.add_argument("--source", type=Path, default=ROOT)
    words.add_argument("--only", choices=[*KINDS, "mixed"])
    words.add_argument("--requests", type=int, default=200_000)
    given: Any = words.parse_args()
    allow_many_connections()
    kinds = [kind for kind in KINDS if given.only in (None, kind)]
    requests = given.requests if given.only in (None, "mixed") else 0
    misses = report(given.source.resolve(), kinds, requests)
    for miss in misses:
        print(f"MISSED: {miss}")
    sys.exit(bool(misses))


if __name__ == "__main__":
    main()
