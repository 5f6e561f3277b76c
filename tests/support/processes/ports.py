"""Ports for servers that must be able to come back to the one they had."""

import os
import random
import socket
from collections.abc import Iterator
from functools import cache

#: Below the ports that systems hand out by themselves, so that a server can come back to its own.
FIRST_PORT, PORTS_PER_PROCESS = 12_000, 1_200


@cache
def _ports() -> Iterator[int]:
    """Ports of this test process; its neighbours under pytest-xdist have theirs."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16
    first = FIRST_PORT + worker * PORTS_PER_PROCESS
    start = random.randrange(PORTS_PER_PROCESS)

    def forever() -> Iterator[int]:
        number = start
        while True:
            yield first + number % PORTS_PER_PROCESS
            number += 1

    return forever()


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
