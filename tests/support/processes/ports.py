"""Ports for servers that must be able to come back to the one they had."""

import atexit
import random
import socket
from collections.abc import Iterator
from functools import cache
from itertools import count

#: Below the ports that systems hand out by themselves, so that a server can come back to its own.
FIRST_PORT, LAST_PORT, PORTS_PER_PROCESS = 12_000, 32_000, 400


@cache
def _reserved() -> int:
    """Reserve ports for this process alone, by listening on the first of them until it ends.

    So no other test process, of this run or of another, is given one between the moment when it is
    found to be free and that when a server listens on it.
    """
    blocks = list(range(FIRST_PORT, LAST_PORT, PORTS_PER_PROCESS))
    random.shuffle(blocks)
    for first in blocks:
        guard = socket.socket()
        try:
            guard.bind(("127.0.0.1", first))
            guard.listen(1)
        except OSError:
            guard.close()
            continue
        atexit.register(guard.close)
        return first
    raise AssertionError(f"no {PORTS_PER_PROCESS} ports are left for this process")


@cache
def _ports() -> Iterator[int]:
    """Ports of this test process, one after the other, over and over."""
    first = _reserved()
    return (first + 1 + number % (PORTS_PER_PROCESS - 1) for number in count())


def free_port() -> int:
    """Find a port on 127.0.0.1 that nobody listens on, nor soon will."""
    for port in _ports():
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("the ports go on for ever")
