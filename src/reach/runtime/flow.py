"""How a connection is written to, and whether it is read from."""

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl


class Flow(FlowControl):
    """uvicorn's control of reading and writing, which does not begin again once reading is over."""

    is_over = False

    def resume_reading(self) -> None:
        """Read on, if there is anything that we would still read."""
        if not self.is_over:
            super().resume_reading()

    def stop_reading(self) -> None:
        """Read no more."""
        self.pause_reading()
        self.is_over = True

    def throw_away(self) -> None:
        """Read on for good, for whom nobody listens to any more."""
        super().resume_reading()
        self.is_over = True


class Outlet:
    """What uvicorn answers through: the transport, but for how it is closed."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        """Write to ``transport``, and have ``close`` end it."""
        self.write, self.is_closing, self.close = transport.write, transport.is_closing, close
