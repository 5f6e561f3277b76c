"""One caller's connection: uvicorn's reader of HTTP, within bounds of memory and of time.

uvicorn 0.54 with httptools 0.9 bounds neither, and passes on what RFC 9110 and 9112 have a server
refuse; see docs/decisions/0039-connections.md. Of uvicorn's names, those are used that its own
readers share: ``cycle`` is the request that was read last, ``pipeline`` those that wait for it.
"""

import asyncio
import logging
import math
from enum import Enum, auto
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from reach.problems import BadRequest, Problem
from reach.runtime import head
from reach.runtime.connections import Bounds, connections_of
from reach.runtime.flow import Flow, Outlet
from reach.runtime.refusals import Busy, HeadersTooLarge, HeadTooSlow, Refusals, Refused
from reach.telemetry.metrics import CUT_CONNECTIONS, UNREADABLE_REQUESTS

#: Of a request's line and headers, and of the fields after its body.
MOST_HEAD_BYTES = 32 * 1024
#: Requests that wait on one connection for the answer before theirs.
MOST_QUEUED = 16
#: How long a caller that was hung up on may go on sending: a close at once would take the answer
#: from those who are still sending (RFC 9112 §9.6).
LINGER_SECONDS = 5.0

#: Apart from ``uvicorn.error``, which also says when processes come and go. What is no HTTP is
#: counted: a line each would let any stranger fill the log.
_LOG = logging.getLogger("uvicorn.reader")
_LOG.setLevel(logging.ERROR)


class Part(Enum):
    """Where in a request the reader is."""

    BETWEEN = auto()
    HEAD = auto()
    BODY = auto()


class Step(Enum):
    """What the caller is to do next, or ``OURS``: then nothing ends the connection."""

    OURS = auto()
    SEND_REQUEST = auto()
    SEND_HEAD = auto()
    SEND_BODY = auto()
    SEND_REST = auto()
    TAKE_ANSWER = auto()
    END = auto()


#: Why a connection was cut, for its metric; not for one that merely was kept no longer.
_CUT_BECAUSE = {
    Step.SEND_REST: "body-not-ended",
    Step.TAKE_ANSWER: "answer-not-taken",
    Step.SEND_REQUEST: "answer-not-taken",
}


