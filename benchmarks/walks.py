"""How long the road is: calls and files of ours that a request or a delivery crosses.

`python -m benchmarks.walks` counts, on SQLite, each after others of its kind; with ``--list`` it
also prints the calls in their order. A call is a Python function of `src/reach` that begins
(`sys.setprofile`, in every thread); a coroutine or generator counts once, not each time that it
goes on. Comprehensions count too, and are told apart: from Python 3.12 on most are no calls.

What runs is what users run, in this process: uvicorn with Reach's HTTP reader on a real socket,
and a worker that delivers to a mail server in another process. Of ten walks of a kind the
shortest is told, for what runs beside (a worker's looks for other things) is in some of them.
"""

import argparse
import asyncio
import inspect
import os
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
from pydantic import SecretStr
from sqlalchemy import event
from sqlalchemy.engine import Engine

import reach
from benchmarks.load import flood
from benchmarks.sink import sink
from reach.db.migrate import migrate
from reach.settings import Settings
from reach.telemetry import logging
from tests.support.http.raw import read_answer, request
from tests.support.processes.commands import api_process
from tests.support.processes.ports import free_port
from tests.support.processes.reach import running_reach, running_worker

SOURCE = str(Path(reach.__file__).parent) + os.sep
#: Reads a request from the socket: told apart, since most of its calls are a header each.
READER = "runtime/"
#: Looks for others' commits every few milliseconds, whether there are any or not.
BESIDE = ("relay",)
#: What takes leases: its answer is as many messages as it took.
LEASES = "lease_due"
TIMES = 10
#: Nothing of ours begins for so long: a walk is over.
QUIET_SECONDS = 0.05
WAIT_SECONDS = 20
SIGN_UPS = 5
IDLE_SECONDS = 5
GENERATORS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


@dataclass(frozen=True)
class Walk:
    """The calls of one walk in order, each as ``file:function``."""

    calls: Sequence[str]

    def row(self, name: str) -> str:
        """Write it as a line of the table (see ``HEADING``)."""
        read = [call for call in self.calls if call.startswith(READER)]
        short = sum(call.endswith(("comp>", "<genexpr>")) for call in self.calls)
        calls, files, others = len(self.calls), _files(self.calls), len(self.calls) - len(read)
        reader = f"{len(read)} / {_files(read)}"
        return f"{name:36}{f'{calls} / {files}':>12}{reader:>12}{short:15}{others - short:9}"


HEADING = (
    f"{'calls / files':36}{'in all':>12}{'HTTP reader':>12}{'comprehensions':>15}{'the rest':>9}"
)


def _files(calls: Sequence[str]) -> int:
    return len({call.partition(":")[0] for call in calls})


class Recorder:
    """What this process's functions of ours do, while it listens."""

    def __init__(self) -> None:
        """Hear every thread from now on."""
        self.calls: list[str] = []
        self.leases: list[int] = []
        self._is_on = False
        self._last = 0.0
        threading.setprofile(self._hear)
        sys.setprofile(self._hear)

    async def walk(self, take: Callable[[], Awaitable[None]], *, to_quiet: bool) -> Walk:
        """Record until ``take`` is over or, after it, until nothing more happens."""
        self.calls.clear()
        self._is_on = True
        await take()
        if to_quiet:
            await self._quiet()
        self._is_on = False
        walk = Walk(tuple(self.calls))
        await self._quiet()
        return walk

    async def _quiet(self) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < max(self._last + QUIET_SECONDS, deadline - WAIT_SECONDS):
            assert time.monotonic() < deadline, "it never comes to rest"
            await asyncio.sleep(QUIET_SECONDS / 5)

    def _hear(self, frame: FrameType, what: str, value: Any) -> None:
        code = frame.f_code
        if what not in ("call", "return") or not code.co_filename.startswith(SOURCE):
            return
        if what == "return":
            if code.co_name == LEASES and value is not None:
                self.leases.append(len(value))
        elif code.co_filename.endswith(".py") and _begins(frame) and not _is_beside(frame):
            self._last = time.monotonic()
            if self._is_on:
                file = code.co_filename.removeprefix(SOURCE)
                self.calls.append(f"{file}:{code.co_qualname}")


def _begins(frame: FrameType) -> bool:
    """Whether a function begins, rather than a coroutine or generator goes on.

    The last bits of the argument of RESUME say which; it is the instruction at hand.
    """
    if not frame.f_code.co_flags & GENERATORS:
        return True
    return frame.f_lasti < 0 or frame.f_code.co_code[frame.f_lasti + 1] & 3 == 0


