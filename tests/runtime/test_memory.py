"""What one caller can make a process hold: less than 5 MB, and others are answered meanwhile."""

import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from shutil import copy
from typing import Any

import anyio
import psutil
import pytest

from reach.settings import Settings
from tests.support.http import raw
from tests.support.http.clients import CHUNKED, JSON, LIVEZ, Caller, calling
from tests.support.processes.commands import ReachProcess, api_process
from tests.support.processes.ports import free_port
from tests.support.times import SHORT_TIMES, UNLIMITED

MB = 1_000_000
MOST_BYTES = 5 * MB
CALLERS, EACH = 5, 6 * MB
HEAD = LIVEZ[:-2]

#: What each of them says first, and then for as long as it is taken.
GREEDY = {
    "requests, no answer read": (b"", raw.request("/openapi.json", method="GET") * 200),
    "small requests, no answer read": (b"", LIVEZ * 400),
    "a head without an end": (HEAD, b"x: a\r\n" * 3000),
    "a line without an end": (HEAD + b"x: ", b"a" * 16_384),
    "a target without an end": (b"GET /", b"a" * 16_384),
    "empty lines": (b"", b"\r\n" * 8192),
    "trailers without an end": (
        raw.request("/v1/signups", JSON, CHUNKED, body=b"2\r\n{}\r\n0\r\n"),
        b"x: a\r\n" * 3000,
    ),
    "a trailer without an end": (
        raw.request("/v1/signups", JSON, CHUNKED, body=b"2\r\n{}\r\n0\r\nx: "),
        b"a" * 16_384,
    ),
    "a chunk's note without an end": (
        raw.request("/v1/signups", JSON, CHUNKED, body=b"2;"),
        b"a" * 16_384,
    ),
    "a body behind a slow one": (
        raw.request("/v1/signups", JSON, "Content-Length: 60000", body=b"{" * 50_000),
        b"",
    ),
}


@pytest.fixture(scope="module")
def process(
    tmp_path_factory: pytest.TempPathFactory, migrated_file: Path
) -> Iterator[ReachProcess]:
    """A process of its own, warm: what a first request needs is no memory of a caller's."""
    folder = tmp_path_factory.mktemp("memory")
    copy(migrated_file, folder / "reach.sqlite3")
    given: dict[str, Any] = {**SHORT_TIMES, **UNLIMITED, "data_dir": folder, "port": free_port()}
    settings = Settings(**given)
    with api_process(settings) as api:
        anyio.run(warm, settings.port)
        yield api


async def warm(port: int) -> None:
    """Have everything loaded that will ever be."""
    for kind in GREEDY:
        for _ in range(3):
            async with greedy(port, kind) as callers:
                await look(port)
            del callers


@asynccontextmanager
async def greedy(port: int, kind: str, callers: int = 1, most: int = MB) -> AsyncIterator[int]:
    """So many callers of a kind, each of which sends so much if it is let; how much was taken."""
    first, more = GREEDY[kind]
    taken = 0
    async with AsyncExitStack() as stack:
        for _ in range(callers):
            caller = await stack.enter_async_context(calling(port, buffer_bytes=4096))
            caller.writer.transport.pause_reading()  # type: ignore[attr-defined]
            caller.send(first)
            if more:
                taken += await pour(caller, more, most)
        yield taken


async def pour(caller: Caller, piece: bytes, most: int) -> int:
    """Send until nothing is taken any more for a while."""
    sent = 0
    with anyio.move_on_after(0.5) as while_taken:
        while sent < most and not caller.writer.transport.is_closing():
            caller.writer.write(piece)
            try:
                await caller.writer.drain()
            except ConnectionError:
                break
            sent += len(piece)
            while_taken.deadline = anyio.current_time() + 0.5
    return sent


async def look(port: int) -> None:
    """Ask as somebody else."""
    async with calling(port) as other:
        assert (await other.get()).status == 200


@pytest.mark.parametrize("kind", GREEDY)
async def test_a_greedy_caller_is_held_to_a_few_megabytes(process: ReachProcess, kind: str) -> None:
    """While it is there, and after."""
    port = int(process.environment["REACH_PORT"])
    measured = psutil.Process(process.pid)
    gc.collect()
    before = measured.memory_info().rss
    async with greedy(port, kind, CALLERS, EACH):
        await look(port)
        during = measured.memory_info().rss
    await look(port)
    after = measured.memory_info().rss
    assert during - before < MOST_BYTES
    assert after - before < MOST_BYTES
