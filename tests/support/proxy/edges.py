"""A real Traefik of the shipped files, and how to call on it."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from tests.support.plain import NO_CERTIFICATES
from tests.support.ports import free_port
from tests.support.proxy.configured import NAME, Change, places, write
from tests.support.traefik import Traefik


@dataclass
class Edge:
    """A running edge. Clients differ in their address: ``client(1)`` is 127.0.1.1."""

    port: int
    traefik: Traefik
    name: str = NAME

    @asynccontextmanager
    async def client(
        self, number: int, *, name: str | None = None
    ) -> AsyncIterator[httpx.AsyncClient]:
        """Call from one address, under the edge's name or another one."""
        transport = httpx.AsyncHTTPTransport(
            verify=NO_CERTIFICATES, local_address=address_of(number)
        )
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Host": name or self.name},
            transport=transport,
            trust_env=False,
            timeout=20,
        ) as http:
            yield http


def address_of(number: int) -> str:
    """The address of the client of that number."""
    return f"127.0.1.{number}"


@asynccontextmanager
async def running_edge(
    folder: Path, servers: tuple[int, int], changes: Iterable[Change] = ()
) -> AsyncIterator[Edge]:
    """Run the shipped configuration with these changes, in front of servers on these ports."""
    port, inside = free_port(), free_port()
    static = write(folder, [*changes, *places(port, inside, servers, folder)])
    traefik = Traefik(static, inside)
    try:
        # In a thread: it asks for the health of servers in this event loop as it starts.
        await asyncio.to_thread(traefik.start)
        yield Edge(port, traefik)
    finally:
        traefik.close()


def layer(answer: httpx.Response) -> Literal["edge", "reach"]:
    """Say which of the two answered: Reach gives every answer of its own an id."""
    return "reach" if "x-request-id" in answer.headers else "edge"
