"""An address that is dead: what is sent to it is dropped, so that only time tells.

Nobody needs to be root for it: a socket listens there, its queue of connections is full, and
nobody takes one from it; the kernel drops every further SYN then (Linux and the BSDs).
"""

import errno
import select
import socket
from types import TracebackType
from typing import Self

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
