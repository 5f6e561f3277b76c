"""The connections of one process: how many there may be, and how long each may wait.

A connection *waits* when the next step is its caller's: to send a request, the rest of one, or to
take an answer. Only those can be ended; a request that is being answered is never cut off.
"""

import asyncio
import ctypes
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakKeyDictionary

from uvicorn.server import ServerState

from reach.settings import Settings
from reach.telemetry.metrics import CUT_CONNECTIONS


class Flow:
    """Both of what uvicorn gives a request: its control of the flow, and the transport.

    Closing is ours, and reading does not begin again once it is over. There is one for each silent
    caller too, so it is small: an ``asyncio.Event``, as uvicorn's own has, takes 900 bytes.
    """

    __slots__ = (
        "_taken",
        "_transport",
        "close",
        "is_closing",
        "is_over",
        "read_paused",
        "write",
        "write_paused",
    )

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        """Write to ``transport``, and have ``close`` end it."""
        self._transport = transport
        self.write, self.is_closing, self.close = transport.write, transport.is_closing, close
        self.read_paused = self.write_paused = self.is_over = False
        self._taken: asyncio.Future[None] | None = None

    async def drain(self) -> None:
        """Wait until the caller has taken what is written."""
        if self.write_paused:
            self._taken = asyncio.get_running_loop().create_future()
            await self._taken

    def pause_writing(self) -> None:
        """Have ``drain`` wait."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Have it wait no more."""
        self.write_paused = False
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)

    def pause_reading(self) -> None:
        """Read no more for now."""
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, if there is anything that we would still read."""
        if self.read_paused and not self.is_over:
            self.read_paused = False
            self._transport.resume_reading()

    def stop_reading(self) -> None:
        """Read no more."""
        self.pause_reading()
        self.is_over = True

    def throw_away(self) -> None:
        """Read on for good, for whom nobody listens to any more."""
        self.is_over = False
        self.resume_reading()
        self.is_over = True


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

    Order is kept by a dict: to wait, and to wait no more, cost each request two look-ups and no
    timer of its own. One timer looks at them all every second, and only while there are any.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, bounds: Bounds) -> None:
        """Keep ``bounds``, with fewer connections if there are fewer descriptors."""
        self.bounds = bounds
        self._loop = loop
        self._affordable = _affordable()
        self._most = min(bounds.most_connections, self._affordable)
        self._here: set[Waiting] = set()
        self._waiting: dict[Waiting, None] = {}
        self._most_waited = 0
        self._sweep: asyncio.TimerHandle | None = None

    def admit(self, connection: Waiting) -> bool:
        """Take one more, and end that which has waited longest if there are too many.

        Requests that are being answered are never too many, as in a rush, until there is no
        descriptor to spare: then it is False.
        """
        self._here.add(connection)
        if len(self._here) > self._most and self._waiting:
            oldest = next(iter(self._waiting))
            CUT_CONNECTIONS.labels("too-many").inc()
            self.leave(oldest)
            oldest.cut()
        return len(self._here) <= self._affordable

    def leave(self, connection: Waiting) -> None:
        """Forget a connection: it is over."""
        self._here.discard(connection)
        self._waiting.pop(connection, None)

    def waits(self, connection: Waiting, seconds: float) -> None:
        """Note that ``connection`` waits from now on, and for how long it may."""
        self._waiting.pop(connection, None)
        connection.deadline = self._loop.time() + seconds
        self._waiting[connection] = None
        if self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP_SECONDS, self._expire)

    def waits_no_more(self, connection: Waiting) -> None:
        """Note that the next step is ours, or that there is none."""
        self._waiting.pop(connection, None)

    def _expire(self) -> None:
        now = self._loop.time()
        for connection in [one for one in self._waiting if one.deadline <= now]:
            # One that ends may take others with it.
            if connection in self._waiting:
                del self._waiting[connection]
                connection.expire()
        self._most_waited = max(self._most_waited, len(self._waiting))
        if self._most_waited - len(self._waiting) >= MANY_FEWER:
            self._most_waited = len(self._waiting)
            _give_back_memory()
        self._sweep = self._loop.call_later(SWEEP_SECONDS, self._expire) if self._waiting else None


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
