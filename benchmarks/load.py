"""Sign-ups over kept-open connections, written by hand: a client library would be the limit."""

import asyncio
import json
import time

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


async def pace(port: int, *, count: int, per_second: float, name: str) -> dict[str, float]:
    """Sign up at an even pace; when each was begun, by address, on the monotonic clock."""
    begun: dict[str, float] = {}
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def one(email: str) -> None:
        begun[email] = time.monotonic()
        pair = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        await sign_up(*pair, email)
        idle.append(pair)

    start = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            await asyncio.sleep(max(0.0, start + number / per_second - time.monotonic()))
            group.create_task(one(f"{name}{number}@example.com"))
    for _, writer in idle:
        writer.close()
    return begun
