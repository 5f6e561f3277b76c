"""Ports for servers that must be able to come back to the one they had."""

import random
import socket
from collections.abc import Iterator
from functools import cache
from itertools import count

#: Below the ports that systems hand out by themselves, so that a server can come back to its own.
FIRST_PORT, PORTS_PER_PROCESS, PROCESSES = 12_000, 600, 32


@cache
def _claimed() -> tuple[socket.socket, int]:
    """Claim a range of ports for this process, as long as it lives; gives the range's first port.

    Who listens on a range's first port has the range: so neither its neighbours under
    pytest-xdist nor the tests of another checkout, which run at the same time, meet its servers.
    """
    for process in range(PROCESSES):
        first = FIRST_PORT + process * PORTS_PER_PROCESS
        claim = socket.socket()
        try:
            claim.bind(("127.0.0.1", first))
            claim.listen(1)
        except OSError:
            claim.close()
        else:
            return claim, first
    raise AssertionError(f"{PROCESSES} processes test at the same time")


@cache
def _ports() -> Iterator[int]:
    """Ports of this process, again and again."""
    _, first = _claimed()
    start = random.randrange(PORTS_PER_PROCESS)
    return (first + 1 + n % (PORTS_PER_PROCESS - 1) for n in count(start))


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
