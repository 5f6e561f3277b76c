"""The SMTP sender: connections kept open between messages, and opened again when they fail."""

import asyncio
import math
from collections.abc import Callable, Collection
from contextlib import suppress

import anyio
from opentelemetry.trace import SpanKind

from reach.mail.compose import Mail
from reach.messages.outcome import Outcome, Rejected, Sent, Unavailable
from reach.settings import Settings
from reach.settings.urls import SmtpUrl
from reach.smtp.connection import QUIT_SECONDS, Connection, NoReply
from reach.smtp.oauth import Tokens
from reach.smtp.opening import Opener
from reach.smtp.session import Gone, SessionOver, converse, may_send, unsendable
from reach.telemetry import traces

#: An idle connection is trusted this long; after it, NOOP shows whether it still lives. (A
#: firewall may have forgotten it: MAIL FROM would then hang for its whole time-out.)
TRUSTED_SECONDS = 1.0
#: A server that refused a connection beside our others is not asked for more for so long.
ENOUGH_SECONDS = 60.0
#: The only yes to NOOP.
DONE = 250
#: How long such a check may take; after it a fresh connection is the quicker way.
CHECK_SECONDS = 5.0


class Sender:
    """A way out: hands messages to one mail server.

    There are as many connections as there were concurrent ``send`` calls, unless the server
    allows fewer: refused while others of ours are open, we make do with these for a while.
    Idle ones are used last in, first out, so that those in excess grow old and are closed.

    A connection is closed after any outcome but Sent, after so many messages, and at an age: many
    servers queue or refuse what comes late in a session, and some never hear in one that they
    were mended.
    """

    def __init__(
        self,
        settings: Settings,
        server: SmtpUrl,
        *,
        tokens: Tokens | None = None,
        connect_seconds: float | None = None,
    ) -> None:
        """Connect to nothing yet. Raises BadSettings if a file that TLS needs cannot be used.

        ``tokens`` may be shared by senders; ``connect_seconds`` is how long it may take to be
        reached, and to answer until it takes mail, if there is another one.
        """
        self._settings = settings
        self._opener = Opener(settings, server, tokens=tokens, connect_seconds=connect_seconds)
        self._address = settings.envelope_from
        #: The longest unused first.
        self._idle: list[Connection] = []
        #: Every connection that is open, idle or not.
        self._open: set[Connection] = set()
        #: How many are being opened.
        self._opening = 0
        #: Until when no more connections than there are will be tried (the event loop's clock).
        self._enough_until = -math.inf
        #: Set, and replaced, when a connection is free or closed.
        self._change = asyncio.Event()
        self._reaper: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def send(self, mail: Mail, *, still_held: Callable[[], bool]) -> Outcome:
        """Hand ``mail`` to the mail server, and say what became of it.

        ``still_held`` is asked once, right before the content: False ends the attempt while the
        server still cannot have the message. Never raises for what network or server do; when
        cancelled, the connection is closed and what was not sent yet never will be.
        """
        if (fault := unsendable(mail)) is not None:
            return Rejected(fault)
        refusal: Unavailable | None = None
        while True:
            reused = await self._take_idle()
            if reused is not None:
                with suppress(Gone, SessionOver):  # not taken: another connection starts over
                    return await self._attempt(reused, mail, still_held, is_fresh=False)
            if refusal and self._open:  # while another of ours was let in
                self._note_enough()
            if (refusal or self._has_enough()) and (self._open or self._opening):
                refusal = None if self._open else refusal
                await self._wait_for_change()
                continue
            if refusal:
                return refusal
            leaving = self._leaving()
            fresh = await self._connect()
            if not isinstance(fresh, Unavailable):
                return await self._attempt(fresh, mail, still_held, is_fresh=True)
            if leaving := leaving | self._leaving():
                await _leave(leaving)  # one of these was one too many, closed by now or not
            else:
                refusal = fresh

    async def _connect(self) -> Connection | Unavailable:
        self._opening += 1
        try:
            with traces.child("connect", SpanKind.CLIENT) as span:
                opened = await self._opener.open()
                if isinstance(opened, Unavailable):
                    if opened.code is not None:
                        span.set_attribute("reach.smtp.code", opened.code)
                    traces.fail(span, opened.name)
                else:
                    self._count(opened)
        finally:
            self._opening -= 1
            self._tell()
        return opened

    async def probe(self) -> Unavailable | None:
        """Connect, log in, say MAIL FROM, take it back and leave: None means that we may send.

        Idle connections are closed first: a server that allows few would turn this one away.
        """
        await self._leave_idle()
        connection = await self._opener.open()
        if isinstance(connection, Unavailable):
            return connection
        try:
            refusal = await may_send(connection, self._address, self._settings)
        finally:
            await _leave([connection])
        return refusal

    async def close(self) -> None:
        """Close what is idle, within a second or so. A message under way is still finished."""
        self._is_closed = True
        if self._reaper is not None:
            self._reaper.cancel()
        await self._leave_idle()

    async def _leave_idle(self) -> None:
        idle, self._idle = self._idle, []
        await _leave([*idle, *self._leaving()])

    def _leaving(self) -> set[Connection]:
        """Those that said QUIT and are not closed yet."""
        return {connection for connection in self._open if connection.is_leaving}

    async def _attempt(
        self, connection: Connection, mail: Mail, still_held: Callable[[], bool], *, is_fresh: bool
    ) -> Outcome:
        """Try on this connection, then keep it if it is fit for another message. Raises Gone."""
        try:
            result = await converse(connection, mail, self._settings, still_held, is_fresh=is_fresh)
        except SessionOver:
            connection.leave()
            raise
        except BaseException:
            connection.abort()
            raise
        connection.messages += 1
        now = asyncio.get_running_loop().time()
        is_worn = connection.messages >= connection.most_messages or now >= connection.leaves_at
        if not isinstance(result, Sent) or self._is_closed or is_worn:
            connection.leave()
        elif connection.is_open:
            self._keep(connection, now)
        return result

    def _keep(self, connection: Connection, now: float) -> None:
        connection.used_at = now
        self._idle.append(connection)
        self._tell()
        if self._reaper is None:
            seconds = self._settings.smtp_idle_seconds
            self._reaper = asyncio.get_running_loop().call_later(seconds, self._reap)

    def _count(self, connection: Connection) -> None:
        """Know a connection as open until it is closed."""
        self._open.add(connection)

        def forget(_: object) -> None:
            self._open.discard(connection)
            self._tell()

        connection.closed.add_done_callback(forget)

    def _has_enough(self) -> bool:
        """Whether the server lately allowed no more connections than there were."""
        return asyncio.get_running_loop().time() < self._enough_until

    def _note_enough(self) -> None:
        self._enough_until = asyncio.get_running_loop().time() + ENOUGH_SECONDS

    async def _wait_for_change(self) -> None:
        """Wait until a connection is free, open, closed or refused."""
        with anyio.move_on_after(ENOUGH_SECONDS):
            await self._change.wait()

    def _tell(self) -> None:
        """Wake those who wait for a connection."""
        self._change.set()
        self._change = asyncio.Event()

    async def _take_idle(self) -> Connection | None:
        """Find a connection that still lives, checking it if there is reason to."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if now >= connection.leaves_at:
                connection.leave()
            elif connection.is_open:
                if now - connection.used_at <= TRUSTED_SECONDS:
                    return connection
                # If it fails its check, the older ones hardly deserve the time of theirs.
                return connection if await self._is_usable(connection) else None
        return None

    async def _is_usable(self, connection: Connection) -> bool:
        seconds = min(CHECK_SECONDS, self._settings.smtp_mail_seconds)
        try:
            with traces.child("NOOP", SpanKind.CLIENT) as span:
                reply = await connection.ask(b"NOOP\r\n", seconds)
                span.set_attribute("reach.smtp.code", reply.code)
        except NoReply:
            return False  # it has closed itself
        if reply.code == DONE:
            return True
        connection.leave()
        return False

    def _reap(self) -> None:
        """Close what has been idle for too long; come back when the next one will have been."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._settings.smtp_idle_seconds
        while self._idle and self._idle[0].used_at <= oldest:
            self._idle.pop(0).leave()
        self._reaper = None
        if self._idle:
            self._reaper = loop.call_later(self._idle[0].used_at - oldest, self._reap)


async def _leave(connections: Collection[Connection]) -> None:
    """Say goodbye on all of these and wait, within bounds, until they are closed."""
    for connection in connections:
        connection.leave()
    if connections:
        closed = [connection.closed for connection in connections]
        await asyncio.wait(closed, timeout=QUIT_SECONDS)
    for connection in connections:
        connection.abort()
