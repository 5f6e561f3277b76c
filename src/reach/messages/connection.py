"""An open connection to the mail server: ask, and be answered.

aiosmtplib opens it (see opener). From there on the dialogue is ours, because what a failure means
depends on exactly what was sent before it: so are its time-outs, its parsing, and what becomes of
bytes not sent yet (they are thrown away with the connection, never flushed).
"""

import asyncio
import re
from typing import cast

import aiosmtplib

from reach.messages.reply import Garbage, Lost, NoReply, Reply, Silent, parse

#: How long a server may take to answer QUIT.
QUIT_SECONDS = 1.0


class Connection(asyncio.Protocol):
    """An open connection, on which one caller at a time may ``ask``.

    It takes over the transport from the client that opened it. A server that speaks unasked
    is about to close, or out of step with us: either way its next reply could be to something
    else, so the connection is given up.
    """

    def __init__(self, client: aiosmtplib.SMTP) -> None:
        """Take over from ``client``, which is not to be used any more. Raises Lost."""
        transport = cast("asyncio.Transport | None", client.transport)
        if transport is None or transport.is_closing():
            raise Lost("the connection was lost")
        #: Whether the server takes addresses that are not ASCII (RFC 6531).
        self.smtputf8 = client.supports_extension("smtputf8")
        #: How many messages it has carried.
        self.messages = 0
        #: How many the server takes on one connection, if it says so (RFC 9422, MAILMAX).
        self.most_messages = _mail_max(client.esmtp_extensions.get("limits", ""))
        self._loop = asyncio.get_running_loop()
        #: When it was opened and when it was last used, by the event loop's clock.
        self.opened_at = self.used_at = self._loop.time()
        self._transport = transport
        self._waiter: asyncio.Future[Reply] | None = None
        #: Done when the connection is closed.
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._quit_timer: asyncio.TimerHandle | None = None
        self._buffer = bytearray()
        # Kept here too: a TLS transport does not say is_closing when its peer went.
        self._over = False
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether, as far as this side knows, the server is still there."""
        return not (self._over or self._transport.is_closing())

    @property
    def is_leaving(self) -> bool:
        """Whether QUIT was said and the connection is not closed yet."""
        return self._quit_timer is not None and not self.closed.done()

    async def ask(self, words: bytes, seconds: float) -> Reply:
        """Send ``words`` and wait for the reply to them, ``seconds`` in all.

        Raises NoReply. Whatever it raises, the connection is closed and what was not sent yet
        never will be.
        """
        if not self.is_open:
            raise Lost("the connection was lost")
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(seconds, self._fall_silent, seconds)
        try:
            self._transport.write(words)
            return await self._waiter
        except BaseException:
            self.abort()
            raise
        finally:
            timer.cancel()
            self._waiter = None

    def abort(self) -> None:
        """Close at once, throwing away what was not sent yet."""
        self._over = True
        self._transport.abort()

    def leave(self) -> None:
        """Say QUIT; closed when the server has answered (see ``closed``), or after a second."""
        if self.is_open:
            self._over = True
            self._transport.write(b"QUIT\r\n")
            self._quit_timer = self._loop.call_later(QUIT_SECONDS, self.abort)

    def data_received(self, data: bytes) -> None:
        """Read a reply, which may come in pieces."""
        self._buffer += data
        if self._waiter is None or self._waiter.done():
            self.abort()
            return
        try:
            reply, size = parse(self._buffer)
        except Garbage as garbage:
            self._fail(garbage)
            return
        if reply is not None:
            del self._buffer[:size]
            self._waiter.set_result(reply)
            if self._buffer:
                self.abort()

    def eof_received(self) -> None:
        """Note that the server says nothing more; the transport then closes itself."""
        self._over = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._fail(Lost(f"the connection was lost ({exc})" if exc else "the connection was lost"))
        if self._quit_timer is not None:
            self._quit_timer.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    def _fall_silent(self, seconds: float) -> None:
        self._fail(Silent(f"no reply within {seconds:g} s"))

    def _fail(self, why: NoReply) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(why)
            self._waiter.exception()  # a waiter that was cancelled meanwhile never asks for it
        self.abort()


def _mail_max(limits: str) -> int | None:
    """Read ``MAILMAX=10`` among the limits that a server announces; None if it is not there."""
    found = re.search(r"(?:^|\s)MAILMAX=([1-9][0-9]{0,5})(?:\s|$)", limits, re.IGNORECASE)
    return int(found[1]) if found else None
