"""Clients of HTTP that no library is: they write and read by the byte, or pass for another."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import cycle

import anyio
import anyio.lowlevel
import psutil

from tests.support.http import raw
from tests.support.http.raw import Answer

SECONDS = 15
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"


@dataclass
class Caller:
    """One connection to Reach."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def port(self) -> int:
        """The caller's own port."""
        found: int = self.writer.get_extra_info("sockname")[1]
        return found

    def send(self, *parts: bytes) -> None:
        """Send the parts, in as few packets as they fit."""
        self.writer.writelines(parts)

    async def send_apart(self, parts: Iterable[bytes]) -> None:
        """Send each part in a packet of its own, which Reach (in this loop) reads alone."""
        for part in parts:
            self.writer.write(part)
            for _ in range(3):  # turns of the loop: the packet is there, is read, is acted upon
                await anyio.lowlevel.checkpoint()

    async def pour(self, piece: bytes, most: int) -> int:
        """Send a piece again and again, to ``most`` bytes, or until Reach takes no more.

        Gives how many bytes were taken off our hands.
        """
        sent = 0
        with suppress(ConnectionError), anyio.move_on_after(SECONDS):
            while sent < most:
                self.writer.write(piece)
                await self.writer.drain()
                sent += len(piece)
        return sent

    @property
    def is_held(self) -> bool:
        """Whether Reach has not hung up, as far as this loop has heard; all answers being read."""
        return not (self.reader.at_eof() or self.writer.transport.is_closing())

    async def answer(self) -> Answer:
        """Read one answer."""
        return await raw.read_answer(self.reader)

    async def get(self, path: str = "/livez") -> Answer:
        """Ask on this connection, and read the answer."""
        self.send(raw.request(path, method="GET"))
        return await self.answer()

    async def answers(self) -> list[Answer]:
        """Read answers until Reach hangs up."""
        found = []
        with anyio.fail_after(SECONDS):
            while True:
                try:
                    found.append(await raw.read_answer(self.reader))
                except (asyncio.IncompleteReadError, ConnectionError) as ended:
                    partial = getattr(ended, "partial", b"")
                    assert not partial, partial
                    return found

    async def rest(self) -> bytes:
        """Read until Reach hangs up, in whatever way."""
        found = b""
        with anyio.fail_after(SECONDS), suppress(ConnectionError):
            while piece := await self.reader.read(65536):
                found += piece
        return found

    async def refusal(self) -> Answer:
        """Read one refusal, after which Reach hangs up without another word."""
        answer = await self.answer()
        assert answer.headers["content-type"] == "application/problem+json", answer
        assert answer.headers.get("connection", "").lower() == "close", answer
        assert await self.rest() == b""
        return answer


@asynccontextmanager
async def calling(port: int, *, buffer_bytes: int | None = None) -> AsyncIterator[Caller]:
    """Connect, with a small receive buffer if one is given; hang up at the end."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if buffer_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=buffer_bytes or 65536)
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()


def is_open(pid: int, caller: Caller) -> bool:
    """Whether that process has the caller's connection open: for callers that do not read."""
    to = caller.writer.get_extra_info("peername")[1]
    return any(
        found.laddr.port == to and found.raddr and found.raddr.port == caller.port
        for found in psutil.Process(pid).net_connections("tcp")
        if found.fd != -1 and found.status != psutil.CONN_LISTEN
    )


HALF_A_HEAD = LIVEZ[:-2]


HALF_A_BODY = raw.request("/v1/signups", JSON, "Content-Length: 100", body=b"{")


#: As Java's HttpClient and ``curl --http2`` send it, with every request.
H2C = (
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
)


#: Trusts nobody. As httpx's ``verify``, in every client that opens no https:// URL.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


NAMES = (
    "X-Forwarded-For",
    "x-forwarded-for",
    "X_Forwarded_For",
    "X.Forwarded.For",
    "X-Forwarded_For",
    "X!Forwarded~For",
    "X-Real-IP",
    "X_Real_IP",
    "X-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Cluster-Client-IP",
    "Client-IP",
)


def spoofs(count: int) -> Iterator[list[tuple[str, str]]]:
    """Make up so many sets of headers, each of another client."""
    names = cycle((*NAMES, "Forwarded", "twice", "Connection"))
    for number in range(count):
        address = f"203.0.113.{number % 250 + 1}"
        match next(names):
            case "Forwarded":
                yield [("Forwarded", f"for={address};proto=https")]
            case "twice":
                yield [("X-Forwarded-For", address), ("X-Forwarded-For", f"{address}, 127.0.0.1")]
            case "Connection":  # asks the edge to drop its own word
                yield [("Connection", "X-Forwarded-For, X-Real-IP"), ("X-Forwarded-For", address)]
            case name:
                yield [(name, address)]