class Connection(HttpToolsProtocol):
    """uvicorn's reader of HTTP, within ``bounds``."""

    deadline = math.inf
    flow: Flow

    def __init__(self, *arguments: Any, bounds: Bounds, **options: Any) -> None:
        """Take what uvicorn gives its readers, and what a caller may take of us."""
        super().__init__(*arguments, **options)
        self.logger = _LOG
        self._bounds = bounds
        self._connections = connections_of(self.server_state, self.loop, bounds)
        self._part, self._step = Part.BETWEEN, Step.OURS
        # Bytes of a head so far; in a body, those since the parser last told of anything.
        self._loose_bytes = self._trailer_bytes = 0
        self._answering: RequestResponseCycle | None = None
        self._last_words: bytes | None = None
        self._is_full = False
        self._head_again = b""

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; end the connection that has waited longest, if need be."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._outlet = Outlet(transport, self.hang_up)
        if self._connections.make_room(len(self.connections)):
            self._wait(Step.SEND_REQUEST, self._bounds.head_seconds)
        else:
            CUT_CONNECTIONS.labels("too-many").inc()
            self._refuse(Busy)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget all about it."""
        self._connections.waits_no_more(self)
        self.pipeline.clear()
        if self._answering is not None and self._answering is not self.cycle:
            self._answering.disconnected = True
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give the caller time to take what is written."""
        super().pause_writing()
        self._find_step()

    def resume_writing(self) -> None:
        """Go on: it was taken."""
        super().resume_writing()
        self._find_step()

    # Whose turn it is

    def _wait(self, step: Step, seconds: float) -> None:
        self._step = step
        self._connections.waits(self, seconds)

    def _find_step(self) -> None:
        """Note what the next step is, and how long it may take, if that has changed."""
        step, seconds = self._next_step()
        if step is self._step:
            return
        self._step = step
        if step is Step.OURS:
            self._connections.waits_no_more(self)
        else:
            self._connections.waits(self, seconds)

    def _next_step(self) -> tuple[Step, float]:
        bounds, is_answering = self._bounds, self._answering is not None
        if self._step is Step.END:
            found = Step.END, LINGER_SECONDS
        elif self.flow.write_paused:
            found = Step.TAKE_ANSWER, bounds.head_seconds
        elif is_answering and (self._part is not Part.BODY or self._answering is not self.cycle):
            found = Step.OURS, math.inf
        elif is_answering:  # and the application has a clock of its own for the body
            found = Step.SEND_BODY, math.inf
        elif self._part is Part.BODY:
            found = Step.SEND_REST, bounds.body_seconds
        elif self._part is Part.HEAD:
            found = Step.SEND_HEAD, bounds.head_seconds
        else:
            found = Step.SEND_REQUEST, bounds.keep_alive_seconds
        return found

    def expire(self) -> None:
        """End it: the caller has not done its part in time."""
        step, self._step = self._step, Step.OURS
        if step is Step.SEND_HEAD:
            self._refuse(HeadTooSlow)
        elif step is Step.SEND_REQUEST and self.transport.get_write_buffer_size() == 0:
            self.transport.close()
        else:
            if step in _CUT_BECAUSE:
                CUT_CONNECTIONS.labels(_CUT_BECAUSE[step]).inc()
            self.transport.abort()

    def cut(self) -> None:
        """End it at once."""
        self.transport.abort()

    def hang_up(self) -> None:
        """End it once all is written, and until then throw away what still comes."""
        self._wait(Step.END, LINGER_SECONDS)
        if self._part is Part.BETWEEN and not self._is_full and self._last_words is None:
            self.transport.close()
            return
        self.transport.write_eof()
        self.flow.throw_away()

    # What comes

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self._is_full or self._last_words is not None or self._step is Step.END:
            return
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse(_why(error))
        else:
            self._find_step()

    def _feed(self, data: bytes | memoryview) -> None:
        """Have ``data`` parsed, in pieces that cannot be more than a head may be."""
        while len(data) > (room := MOST_HEAD_BYTES - self._loose_bytes):
            if room <= 0:
                raise httptools.HttpParserError from Refused(HeadersTooLarge)
            view = memoryview(data)
            self._feed_piece(view[:room])
            data = view[room:]
            if self._is_full:
                return
        self._feed_piece(data)

    def _feed_piece(self, piece: bytes | memoryview) -> None:
        was, bytes_so_far = self._part, self._loose_bytes + len(piece)
        self._begun, self._told = 0, False
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._loose_bytes = 0
            self._feed(self._head_again)
            if rest := piece[upgrade.args[0] :]:
                self._feed(rest)
            return
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _QueueFull):
                raise
            self._stop_reading()
            return
        if self._part is Part.HEAD:
            if self._begun > (was is Part.BETWEEN):  # it began somewhere within the piece
                self._is_reckoned = True
                bytes_so_far = head.reckoned_bytes(self.url, self.headers)
            self._loose_bytes = bytes_so_far
        else:
            self._loose_bytes = 0 if self._told or self._part is Part.BETWEEN else bytes_so_far

    def _stop_reading(self) -> None:
        """Answer what was read, and then hang up."""
        CUT_CONNECTIONS.labels("too-many-queued").inc()
        self._is_full = True
        self.cycle.keep_alive = False
        self._part = Part.BETWEEN
        self.flow.stop_reading()

    # What is read

    def on_message_begin(self) -> None:
        """Begin a request, if not too many wait already."""
        if len(self.pipeline) >= MOST_QUEUED:
            raise _QueueFull
        super().on_message_begin()
        self._begun += 1
        self._part = Part.HEAD
        self._is_reckoned = False
        self._trailer_bytes = 0
        self._hosts: list[bytes] = []
        self._codings: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a field after the body is none (RFC 9110 §6.5.1), and only counted."""
        if self._part is Part.BODY:
            self._trailer_bytes += len(name) + len(value) + 4
            if self._trailer_bytes > MOST_HEAD_BYTES:
                raise Refused(HeadersTooLarge)
            return
        name, value = name.lower(), value.rstrip(b" \t")
        if name == b"host":
            self._hosts.append(value)
        elif name == b"transfer-encoding":
            self._codings.append(value.lower())
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Have the request answered, if it is sound."""
        self._told = True
        if self._is_reckoned and head.reckoned_bytes(self.url, self.headers) > MOST_HEAD_BYTES:
            raise Refused(HeadersTooLarge)
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise Refused(BadRequest)
            self._read_head_again()
            return
        head.check(self.parser.get_http_version(), self._hosts, self._codings)
        if not self.url.startswith(b"/") and (found := head.parts_of_target(self.url)):
            host, self.url = found
            self.headers[:] = [field for field in self.headers if field[0] != b"host"]
            self.headers.append((b"host", host))
        self._part = Part.BODY
        super().on_headers_complete()
        self.cycle.transport = self._outlet  # type: ignore[assignment]  # it calls no more of it

    def _read_head_again(self) -> None:
        """Have the head read as if it asked for no other protocol: we speak none.

        The parser takes what comes after one that does for the other protocol, and not for a body.
        ``curl --http2`` and Java's own client send one.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version()
        fields = (field for field in self.headers if field[0] != b"upgrade")
        self._head_again = head.written(method, self.url, version, fields)

    def on_body(self, body: bytes) -> None:
        """Keep a piece of a body."""
        self._told = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request's body."""
        if self.parser.should_upgrade():
            return
        self._part = Part.BETWEEN
        super().on_message_complete()

    # What is answered

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Answer the next request, or wait for it."""
        self.server_state.total_requests += 1
        self._answering = None
        if self.transport.is_closing():
            return
        if self._step is not Step.END:
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
        refusals: Refusals = self.app.state.refusals
        self._last_words = refusals[problem]
        if self._part is Part.BODY:
            self._drop_unfinished()
        if self._answering is None:
            self._say_last_words()
        else:
            self.flow.stop_reading()
            self._find_step()

    def _drop_unfinished(self) -> None:
        """Have the request whose body could not be read answered by nobody else."""
        if self._answering is not self.cycle:
            self.pipeline.popleft()
            return
        cycle, self._answering = self.cycle, None
        if cycle.response_started:
            self._last_words = b""
        cycle.disconnected, cycle.waiting_for_100_continue = True, False
        cycle.message_event.set()

    def _say_last_words(self) -> None:
        assert self._last_words is not None  # noqa: S101 - for mypy
        self.transport.write(self._last_words)
        self.hang_up()

    def shutdown(self) -> None:
        """End it after the requests that are under way: the process is to stop."""
        super().shutdown()
        if self.transport.is_closing():
            self._wait(Step.END, LINGER_SECONDS)


class _QueueFull(Exception):  # noqa: N818 - it stops the parser
    """As many requests wait on one connection as may."""


def _why(error: httptools.HttpParserError) -> type[Problem]:
    """Find the problem with what could not be read. Raises what is a fault of ours."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, Refused):
        problem: type[Problem] = cause.args[0]
        return problem
    if cause is None or isinstance(cause, (httptools.HttpParserInvalidURLError, ValueError)):
        return BadRequest
    raise cause