def _is_beside(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name in BESIDE:
            return True
        frame = frame.f_back
    return False


def main() -> None:
    """Measure, and print a line a figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.walks", description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the calls in their order")
    given = parser.parse_args()
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        logging.configure("info", nowhere)
        settings = Settings(
            data_dir=Path(folder),
            database_url=SecretStr(f"sqlite:///{folder}/reach.sqlite3"),
            secret_key=SecretStr("a-key-that-is-long-enough-to-measure"),
            port=free_port(),
            limit_signups="1000000/hour",
        )
        migrate(settings.database)
        walks = asyncio.run(requests(settings, recorder))
        with sink() as taken:
            worked = settings.model_copy(update={"smtp_url": SecretStr(taken.url)})
            delivered, facts = asyncio.run(deliveries(worked, recorder))
    walks |= delivered
    print(HEADING)
    for name, walk in walks.items():
        print(walk.row(name))
    print(*facts, sep="\n")
    if given.list:
        for name, walk in walks.items():
            print(f"\n{name}", *walk.calls, sep="\n  ")


async def requests(settings: Settings, recorder: Recorder) -> dict[str, Walk]:
    """Take the roads of a sign-up and of an operator's read."""
    async with running_reach(settings) as served, caller(served.settings.port) as call:
        key = await served.key()
        numbers = iter(range(1000))

        async def sign_up() -> None:
            body = b'{"email": "ada%d@example.com", "name": "Ada Lovelace"}' % next(numbers)
            lines = ("Content-Type: application/json", f"Content-Length: {len(body)}")
            assert await call(request("/v1/signups", *lines, body=body)) == httpx.codes.ACCEPTED

        await sign_up()
        people = (await served.http.get("/v1/people", headers=key)).json()["items"]
        path, line = f"/v1/people/{people[0]['id']}", f"Authorization: {key['Authorization']}"

        async def read() -> None:
            assert await call(request(path, line, method="GET")) == httpx.codes.OK

        return {
            "a sign-up, to the answer": await shortest(recorder, sign_up, to_quiet=False),
            "a sign-up, and what follows": await shortest(recorder, sign_up, to_quiet=True),
            "an operator's read, to the answer": await shortest(recorder, read, to_quiet=False),
            "an operator's read, and what follows": await shortest(recorder, read, to_quiet=True),
        }


async def deliveries(settings: Settings, recorder: Recorder) -> tuple[dict[str, Walk], list[str]]:
    """Take a delivery's road; count leases, and what an idle worker does.

    People sign up at another process: what they cost is none of the worker's.
    """
    with api_process(settings, port=(port := free_port())):
        async with running_worker(settings), sent(settings) as count:
            numbers = iter(range(1000))

            async def deliver() -> None:
                before = count()
                await flood(port, count=1, connections=1, name=f"bob{next(numbers)}-")
                deadline = time.monotonic() + WAIT_SECONDS
                while count() == before:
                    assert time.monotonic() < deadline, "it was not delivered"
                    await asyncio.sleep(0)

            walks = {
                "a delivery, to its outcome on disk": await shortest(
                    recorder, deliver, to_quiet=False
                ),
                "a delivery, and what follows": await shortest(recorder, deliver, to_quiet=True),
            }
            recorder.leases.clear()
            for _ in range(SIGN_UPS):
                await asyncio.gather(deliver(), asyncio.sleep(1))
            leases = list(recorder.leases)
            with written() as transactions:
                await asyncio.sleep(IDLE_SECONDS)
    assert sum(leases) == SIGN_UPS, leases
    facts = [
        f"leases for {SIGN_UPS} sign-ups a second apart: {len(leases)}, {leases.count(0)} empty",
        f"an idle worker, {IDLE_SECONDS} s: {transactions.total()} transactions begun to write",
        *(f"  {times} of {statement}…" for statement, times in transactions.most_common()),
    ]
    return walks, facts


async def shortest(
    recorder: Recorder, take: Callable[[], Awaitable[None]], *, to_quiet: bool
) -> Walk:
    """Take a road twice to warm up, then several times; the shortest."""
    for _ in range(2):
        await recorder.walk(take, to_quiet=True)
    walks = [await recorder.walk(take, to_quiet=to_quiet) for _ in range(TIMES)]
    return min(walks, key=lambda walk: len(walk.calls))


@asynccontextmanager
async def caller(port: int) -> AsyncIterator[Callable[[bytes], Awaitable[int]]]:
    """Keep a connection open; what is called sends a request on it and gives the status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def call(words: bytes) -> int:
        writer.write(words)
        return (await read_answer(reader)).status

    yield call
    writer.close()


@asynccontextmanager
async def sent(settings: Settings) -> AsyncIterator[Callable[[], int]]:
    """Count the messages that are written down as sent, by no code of ours."""
    address = f"file:{settings.data_dir / 'reach.sqlite3'}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as database:
        query = "SELECT count(*) FROM messages WHERE state = 'sent'"
        yield lambda: int(database.execute(query).fetchone()[0])


@contextmanager
def written() -> Iterator[Counter[str]]:
    """Count the transactions that this process begins to write, by their first statement."""
    found: Counter[str] = Counter()
    begun: set[int] = set()

    def note(connection: object, _: object, statement: str, *__: object) -> None:
        if statement == "BEGIN IMMEDIATE":
            begun.add(id(connection))
        elif id(connection) in begun:
            begun.discard(id(connection))
            found[" ".join(statement.split())[:60]] += 1

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


if __name__ == "__main__":
    main()
