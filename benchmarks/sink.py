"""A mail server that takes everything, as fast as Python can: `python -m benchmarks.sink PORT`.

It takes commands at once (RFC 2920), as Postfix, Exim and the mail services do.
It prints a line for each message, when it is accepted: the monotonic time in seconds, and whom
it was for. The clock is the machine's, so other processes can compare theirs with it.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import uvloop

from benchmarks.processes import python_server
from tests.support.clock import wait_until
from tests.support.processes.ports import free_port

WAIT_SECONDS = 60
#: What is answered to some commands; 250 to all others.
OTHERS = {b"EHLO": b"250-sink\r\n250 PIPELINING\r\n", b"QUIT": b"221 bye\r\n"}
#: One mail too many would come within this time.
AFTER_SECONDS = 0.5


class Sink(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = b""
        self._recipient = ""
        self._in_content = False
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer every whole command, or the content's end."""
        self._buffer += data
        while True:
            end = b"\r\n.\r\n" if self._in_content else b"\r\n"
            line, found, rest = self._buffer.partition(end)
            if not found:
                return
            self._buffer = rest
            self._transport.write(self._answer(line))

    def _answer(self, line: bytes) -> bytes:
        if self._in_content:
            self._in_content = False
            print(f"{time.monotonic():.6f} {self._recipient}", flush=True)
            return b"250 2.0.0 taken\r\n"
        verb = line[:4].upper()
        if verb == b"RCPT":
            self._recipient = line.partition(b"<")[2].partition(b">")[0].decode()
        if verb == b"DATA":
            self._in_content = True
            return b"354 go on\r\n"
        return OTHERS.get(verb, b"250 ok\r\n")


class Taken:
    """The mails that a sink has taken, from outside."""

    def __init__(self, port: int, descriptor: int) -> None:
        self.port = port
        self.url = f"smtp://127.0.0.1:{port}"
        self._descriptor = descriptor
        self._seen = 0

    def next(self, count: int) -> list[tuple[float, str]]:
        """Wait for so many more; when each came, and for whom. One more, or less, is an error."""
        wanted = self._seen + count
        wait_until(lambda: len(self._lines()) >= wanted, WAIT_SECONDS, every=0.1)
        time.sleep(AFTER_SECONDS)
        lines = self._lines()
        assert len(lines) == wanted, f"{len(lines) - self._seen} mails, not {count}"
        found = [line.split() for line in lines[self._seen :]]
        self._seen = wanted
        return [(float(at), email) for at, email in found]

    def _lines(self) -> list[str]:
        """Read all that was written, without moving the writer's place in it."""
        size = os.fstat(self._descriptor).st_size
        return os.pread(self._descriptor, size, 0).decode().splitlines()


@contextmanager
def sink() -> Iterator[Taken]:
    """Run one in a process of its own."""
    port = free_port()
    with (
        tempfile.TemporaryFile() as taken,
        python_server("benchmarks.sink", port, taken.fileno()),
    ):
        yield Taken(port, taken.fileno())


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
