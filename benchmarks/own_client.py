"""Our own client, where there is no wrk. It prints what `benchmarks/wrk.lua` prints.

python -m benchmarks.own_client BASE CONNECTIONS SECONDS METHOD STATUS PATH TOKEN PREFIX IDS
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop

#: In place of a word that is not given.
NONE = "-"
Seconds = float


class Caller(asyncio.Protocol):
    """One connection: sends a request, waits for the whole answer, and sends the next one."""

    def __init__(self, requests: Iterator[bytes], status: bytes, until: float) -> None:
        self._requests = requests
        self._status = status
        self._until = until
        self.ended = asyncio.get_running_loop().create_future()
        self.taken: list[float] = []
        self.refused = 0
        self.words = b""
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first one."""
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Wait for the end of the answer's body."""
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found or not is_whole(head, body):
            return
        self.taken.append(time.monotonic() - self._began)
        if head.split(b" ", 2)[1] != self._status:
            self.refused += 1
            self.words = self.words or head.split(b" ", 2)[1] + b" " + body[:200]
        self._answer = b""
        if time.monotonic() < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """End: by ourselves, or lost while an answer was due."""
        if not self.ended.done():
            self.ended.set_result(time.monotonic() < self._until)

    def _send(self) -> None:
        self._began = time.monotonic()
        self._transport.write(next(self._requests))


def is_whole(head: bytes, body: bytes) -> bool:
    """Whether an answer is at its end: nothing else comes before the next request."""
    fields = head.lower()
    if b"transfer-encoding: chunked" in fields:
        return (b"\r\n" + body).endswith(b"\r\n0\r\n\r\n")
    return len(body) >= int(fields.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)


def requests(host: str, words: Sequence[str]) -> Iterator[bytes]:
    """Make the requests, one after the other."""
    method, path, authorization, prefix, ids = words
    common = f"Host: {host}\r\n"
    if authorization != NONE:
        common += f"Authorization: {authorization}\r\n"
    below = Path(ids).read_text(encoding="utf-8").split() if ids != NONE else [""]
    for number in count():
        if method == "GET":
            line = f"GET {path}{below[number % len(below)]} HTTP/1.1"
            yield f"{line}\r\n{common}\r\n".encode()
            continue
        body = f'{{"email":"{prefix}{number}@example.com","name":"Ada Lovelace"}}'
        head = f"POST {path} HTTP/1.1\r\n{common}Content-Type: application/json\r\n"
        yield f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


async def call(base: str, connections: int, seconds: Seconds, words: list[str]) -> None:
    """Keep the connections busy, and print what came of it."""
    method, status, *others = words
    url = urlsplit(base)
    host, port = url.hostname or "", url.port or 80
    each = requests(url.netloc, (method, *others))
    began = time.monotonic()
    loop = asyncio.get_running_loop()
    callers = []
    for _ in range(connections):
        _, caller = await loop.create_connection(
            lambda: Caller(each, status.encode(), began + seconds), host, port
        )
        callers.append(caller)
    lost = sum(await asyncio.gather(*(caller.ended for caller in callers)))
    taken = time.monotonic() - began
    times = [one * 1e6 for caller in callers for one in caller.taken]
    cuts = statistics.quantiles(times, n=100) if len(times) > 1 else times * 99
    print(
        f"RESULT answered={len(times)} microseconds={taken * 1e6:.0f} p50={cuts[49]:.0f}"
        f" p99={cuts[98]:.0f} refused={sum(caller.refused for caller in callers)} lost={lost}"
    )
    told = b"".join(caller.words for caller in callers)[:400].decode(errors="replace")
    if told:
        print("TOLD", " ".join(told.split()))


if __name__ == "__main__":
    _, base, connections, seconds, *words = sys.argv
    uvloop.run(call(base, int(connections), float(seconds), words))
