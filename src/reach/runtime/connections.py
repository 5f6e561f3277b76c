"""The connections of one process: how many there may be, and how long each may wait.

A connection *waits* when the next step is its caller's: to send a request, the rest of one, or to
take an answer. Only those can be ended; a request that is being answered is never cut off.
"""

import asyncio
import ctypes
import resource
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakKeyDictionary

from uvicorn.server import ServerState

from reach.settings import Settings
from reach.telemetry.metrics import CUT_CONNECTIONS

#: What a process needs descriptors for beside its callers: databases, Redis, mail servers, files.
RESERVED_DESCRIPTORS = 128
FEWEST_CONNECTIONS = 16
SWEEP_SECONDS = 1.0
#: Once so many fewer wait than did, what they took is given back to the system.
MANY_FEWER = 256


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a caller may take of a process. Times are in seconds."""

    head_seconds: float
    keep_alive_seconds: float
    most_connections: int

    @classmethod
    def of(cls, settings: Settings) -> "Bounds":
        """Take them from the settings."""
        return cls(settings.head_seconds, settings.keep_alive_seconds, settings.max_connections)


class Waiting(Protocol):
    """A connection, as far as it is known here."""

    #: When it will have waited for too long, by the event loop's clock.
    deadline: float

    def expire(self) -> None:
        """End the connection, or go on to its next step: it has waited for too long."""

    def cut(self) -> None:
        """End the connection at once: its place is needed."""


class Connections:
    """Those of one process, and of them those that wait, the longest first.

    Order is kept by a dict, to which a connection adds itself when it waits (its ``deadline`` says
    how long), and from which it takes itself: that costs a request two look-ups and no timer of its
    own. One timer looks at them all every second, and only while there is a connection.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, bounds: Bounds) -> None:
        """Keep ``bounds``, with fewer connections if there are fewer descriptors."""
        self.bounds = bounds
        self._loop = loop
        self._affordable = _affordable()
        self._most = min(bounds.most_connections, self._affordable)
        self._here: set[Waiting] = set()
        #: Those that wait, in the order in which they began to.
        self.waiting: dict[Waiting, None] = {}
        self._most_waited = 0
        self._sweep: asyncio.TimerHandle | None = None

    def admit(self, connection: Waiting) -> bool:
        """Take one more, and end that which has waited longest if there are too many.

        Requests that are being answered are never too many, as in a rush, until there is no
        descriptor to spare: then it is False.
        """
        self._here.add(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP_SECONDS, self._expire)
        if len(self._here) > self._most and self.waiting:
            oldest = next(iter(self.waiting))
            CUT_CONNECTIONS.labels("too-many").inc()
            self.leave(oldest)
            oldest.cut()
        return len(self._here) <= self._affordable

    def leave(self, connection: Waiting) -> None:
        """Forget a connection: it is over."""
        self._here.discard(connection)
        self.waiting.pop(connection, None)

    def _expire(self) -> None:
        now = self._loop.time()
        for connection in [one for one in self.waiting if one.deadline <= now]:
            # One that ends may take others with it.
            if connection in self.waiting:
                del self.waiting[connection]
                connection.expire()
        self._most_waited = max(self._most_waited, len(self.waiting))
        if self._most_waited - len(self.waiting) >= MANY_FEWER:
            self._most_waited = len(self.waiting)
            _give_back_memory()
        self._sweep = self._loop.call_later(SWEEP_SECONDS, self._expire) if self._here else None


def _give_back_memory() -> None:
    """Have C's library give what it keeps for later back to the system, where it can: glibc."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def _affordable() -> int:
    """For how many connections there are descriptors, less those that are kept for the rest."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 2**31
    return max(FEWEST_CONNECTIONS, soft - RESERVED_DESCRIPTORS)


_OF: WeakKeyDictionary[ServerState, Connections] = WeakKeyDictionary()


def connections_of(
    server: ServerState, loop: asyncio.AbstractEventLoop, bounds: Bounds
) -> Connections:
    """Give those of ``server``; the first to ask makes them."""
    found = _OF.get(server)
    if found is None:
        found = _OF[server] = Connections(loop, bounds)
    return found
