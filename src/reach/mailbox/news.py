"""Who waits to hear that the mailbox has changed."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from reach.problems import Problem

#: Each is an open page, and a page in the background does not listen.
MOST_LISTENERS = 16
RETRY_AFTER_SECONDS = 2


class TooManyListeners(Problem):
    """So many pages show the mailbox at once that this one is not told of new emails.

    Close some of them. Or load this page again when you want to see what is new.
    """

    status, type, title = 429, "too-many-listeners", "Too many pages show the mailbox"

    def __init__(self) -> None:
        """Say when to come back."""
        super().__init__(headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


class News:
    """Tells those who listen that something has changed; what, they see for themselves."""

    def __init__(self) -> None:
        #: Replaced, never changed: threads read it without a lock.
        self._listeners: frozenset[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = frozenset()

    @contextmanager
    def heard(self) -> Iterator[asyncio.Event]:
        """Have an event set at every change, for as long as the block lasts.

        Raises TooManyListeners.
        """
        if len(self._listeners) >= MOST_LISTENERS:
            raise TooManyListeners
        listener = asyncio.get_running_loop(), asyncio.Event()
        self._listeners |= {listener}
        try:
            yield listener[1]
        finally:
            self._listeners -= {listener}

    def tell(self) -> None:
        """Say that something has changed, from any thread."""
        for loop, changed in self._listeners:
            loop.call_soon_threadsafe(changed.set)
