"""A mail server's rate: messages go to it one after another, and none too soon."""

import time
from typing import Protocol

import anyio

from reach.settings.rates import Rate

#: No more than is due in this time is made up for.
MOST_BEHIND_SECONDS = 1.0


class Opens(Protocol):
    """What ends a wait: a circuit breaker that opens."""

    is_open: bool

    async def wait_until_open(self) -> None:
        """Wait until it is open."""


class Pace:
    """Whose turn it is, of those that wait to send at one rate. It counts for one process."""

    def __init__(self, rate: Rate) -> None:
        """Let the first one go at once."""
        self._interval_seconds = rate.interval_seconds
        self._next_at = 0.0
        self._line = anyio.Lock()

    async def turn(self, breaker: Opens) -> bool:
        """Wait for a turn, in order; False if ``breaker`` opened meanwhile, and none was used.

        Of those that wait in line, each has its turn when it was due, however late the event loop
        was with it: so no time is lost. Who comes later begins now, so nothing is saved up either.
        """
        asked_at = time.monotonic()
        async with self._line:
            wait_seconds = self._next_at - time.monotonic()
            if wait_seconds > 0 and not breaker.is_open:
                with anyio.move_on_after(wait_seconds):
                    await breaker.wait_until_open()
            if breaker.is_open:
                return False
            asked_at = max(asked_at, time.monotonic() - MOST_BEHIND_SECONDS)
            self._next_at = max(self._next_at, asked_at) + self._interval_seconds
            return True
