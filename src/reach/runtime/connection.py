"""One caller's connection: whose turn it is, how long that may take, and how it ends."""

import asyncio
import logging
import math
from enum import Enum, auto
from functools import partial
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from reach.problems import Problem
from reach.runtime.connections import Bounds, connections_of
from reach.runtime.reader import (
    BETWEEN,
    IN_BODY,
    IN_HEAD,
    MOST_HEAD_BYTES,
    Flow,
    QueueFull,
    Reader,
    problem_of,
)
from reach.telemetry.metrics import CUT_CONNECTIONS, UNREADABLE_REQUESTS
from reach.web.body import BODY, MOST_BYTES, TooSlow
from reach.web.middleware import ANSWER, JOIN, STAYS_OPEN
from reach.web.refusals import Busy, HeadTooSlow, Refusals

#: What is to be taken of a long answer in the time for a head. asyncio's marks are so far apart.
FEWEST_TAKEN_BYTES = 48 * 1024
#: How long a caller that was hung up on may go on sending: a close at once would take the answer
#: from those who are still sending (RFC 9112 §9.6). And how long a process that stops waits for the
#: rest of a body.
LINGER_SECONDS = 5.0
#: In a process that stops, which nobody should have to wait for.
SHORT_SECONDS = 0.5
#: Of which so much is taken; who sends more still has the time to read.
MOST_THROWN_AWAY_BYTES = 4 * 1024 * 1024

#: Apart from ``uvicorn.error``, which also says when processes come and go. What is no HTTP is
#: counted: a line each would let any stranger fill the log.
_LOG = logging.getLogger("uvicorn.reader")
_LOG.setLevel(logging.ERROR)


class Step(Enum):
    """What the caller is to do next, or ``OURS``: then nothing ends the connection."""

    OURS = auto()
    SEND_REQUEST = auto()
    SEND_HEAD = auto()
    SEND_BODY = auto()
    SEND_REST = auto()
    TAKE_ANSWER = auto()
    END = auto()


OURS, SEND_REQUEST, SEND_HEAD, SEND_BODY, SEND_REST, TAKE_ANSWER, END = Step

#: Why a connection was cut, for its metric; not for one that merely was kept no longer.
_CUT_BECAUSE = {
    SEND_REST: "body-not-ended",
    TAKE_ANSWER: "answer-not-taken",
    SEND_REQUEST: "answer-not-taken",
}


