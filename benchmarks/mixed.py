"""Requests of all kinds, good and bad, each of which must get the answer that is due."""

import asyncio
from collections.abc import Callable
from itertools import cycle, islice

CONNECTIONS = 16
HOST = "Host: 127.0.0.1\r\n"
SIGN_UP = f"POST /v1/signups HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n"


def _posting(body: str) -> bytes:
    return f"{SIGN_UP}Content-Length: {len(body)}\r\n\r\n{body}".encode()


#: What is sent, with a number of its own, and the status that is due.
REQUESTS: dict[int, Callable[[str], bytes]] = {
    202: lambda who: _posting(f'{{"email": "{who}@example.com", "name": "Ada Lovelace"}}'),
    404: lambda who: f"GET /nowhere/{who} HTTP/1.1\r\n{HOST}\r\n".encode(),
    422: lambda who: _posting(f'{{"email": "{who}", "name": "Ada"}}'),
    400: lambda who: f"GET /{who}\r\nno HTTP\r\n\r\n".encode(),
    413: lambda _: f"{SIGN_UP}Content-Length: 70000\r\n\r\n".encode() + b"x" * 70_000,
    431: lambda who: f"GET / HTTP/1.1\r\n{HOST}x: {who}{'a' * 33_000}\r\n\r\n".encode(),
}


async def flood_of_all_kinds(port: int, count: int, turn: int) -> None:
    """Send so many, evenly of each kind. Raises AssertionError for any other answer."""
    numbers = iter(range(count))

    async def caller() -> None:
        pair = None
        for number in numbers:
            status, write = next(islice(cycle(REQUESTS.items()), number % len(REQUESTS), None))
            pair = pair or await asyncio.open_connection("127.0.0.1", port)
            pair[1].write(write(f"m{turn}-{number}"))
            found, is_kept = await _answer(pair[0])
            assert found == status, (found, status)
            if not is_kept or pair[0].at_eof():
                pair[1].close()
                pair = None
        if pair:
            pair[1].close()

    await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Read an answer: its status, and whether the connection goes on."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
    return int(head.split()[1]), b"connection: close" not in head
