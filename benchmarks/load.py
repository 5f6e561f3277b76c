"""Sign-ups over kept-open connections, written by hand: a client library would be the limit."""

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

HEADERS = "POST /v1/signups HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


async def sign_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, email: str) -> None:
    """Sign up once. Raises AssertionError for anything but a 202."""
    body = json.dumps({"email": email, "name": "Ada Lovelace"})
    writer.write(f"{HEADERS}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 202"), head
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    await reader.readexactly(length)


async def flood(port: int, *, count: int, connections: int, name: str) -> float:
    """Sign up ``count`` people as fast as they are taken; sign-ups a second."""
    numbers = iter(range(count))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            await sign_up(reader, writer, f"{name}{number}@example.com")
        writer.close()

    began = time.monotonic()
    await asyncio.gather(*(client() for _ in range(connections)))
    return count / (time.monotonic() - began)


@dataclass(frozen=True)
class Paced:
    """When each sign-up was begun, by address, on the monotonic clock; and how long each took."""

    begun: dict[str, float] = field(default_factory=dict)
    taken_ms: list[float] = field(default_factory=list)

    @property
    def p50_ms(self) -> float:
        """The median."""
        return statistics.median(self.taken_ms)

    @property
    def p99_ms(self) -> float:
        """What one in a hundred takes, or more."""
        return statistics.quantiles(self.taken_ms, n=100, method="inclusive")[98]


async def pace(
    port: int,
    *,
    count: int,
    per_second: float,
    name: str,
    meanwhile: Mapping[int, Callable[[], object]] | None = None,
) -> Paced:
    """Sign up at an even pace. ``meanwhile`` is what is done, in a thread, before a number."""
    paced = Paced()
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def one(email: str) -> None:
        began = paced.begun[email] = time.monotonic()
        pair = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        await sign_up(*pair, email)
        paced.taken_ms.append((time.monotonic() - began) * 1000)
        idle.append(pair)

    start = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            await asyncio.sleep(max(0.0, start + number / per_second - time.monotonic()))
            if meanwhile and number in meanwhile:
                group.create_task(asyncio.to_thread(meanwhile[number]))
            group.create_task(one(f"{name}{number}@example.com"))
    for _, writer in idle:
        writer.close()
    return paced
