"""What slow senders can hold open: little, and nothing behind the edge."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx

from tests.support.clock import eventually
from tests.support.deploy.edges import DYNAMIC, STATIC, Change, Edge, address_of, running_edge
from tests.support.servers.echo import echo

MOST = 5


@asynccontextmanager
async def half_a_request(edge: Edge, number: int) -> AsyncIterator[asyncio.StreamReader]:
    """Send all of a request but the last byte of its body, and give what its answer comes by."""
    address = (address_of(number), 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, local_addr=address)
    head = f"POST /v1/people HTTP/1.1\r\nHost: {edge.name}\r\nContent-Length: 3\r\n\r\n"
    writer.write(head.encode() + b"{}")
    try:
        yield reader
    finally:
        writer.close()


async def test_one_client_cannot_hold_everything_open(tmp_path: Path) -> None:
    """So many requests of one client may be under way, slow bodies too; others are let in."""
    few = Change(DYNAMIC, "amount: 50 # ADAPT", f"amount: {MOST}")
    wide = Change(DYNAMIC, "average: 20 # ADAPT", "average: 0")
    async with echo() as port, AsyncExitStack() as held:
        edge = await held.enter_async_context(running_edge(tmp_path, (port, port), [few, wide]))
        slow = await held.enter_async_context(edge.client(1))
        other = await held.enter_async_context(edge.client(2))
        group = await held.enter_async_context(asyncio.TaskGroup())
        halves: list[asyncio.Task[bytes]] = []

        async def is_refused() -> bool:
            # One that came while the question was under way has had no place: it comes again.
            while sum(not half.done() for half in halves) < MOST:
                reader = await held.enter_async_context(half_a_request(edge, 1))
                halves.append(group.create_task(reader.read(1)))
            return (await slow.get("/")).status_code == httpx.codes.TOO_MANY_REQUESTS

        await eventually(is_refused)
        assert len([half for half in halves if not half.done()]) == MOST
        assert (await other.get("/")).status_code == httpx.codes.OK


async def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    """After its time the edge hangs up, and nobody behind it has heard of the request."""
    impatient = Change(STATIC, "readTimeout: 30s", "readTimeout: 300ms")
    async with echo() as port, running_edge(tmp_path, (port, port), [impatient]) as edge:
        async with half_a_request(edge, 1) as reader:
            answer = await reader.read()
        (line,) = await eventually(edge.traefik.accesses)
    assert b" 200 " not in answer
    assert line.get("OriginStatus", 0) == 0
