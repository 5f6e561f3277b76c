"""How a connection is written to, and whether it is read from."""

import asyncio
from collections.abc import Callable


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
