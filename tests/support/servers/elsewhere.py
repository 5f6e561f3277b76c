"""Somebody's own web site: a page at another site than Reach's, and what it is sent to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n"


@dataclass
class Elsewhere:
    """A site with one page, and a page to come back to (``/thanks``).

    ``html`` and ``policy`` (its Content-Security-Policy) may be set once its address is known.
    """

    origin: str
    html: str = ""
    policy: str = ""

    def page(self, target: str) -> str:
        """Write an answer."""
        html = "<h1>Thanks</h1>" if target.startswith("/thanks") else self.html
        policy = f"Content-Security-Policy: {self.policy}\r\n" if self.policy else ""
        begin = (
            '<!doctype html><html lang="en"><title>Elsewhere</title><link rel="icon" href="data:,">'
        )
        return f"{HEAD}{policy}\r\n{begin}{html}"


@asynccontextmanager
async def elsewhere(host: str = "localhost") -> AsyncIterator[Elsewhere]:
    """Serve a site: to browsers another one than 127.0.0.1, or a sibling's if ``host`` is that."""
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        # Browsers open connections ahead that they never use.
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(site.page(head.split(b" ")[1].decode()).encode())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    site = Elsewhere(f"http://{host}:{server.sockets[0].getsockname()[1]}")
    try:
        yield site
    finally:
        server.close()
        # A loop with open connections does not close.
        for writer in writers:
            writer.close()
