"""The pieces in which a server in this process hands its answers to the system."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from reach.runtime.connection import Connection


class Noting:
    """A transport that notes each piece that is written to it, and passes it on."""

    def __init__(self, transport: Any, pieces: list[bytes]) -> None:
        """Note in ``pieces``."""
        self._transport, self._pieces = transport, pieces

    def __getattr__(self, name: str) -> Any:
        """Be the transport in all else."""
        return getattr(self._transport, name)

    def write(self, piece: bytes) -> None:
        """Note it, and pass it on."""
        self._pieces.append(piece)
        self._transport.write(piece)


@contextmanager
def noting_pieces() -> Iterator[list[bytes]]:
    """Note what is written on all connections that are made meanwhile."""
    pieces: list[bytes] = []
    connect = Connection.connection_made

    def connection_made(self: Connection, transport: Any) -> None:
        connect(self, Noting(transport, pieces))  # type: ignore[arg-type]  # it does what one does

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "connection_made", connection_made)
        yield pieces
