"""Many callers at once, written by hand: each has a connection of its own."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio

from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.http.raw import connection, read_answer, request
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA
from tests.support.processes.running import running_api

BODY = json.dumps(ADA).encode()


def sign_up(forwarded: str | None = None) -> bytes:
    """Write a sign-up, as a proxy would hand it on for ``forwarded``."""
    lines = ["Content-Type: application/json", f"Content-Length: {len(BODY)}"]
    lines += [f"X-Forwarded-For: {forwarded}"] if forwarded else []
    return request("/v1/signups", *lines, body=BODY)


async def crowd(ports: Sequence[int], count: int, forwarded: str | None = None) -> Counter[int]:
    """Sign up ``count`` times at the same time, by turns at each port; how it was answered."""
    statuses: Counter[int] = Counter()
    connected = 0
    everybody = anyio.Event()

    async def one(number: int) -> None:
        nonlocal connected
        async with connection(ports[number % len(ports)]) as (reader, writer):
            connected += 1
            if connected == count:
                everybody.set()
            await everybody.wait()
            writer.write(sign_up(forwarded))
            statuses[(await read_answer(reader)).status] += 1

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for number in range(count):
                group.start_soon(one, number)
    return statuses


class Traffic:
    """Callers who sign up again and again for one client, until the end of the ``with``."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()

    @classmethod
    @asynccontextmanager
    async def flowing(
        cls, ports: Sequence[int], forwarded: str, callers: int = 4
    ) -> AsyncIterator["Traffic"]:
        """Have ``callers`` at each port."""
        traffic, stop = cls(), anyio.Event()
        async with anyio.create_task_group() as group:
            for port in list(ports) * callers:
                group.start_soon(traffic.call, port, forwarded, stop)
            try:
                yield traffic
            finally:
                stop.set()

    async def goes_on(self) -> None:
        """Wait until a hundred more are answered."""
        seen = self.statuses.total()
        await eventually(lambda: self.statuses.total() >= seen + 100)

    async def call(self, port: int, forwarded: str, stop: anyio.Event) -> None:
        """Sign up again and again."""
        async with connection(port) as (reader, writer):
            while not stop.is_set():
                writer.write(sign_up(forwarded))
                self.statuses[(await read_answer(reader)).status] += 1
                await asyncio.sleep(0)


@asynccontextmanager
async def replicas(
    settings: Settings, count: int, **changes: Any
) -> AsyncIterator[list[ReachProcess]]:
    """Run ``reach api`` so many times, each on a port of its own (see ``ports_of``)."""
    async with AsyncExitStack() as stack:
        each = [settings.model_copy(update={"port": free_port()}) for _ in range(count)]
        yield [await stack.enter_async_context(running_api(one, **changes)) for one in each]


def ports_of(processes: Sequence[ReachProcess]) -> list[int]:
    """The ports of ``replicas``."""
    return [int(process.environment["REACH_PORT"]) for process in processes]
