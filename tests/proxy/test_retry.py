"""What the edge sends a second time, when a server it chose does not answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.deploy.edges import Edge, running_edge
from tests.support.servers.echo import echo

TRIES = 8


class Dropper:
    """A server that is always ready, and hangs up on everything else once it has read it."""

    def __init__(self) -> None:
        self.dropped = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request's head."""
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /readyz "):
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        else:
            self.dropped += 1
        writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """Run it on a free port, and give the port."""
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        yield server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()


async def statuses(edge: Edge, method: str) -> list[int]:
    """Ask so often that each server has its turn."""
    content = b"{}" if method in {"POST", "PATCH", "PUT"} else None
    async with edge.client(1) as http:
        return [
            (await http.request(method, "/v1/people", content=content)).status_code
            for _ in range(TRIES)
        ]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_what_may_be_repeated_is(method: str, tmp_path: Path) -> None:
    """A server that takes a request and dies costs no answer, if it does no harm to ask again."""
    dropper = Dropper()
    async with (
        dropper.running() as bad,
        echo() as good,
        running_edge(tmp_path, (bad, good)) as edge,
    ):
        answers = await statuses(edge, method)
    assert set(answers) <= {200, 405}, "the other one's answers"
    assert dropper.dropped


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_may_have_been_done_is_not_repeated(method: str, tmp_path: Path) -> None:
    """What a server has been given it may have done: the client is told 502, and decides."""
    dropper = Dropper()
    async with (
        dropper.running() as bad,
        echo() as good,
        running_edge(tmp_path, (bad, good)) as edge,
    ):
        answers = await statuses(edge, method)
    assert dropper.dropped == answers.count(502) > 0
