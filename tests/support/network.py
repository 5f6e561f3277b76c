"""Dead addresses, names that only a test knows, and TLS that ends before a server."""

import asyncio
import errno
import json
import os
import select
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from reach.network import sockets
from tests.support.root import ROOT

VARIABLE = "TEST_HOSTS"
#: Python runs a module of this name before it runs anything else.
START = f"""
import json, os, sys
sys.path.append({str(ROOT)!r})
from tests.support.network import install
install(json.loads(os.environ[{VARIABLE!r}]))
"""

#: The addresses of each name; empty: it does not exist; None: nobody answers.
Names = Mapping[str, Sequence[str] | None]


@contextmanager
def hosts(names: Names) -> Iterator[None]:
    """Know these names in this process, and nothing of what was dead earlier."""
    real, silence = socket.getaddrinfo, install(names)
    sockets._silent.clear()
    sockets._lost.clear()
    try:
        yield
    finally:
        silence.set()
        socket.getaddrinfo = real


def install(names: Names) -> threading.Event:
    """Know these names from now on; give what ends the silence of those that are silent."""
    real, silence = socket.getaddrinfo, threading.Event()

    def getaddrinfo(host: Any, port: Any, *given: Any, **named: Any) -> Any:
        options = dict(zip(("family", "type", "proto", "flags"), given, strict=False)) | named
        if host not in names or options.get("flags", 0) & socket.AI_NUMERICHOST:
            return real(host, port, **options)
        addresses = names[host]
        if addresses is None:
            silence.wait()
        found = []
        for address in addresses or ():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            if options.get("family", 0) in (0, family):
                found += real(address, port, **options)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found

    socket.getaddrinfo = getaddrinfo
    return silence


def environment_with(folder: Path, names: Names) -> dict[str, str]:
    """Make what a process of Reach needs in its environment to know these names."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(START)
    path = os.pathsep.join((str(folder), str(ROOT / "src")))
    return {"PYTHONPATH": path, VARIABLE: json.dumps(names)}


#: More than a queue of none may hold: Linux takes one more than it was told, others half as many
#: again.
FILLING = 8
#: A loopback connection that was not made in this long is not going to be.
DROPPED_SECONDS = 0.1


def has_ipv6() -> bool:
    """Whether this machine has ::1."""
    try:
        with socket.socket(socket.AF_INET6) as candidate:
            candidate.bind(("::1", 0))
    except OSError:
        return False
    return True


#: Addresses of this machine besides 127.0.0.1, at which the tests' servers do not listen.
OTHERS = ("::1", "127.0.0.2") if has_ipv6() else ("127.0.0.2",)


class DeadAddress:
    """``host`` at ``port`` (any free one by default), as long as the ``with`` lasts."""

    def __init__(self, host: str, port: int = 0) -> None:
        self.host = host
        self.port = port
        self.family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        try:
            self._listen()
            for _ in range(FILLING):
                self._sockets.append(self._connecting())
                select.select([], self._sockets[-1:], [], DROPPED_SECONDS / FILLING)
            with self._connecting() as another:
                took = select.select([], [another], [], DROPPED_SECONDS)[1]
            assert not took, f"{self.host} takes connections although its queue is full"
        except BaseException:
            self.revive()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.revive()

    def revive(self) -> None:
        """Drop nothing any more: each connection is refused, until somebody listens there."""
        while self._sockets:
            self._sockets.pop().close()

    def _listen(self) -> None:
        listener = socket.socket(self.family, socket.SOCK_STREAM)
        self._sockets.append(listener)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((self.host, self.port))
        listener.listen(0)
        self.port = listener.getsockname()[1]

    def _connecting(self) -> socket.socket:
        connecting = socket.socket(self.family, socket.SOCK_STREAM)
        connecting.settimeout(0)
        assert connecting.connect_ex((self.host, self.port)) in (0, errno.EINPROGRESS)
        return connecting


#: What Postgres's clients send before TLS, and what they hear if there is some.
SSL_REQUEST, WILLING = bytes.fromhex("0000000804d2162f"), b"S"


@asynccontextmanager
async def tls_front(
    to_port: int, certificate: ssl.SSLContext, *, postgres: bool = False
) -> AsyncIterator[int]:
    """Listen on 127.0.0.1, as long as the ``with`` lasts; gives the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if postgres:
                assert await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST
                writer.write(WILLING)
                await writer.start_tls(certificate)
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", to_port)
            try:
                await asyncio.gather(_pass(reader, inner_writer), _pass(inner_reader, writer))
            finally:
                inner_writer.close()
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        # One that is cancelled, be it before its first step, closes nothing by itself.
        task.add_done_callback(lambda task: writer.close() if task.cancelled() else None)

    server = await asyncio.start_server(
        accept, "127.0.0.1", 0, ssl=None if postgres else certificate
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(1 << 16):
        writer.write(piece)
        await writer.drain()
    writer.close()
