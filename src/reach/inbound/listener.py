"""Listening for the mail servers that hand us reports."""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import anyio
import structlog

from reach.inbound.connection import Connection, LmtpConnection
from reach.inbound.receiving import Receiving
from reach.settings.inbound import Bind

log = structlog.get_logger("reach.inbound")

#: Postfix opens 20 unless it is told otherwise; one that is sent off tries again.
MOST_CONNECTIONS = 50
#: Both IPv6 and IPv4.
ALL = "::"


@contextmanager
def listening(bind: Bind) -> Iterator[socket.socket]:
    """Take the port, or make the Unix socket, which everybody who can reach it may write to.

    Raises OSError.
    """
    if not bind.path:
        is_six = ":" in bind.host
        family = socket.AF_INET6 if is_six else socket.AF_INET
        place = (bind.host, bind.port)
        both = is_six and bind.host == ALL
        with socket.create_server(place, family=family, dualstack_ipv6=both) as listener:
            yield listener
        return
    path = Path(bind.path)
    _clear(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(bind.path)
        path.chmod(0o666)  # as with a port of the loopback; its folder may admit fewer
        listener.listen()
        try:
            yield listener
        finally:
            listener.close()
            with suppress(OSError):  # another process has made its own since this one took no more
                _clear(path)


def _clear(path: Path) -> None:
    """Remove the socket of a process that has ended. Raises OSError if one listens at it."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(0)
        try:
            caller.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


class Listener:
    """Takes mail on the running event loop."""

    def __init__(self, bind: Bind, receiving: Receiving, grace_seconds: float) -> None:
        """Take the collaborators; touch nothing yet."""
        self._bind, self._grace_seconds = bind, grace_seconds
        self._open: set[Connection] = set()
        self.receiving, self.is_stopping = receiving, False

    def admit(self, connection: Connection) -> bool:
        """Count a connection in; False if there are too many."""
        if self.is_stopping or len(self._open) >= MOST_CONNECTIONS:
            return False
        self._open.add(connection)
        return True

    def leave(self, connection: Connection) -> None:
        """Count it out."""
        self._open.discard(connection)

    async def run(self, listener: socket.socket, stop: anyio.Event, cut_off: anyio.Event) -> None:
        """Take mail until ``stop``; then finish what is coming in, for up to the grace time.

        What is not answered by then, or at ``cut_off``, will be delivered again.
        """
        # aiosmtpd logs addresses at INFO, and at WARNING whatever a client says.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        kind = LmtpConnection if self._bind.protocol == "lmtp" else Connection
        server = await self._serve(listener, partial(kind, self))
        log.info("inbound started", port=self._bind.port or None)
        await stop.wait()
        self.is_stopping = True
        server.close()
        for each in list(self._open):
            each.stop()
        async with anyio.create_task_group() as group:
            group.start_soon(self._abort_at, cut_off)
            for each in list(self._open):
                await each.ended()
            group.cancel_scope.cancel()
        log.info("inbound stopped")

    async def _serve(
        self, listener: socket.socket, make: "partial[Connection]"
    ) -> asyncio.AbstractServer:
        loop = asyncio.get_running_loop()
        if self._bind.path:
            return await loop.create_unix_server(make, sock=listener)
        return await loop.create_server(make, sock=listener)

    async def _abort_at(self, cut_off: anyio.Event) -> None:
        with anyio.move_on_after(self._grace_seconds):
            await cut_off.wait()
        for each in list(self._open):
            each.abort()