class Connection(Reader):
    """A reader that is bounded in time too.

    The application gets a request once its body is whole: till then a slow caller costs what it has
    sent, and no task. It gets one at once that it will refuse unread, or that asks it to go on.
    """

    deadline = math.inf
    flow: Flow  # type: ignore[assignment]  # it does what uvicorn's does

    # For the class, not for each: a silent caller has as few attributes as can be.
    _answering: RequestResponseCycle | None = None
    #: A request that waits for the rest of its body, and what is to answer it.
    _held: tuple[RequestResponseCycle, Any] | None = None
    _last_words: bytes | None = None
    _thrown_away_bytes = 0
    #: Of what was written, when it was last looked.
    _untaken = 0
    _is_full = _has_ended = _is_stopping = False
    logger = _LOG

    def __init__(self, *arguments: Any, bounds: Bounds, **options: Any) -> None:
        """Take what uvicorn gives its readers, and what a caller may take of us."""
        super().__init__(*arguments, **options)
        del self.logger  # uvicorn's
        self._connections = connections_of(self.server_state, self.loop, bounds)
        self._step = OURS

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; end the connection that has waited longest, if need be."""
        super().connection_made(transport)
        self.flow = Flow(transport, self.hang_up)
        if self._connections.admit(self):
            self._wait(SEND_REQUEST, self._connections.bounds.head_seconds)
        else:
            CUT_CONNECTIONS.labels("too-many").inc()
            self._refuse(Busy)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget all about it, and leave no circle of references: many at once would stay long."""
        self._connections.leave(self)
        self.flow.close = self.transport.close
        self.pipeline.clear()
        self._held = None
        if self._answering is not None and self._answering is not self.cycle:
            self._answering.disconnected = True
        super().connection_lost(exc)
        self.cycle = None  # type: ignore[assignment]  # nothing more comes

    def pause_writing(self) -> None:
        """Give the caller time to take what is written."""
        super().pause_writing()
        self._untaken = self.transport.get_write_buffer_size()
        self._find_step()

    def resume_writing(self) -> None:
        """Go on: it was taken."""
        super().resume_writing()
        self._find_step()

    # Whose turn it is

    def _wait(self, step: Step, seconds: float) -> None:
        """Wait for the caller's next step, behind all those that wait already."""
        self._step, self.deadline = step, self.loop.time() + seconds
        waiting = self._connections.waiting
        waiting.pop(self, None)
        waiting[self] = None

    def _find_step(self) -> None:
        """Note what the next step is, and how long it may take, if that has changed."""
        if self._step is END:
            return
        if self.flow.write_paused:
            step = TAKE_ANSWER
        elif self._answering is not None:
            is_whole = self._part is not IN_BODY or self._answering is not self.cycle
            step = OURS if is_whole else SEND_BODY
        elif self._part is BETWEEN:
            step = SEND_REQUEST
        elif self._part is IN_HEAD:
            step = SEND_HEAD
        else:
            step = SEND_BODY if self._held else SEND_REST
        if step is self._step:
            return
        if step is OURS:
            self._step = step
            self._connections.waiting.pop(self, None)
        elif step is SEND_REQUEST:
            self._wait(step, self._connections.bounds.keep_alive_seconds)
        else:
            self._wait(step, self._seconds_for(step))

    def _seconds_for(self, step: Step) -> float:
        if step is SEND_BODY and self._answering is not None:
            return math.inf  # the application has a clock of its own for it
        if step in (SEND_BODY, SEND_REST):
            seconds: float = self.app.state.services.body_seconds
            return seconds
        return self._connections.bounds.head_seconds

    def expire(self) -> None:
        """End it: the caller has not done its part in time."""
        if self._step in (TAKE_ANSWER, END) and self._is_taking():
            self._wait(self._step, self._connections.bounds.head_seconds)
            return
        step, self._step = self._step, OURS
        if self.transport.is_closing():  # whatever it was: what is left of it is what is written
            step = TAKE_ANSWER
        if step is SEND_HEAD:
            self._refuse(HeadTooSlow)
        elif step is SEND_BODY:
            self._refuse(TooSlow)
        elif step is SEND_REQUEST and self.transport.get_write_buffer_size() == 0:
            self.transport.close()
        else:
            if step in _CUT_BECAUSE:
                CUT_CONNECTIONS.labels(_CUT_BECAUSE[step]).inc()
            self.transport.abort()

    def _is_taking(self) -> bool:
        """Whether the caller has taken a part of what was written since this was last asked."""
        before, self._untaken = self._untaken, self.transport.get_write_buffer_size()
        return before - self._untaken >= FEWEST_TAKEN_BYTES

    def cut(self) -> None:
        """End it at once."""
        self.transport.abort()

    def hang_up(self) -> None:
        """End it once all is written, and until then throw away what still comes."""
        self._wait(END, self._end_seconds())
        is_all_read = self._part is BETWEEN and self._last_words is None and not self._is_full
        if is_all_read or self._has_ended:
            self.transport.close()
            return
        self.transport.write_eof()
        self.flow.throw_away()

    def _end_seconds(self) -> float:
        self._untaken = self.transport.get_write_buffer_size()
        if self._untaken == 0:
            return SHORT_SECONDS if self._is_stopping else LINGER_SECONDS
        return LINGER_SECONDS if self._is_stopping else self._connections.bounds.head_seconds

    # What comes

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self._step is END:
            self._thrown_away_bytes += len(data)
            if self._thrown_away_bytes > MOST_THROWN_AWAY_BYTES:
                self.flow.stop_reading()
            return
        if self._is_full or self._last_words is not None:
            return
        try:
            if len(data) <= MOST_HEAD_BYTES - self._loose_bytes:
                self.feed_piece(data)
            else:
                self.feed(data)
        except httptools.HttpParserError as error:
            self._refuse(problem_of(error))
        except QueueFull:
            self._stop_reading()
        self._find_step()

    def _stop_reading(self) -> None:
        """Answer what was read, and then hang up."""
        CUT_CONNECTIONS.labels("too-many-queued").inc()
        self._is_full = True
        self.cycle.keep_alive = False
        self._part = BETWEEN
        self.flow.stop_reading()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own would have it so
        """Answer what was asked, and then hang up: who has no more to say may still listen.

        Not to what has no end: there, who says no more has left, and nothing else would tell.
        """
        if self._part is IN_BODY:
            self._drop_unfinished()
        if self._answering is None or self._is_endless():
            return False
        self._has_ended, self._last_words = True, b""
        return True

    def on_body(self, body: bytes) -> None:
        """Keep a piece of a body; hand over one that is too long, to be refused."""
        self._told = True
        super().on_body(body)
        if self._held is not None and len(self.cycle.body) > MOST_BYTES:
            self._hand_over(*self._held)

    def on_message_complete(self) -> None:
        """Hand over a request whose body is whole."""
        if self.parser.should_upgrade():
            return
        self._part = BETWEEN
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()
        if self._held is not None:
            self._hand_over(*self._held)
        if self._trailers and not self.parser.should_keep_alive() and self.cycle.keep_alive:
            self._heed_late_close()

    def _heed_late_close(self) -> None:
        """Hang up after this request: a field after its body said so, which the parser heeds."""
        self.cycle.keep_alive = False
        if self.cycle.response_complete:
            self.hang_up()

    # What is answered

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Begin to answer, or wait for the body: uvicorn calls this once it is a request's turn."""
        cycle.transport = self.flow  # type: ignore[assignment]  # it calls no more of it
        is_long = self._is_announced_long or len(cycle.body) > MOST_BYTES
        if not cycle.more_body or cycle.waiting_for_100_continue or is_long:
            self._hand_over(cycle, app)
        else:
            self._held = cycle, app

    def _hand_over(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._held, self._answering = None, cycle
        scope: dict[str, Any] = cycle.scope  # type: ignore[assignment]  # what ASGI lets us add
        if not cycle.more_body and len(cycle.body) <= MOST_BYTES:
            scope[BODY] = bytes(cycle.body)
        scope[ANSWER], scope[JOIN] = partial(self._answer, cycle), self.flow.join
        super()._start_asgi_task(cycle, app)

    def _answer(self, cycle: RequestResponseCycle, status: int, fields: bytes, body: bytes) -> bool:
        """Write a whole answer at once; False if that cannot be, and nothing was written.

        uvicorn goes through the fields one by one, and writes head and body one after the other.
        """
        if cycle.disconnected or cycle.response_started or not cycle.keep_alive:
            return False
        if self.flow.write_paused or self._step is END:
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        for name, value in self.server_state.default_headers:
            fields = b"%b: %b\r\n%b" % (name, value, fields)
        self.transport.write(b"".join((STATUS_LINE[status], fields, b"\r\n", body)))
        cycle.message_event.set()
        cycle.on_response()
        return True

    def on_response_complete(self) -> None:
        """Answer the next request, or wait for it."""
        self.server_state.total_requests += 1
        self._answering = None
        if self.transport.is_closing():
            return
        if self._step is not END:
            if self.flow.read_paused:
                self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())
            elif self._last_words is not None:
                self._say_last_words()
        self._find_step()

    def _refuse(self, problem: type[Problem]) -> None:
        """Answer and hang up, after what was asked before: nobody knows where the next begins."""
        UNREADABLE_REQUESTS.inc()
        if self.transport.is_closing():
            return
        refusals: Refusals = self.app.state.services.refusals
        self._last_words = refusals[problem]
        if self._part is IN_BODY:
            self._drop_unfinished()
        if self._answering is None:
            self._say_last_words()
        else:
            self.flow.stop_reading()
            self._find_step()

    def _is_endless(self) -> bool:
        """Whether what is being answered goes on for as long as its caller listens."""
        return self._answering is not None and STAYS_OPEN in self._answering.scope

    def _drop_unfinished(self) -> None:
        """Have the request whose body cannot be read answered by nobody else, and but once."""
        if self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()
            return
        cycle, self._answering, self._held = self.cycle, None, None
        if cycle.response_started:
            self._last_words = b""
        cycle.disconnected, cycle.waiting_for_100_continue = True, False
        cycle.message_event.set()

    def _say_last_words(self) -> None:
        self.transport.write(self._last_words or b"")
        self.hang_up()

    def shutdown(self) -> None:
        """End it after the requests that are under way: the process is to stop.

        One whose body is still to come is under way for some seconds more, not for the grace time;
        an answer that goes on for as long as its caller listens ends now.
        """
        super().shutdown()
        self._is_stopping = True
        if self._is_endless():
            self.transport.close()
        if self.transport.is_closing():
            self._wait(END, self._end_seconds())
        elif self._part is IN_BODY:
            self._wait(SEND_BODY, LINGER_SECONDS)
