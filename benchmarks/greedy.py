"""Callers that take more than their share: ``python -m benchmarks.greedy KIND PORT``.

They are bounded in number, bytes and time. When all that can be open is open, or sent, a line says
so; they end when their stdin does. What goes wrong here, and not at Reach, is told and ends with 1.
"""

import asyncio
import errno
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from reach.runtime.server import allow_many_connections

MANY, FEW = 5000, 20
MOST_BYTES = 20_000_000
#: So many are being opened at a time: a listener's queue has an end.
OPENING = 200
TRICKLE_SECONDS = 8
CONNECT_SECONDS = 30
#: How long nothing need be taken for no more to be sent.
STUCK_SECONDS = 2
SIGN_UP = (
    b"POST /v1/signups HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"%s\r\n\r\n%s"
)
HEAD = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n"
#: Of this machine's own, for want of which nothing could be said about Reach.
OURS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Crowd:
    """Connections to one server, and what became of them."""

    port: int
    pairs: list[Pair] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    refused: int = 0
    sent: int = 0

    async def open(self, number: int) -> Pair | None:
        """Connect from one of many addresses; None if Reach would not have it."""
        source = (f"127.{1 + number % 50}.{1 + number // 50 % 200}.1", 0)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                pair = await asyncio.open_connection("127.0.0.1", self.port, local_addr=source)
        except TimeoutError:
            self.refused += 1
            return None
        except OSError as error:
            if error.errno in OURS:
                raise
            self.refused += 1
            return None
        self.pairs.append(pair)
        return pair

    def goes_on(self, doing: Awaitable[None]) -> None:
        """Do this until the end."""
        self.tasks.add(asyncio.ensure_future(doing))

    async def pour(self, writer: asyncio.StreamWriter, piece: bytes) -> None:
        """Send a piece again and again: until it is enough, or is not taken."""
        sent = 0
        with suppress(ConnectionError, TimeoutError):
            while sent < MOST_BYTES and not writer.transport.is_closing():
                writer.write(piece)
                async with asyncio.timeout(STUCK_SECONDS):
                    await writer.drain()
                sent += len(piece)
        self.sent += sent


async def open_many(crowd: Crowd, first: bytes, then: bytes) -> None:
    """Have MANY say ``first``, and ``then`` now and then."""
    numbers = iter(range(MANY))

    async def opener() -> None:
        for number in numbers:
            pair = await crowd.open(number)
            if pair and first:
                pair[1].write(first)

    await asyncio.gather(*(opener() for _ in range(OPENING)))
    if then:
        crowd.goes_on(trickle(list(crowd.pairs), then))


async def trickle(pairs: list[Pair], piece: bytes) -> None:
    """Send each of them a piece from time to time, evenly spread."""
    while True:
        for _, writer in pairs:
            if not writer.transport.is_closing():
                writer.write(piece)
            await asyncio.sleep(TRICKLE_SECONDS / len(pairs))


async def pour_few(crowd: Crowd, first: bytes, piece: bytes) -> None:
    """Have FEW send without an end, and read nothing."""

    async def one(number: int) -> None:
        pair = await crowd.open(number)
        if pair is not None:
            pair[1].transport.pause_reading()  # type: ignore[attr-defined]
            pair[1].write(first)
            await crowd.pour(pair[1], piece)

    await asyncio.gather(*map(one, range(FEW)))


async def slow_heads(crowd: Crowd) -> None:
    """Heads that come by the byte."""
    await open_many(crowd, HEAD + b"x: ", b"a")


async def slow_bodies(crowd: Crowd) -> None:
    """Bodies that come by the byte."""
    await open_many(crowd, SIGN_UP % (b"Content-Length: 2000", b"{"), b" ")


async def silent(crowd: Crowd) -> None:
    """Connections that say nothing."""
    await open_many(crowd, b"", b"")


async def all_slow(crowd: Crowd) -> None:
    """All three at once."""
    await asyncio.gather(slow_heads(crowd), slow_bodies(crowd), silent(crowd))


async def pipelining(crowd: Crowd) -> None:
    """Requests, and no answer is read."""
    await pour_few(crowd, b"", (HEAD + b"\r\n") * 300)


async def endless_head(crowd: Crowd) -> None:
    """A head of many lines."""
    await pour_few(crowd, HEAD, b"x: a\r\n" * 2500)


async def endless_line(crowd: Crowd) -> None:
    """A head of one line."""
    await pour_few(crowd, HEAD + b"x: ", b"a" * 16_384)


async def endless_trailer(crowd: Crowd) -> None:
    """A trailer section of many lines."""
    first = SIGN_UP % (b"Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n")
    await pour_few(crowd, first, b"x: a\r\n" * 2500)


KINDS: dict[str, Callable[[Crowd], Awaitable[None]]] = {
    "slow heads": slow_heads,
    "slow bodies": slow_bodies,
    "silent": silent,
    "all three at once": all_slow,
    "answers not read": pipelining,
    "endless head": endless_head,
    "endless line": endless_line,
    "endless trailer": endless_trailer,
}


async def main(kind: str, port: int) -> None:
    """Do it, say so, and hold it until stdin ends."""
    allow_many_connections()
    crowd = Crowd(port)
    await KINDS[kind](crowd)
    held = sum(not reader.at_eof() for reader, _ in crowd.pairs)
    told = {"open": held, "refused": crowd.refused, "sent": crowd.sent}
    print(json.dumps(told), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    held = sum(not reader.at_eof() for reader, _ in crowd.pairs)
    print(json.dumps({"open": held}), flush=True)
    for task in crowd.tasks:
        task.cancel()
    for _, writer in crowd.pairs:
        writer.transport.abort()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
