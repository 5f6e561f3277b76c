"""Bytes on a socket: what no well-kept HTTP client would send."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

SECONDS = 10


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the headers (names in lower case), the body."""

    status: int
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def connection(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to a server of this machine; hang up at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def exchange(port: int, *parts: bytes) -> Answer:
    """Send ``parts``, and read one answer."""
    async with connection(port) as (reader, writer):
        for part in parts:
            writer.write(part)
        return await read_answer(reader)


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one answer that has a ``Content-Length``."""
    with anyio.fail_after(SECONDS):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.strip().split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(status.split()[1]), headers, body)


def request(path: str, *headers: str, method: str = "POST", body: bytes = b"") -> bytes:
    """Write a request; of its headers only ``Host`` goes by itself."""
    return head([f"{method} {path} HTTP/1.1", "Host: localhost", *headers]) + body


def head(lines: Iterable[str]) -> bytes:
    """Write the lines that come before a body."""
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")
