"""Reach's Python client in tests: both kinds used alike, over connections that lose answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from reach_client import AsyncClient, Client, Page, Retries
from tests.support.http.clients import NO_CERTIFICATES

Kind = Literal["sync", "async"]
#: Tries as usual, and waits that no test has to sit through.
QUICKLY = Retries(first_seconds=0.001, longest_seconds=0.002)


@dataclass
class Line:
    """What a connection carried, and how many answers it is still to lose on their way back."""

    lose: int = 0
    requests: list[httpx.Request] = field(default_factory=list)

    def carried(self, request: httpx.Request) -> None:
        """Note a request that the server has answered. Raises ReadError if that is lost."""
        self.requests.append(request)
        if self.lose > 0:
            self.lose -= 1
            raise httpx.ReadError("The connection is lost")


class Losing(httpx.HTTPTransport):
    """To the real server, by a line that loses answers."""

    def __init__(self, line: Line) -> None:
        super().__init__(verify=NO_CERTIFICATES)
        self.line = line

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Carry it there, whatever becomes of the answer."""
        response = super().handle_request(request)
        response.read()
        self.line.carried(request)
        return response


class AsyncLosing(httpx.AsyncHTTPTransport):
    """To the real server, by a line that loses answers."""

    def __init__(self, line: Line) -> None:
        super().__init__(verify=NO_CERTIFICATES)
        self.line = line

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry it there, whatever becomes of the answer."""
        response = await super().handle_async_request(request)
        await response.aread()
        self.line.carried(request)
        return response


@dataclass
class Using:
    """A client of one kind or the other. ``client`` is typed for neither."""

    kind: Kind
    client: Any
    line: Line

    async def do(self, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a method of the client, and wait for what it gives: in a thread if it blocks."""
        if self.kind == "sync":
            return await asyncio.to_thread(method, *arguments, **named)
        return await method(*arguments, **named)

    async def lines(self, opening: Any) -> list[str]:
        """Read the lines of an answer that is read while it comes."""
        if self.kind == "sync":
            return await asyncio.to_thread(_lines, opening)
        async with opening as stream:
            return [line async for line in stream.lines()]

    async def all(self, listing: Any) -> list[Any]:
        """Go through a whole list."""
        if self.kind == "sync":
            return await asyncio.to_thread(list, listing)
        return [item async for item in listing]

    async def pages(self, listing: Any) -> list[Page[Any]]:
        """Go through the parts of a list."""
        if self.kind == "sync":
            return await asyncio.to_thread(list, listing.pages())
        return [page async for page in listing.pages()]


def _lines(opening: Any) -> list[str]:
    with opening as stream:
        return list(stream.lines())


@asynccontextmanager
async def using(
    kind: Kind, url: str, key: str | None = None, *, retries: Retries = QUICKLY
) -> AsyncIterator[Using]:
    """Open a client of this kind."""
    line = Line()
    if kind == "sync":
        with Client(url, key, retries=retries, transport=Losing(line)) as client:
            yield Using(kind, client, line)
    else:
        transport = AsyncLosing(line)
        async with AsyncClient(url, key, retries=retries, transport=transport) as other:
            yield Using(kind, other, line)


def key_of(header: dict[str, str]) -> str:
    """The key in a header of ``Reach.key``."""
    return header["Authorization"].removeprefix("Bearer ")
