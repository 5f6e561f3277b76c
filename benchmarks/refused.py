"""What a refusal costs: 429s a second, of one client that has used up its limit."""

import asyncio
import time
from collections.abc import Iterator

from benchmarks.load import HEADERS
from reach.settings import Settings
from tests.support.processes.commands import api_process
from tests.support.processes.ports import free_port

REFUSED, CONNECTIONS = 8000, 64
BODY = '{"email": "ada@example.com", "name": "Ada Lovelace"}'
REQUEST = f"{HEADERS}Content-Length: {len(BODY)}\r\n\r\n{BODY}".encode()


async def ask(port: int, numbers: Iterator[int]) -> None:
    """Sign up over one connection, as often as there are numbers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in numbers:
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.1 429", b"HTTP/1.1 202")), head
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()


async def measure_refused(settings: Settings) -> float:
    """Refusals a second at one API process, which counts in memory."""
    port = free_port()
    with api_process(settings, port=port, limit_signups="1/day"):
        await flood(port, 500)
        began = time.monotonic()
        await flood(port, REFUSED)
        return REFUSED / (time.monotonic() - began)


async def flood(port: int, count: int) -> None:
    """Sign up so many times, over all connections."""
    numbers = iter(range(count))
    await asyncio.gather(*(ask(port, numbers) for _ in range(CONNECTIONS)))
