"""A reader of HTTP that is bounded in memory, and takes what RFC 9112 has a server take.

uvicorn 0.54 with httptools 0.9 bounds nothing, and passes on what is to be refused; see
docs/decisions/0039-connections.md. Of uvicorn's names, those are used that its own readers share:
``cycle`` is the request that was read last, ``pipeline`` those that wait for the one before them.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reach.problems import BadRequest, Problem
from reach.web.body import MOST_BYTES
from reach.web.refusals import HeadersTooLarge, Refused, UnknownCoding, UnknownVersion

#: What RFC 9110 §7.2 calls a host, and perhaps a port. It may be empty.
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::[0-9]*)?")
#: A target in absolute form: its authority, and the rest.
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)(.*)", re.DOTALL)
_VERSIONS = ("1.1", "1.0")
_CODINGS: tuple[tuple[bytes, ...], ...] = ((), (b"chunked",))

Fields = Sequence[tuple[bytes, bytes]]


def parts_of_target(target: bytes) -> tuple[bytes, bytes] | None:
    """Give host, and path with query, of a target in absolute form; None for the others.

    Such a target's host counts, whatever ``Host`` says (RFC 9112 §3.2.2). Raises Refused.
    """
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        return None
    host, rest = found.groups()
    if not host or not _HOST.fullmatch(host):
        raise Refused(BadRequest)
    return host, rest if rest.startswith(b"/") else b"/" + rest


def estimated_bytes(target: bytes, fields: Fields) -> int:
    """Estimate how long a head is, but for the rest of its first line."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in fields)


def written(method: bytes, target: bytes, version: str, fields: Iterable[Sequence[bytes]]) -> bytes:
    """Write a head, to be read again."""
    line = b" ".join((method, target, f"HTTP/{version}".encode()))
    return b"\r\n".join((line, *map(b": ".join, fields), b"", b""))


#: Of a request's line and headers, and of the fields after its body.
MOST_HEAD_BYTES = 32 * 1024
#: And so many fields: each of them costs, however short it is. hyper's default is 100.
MOST_FIELDS = 128
#: As many as the longest body that llhttp would take; zeros before them change nothing.
MOST_LENGTH_DIGITS = 20
#: Requests that wait on one connection for the answer before theirs.
MOST_QUEUED = 16


class Part(Enum):
    """Where in a request the reader is."""

    BETWEEN = auto()
    HEAD = auto()
    BODY = auto()


#: By names of their own: an enumeration takes its time to find its members.
BETWEEN, IN_HEAD, IN_BODY = Part


class Flow:
    """Both of what uvicorn gives a request: its control of the flow, and the transport.

    Closing is ours, and reading does not begin again once it is over. There is one for each silent
    caller too, so it is small: an ``asyncio.Event``, as uvicorn's own has, takes 900 bytes.
    """

    __slots__ = (
        "_head",
        "_taken",
        "_transport",
        "close",
        "is_closing",
        "is_over",
        "read_paused",
        "write_paused",
    )

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        """Write to ``transport``, and have ``close`` end it."""
        self._transport = transport
        self.is_closing, self.close = transport.is_closing, close
        self.read_paused = self.write_paused = self.is_over = False
        self._taken: asyncio.Future[None] | None = None
        #: An answer's head that waits for its body; empty: the next piece is one.
        self._head: bytes | None = None

    def join(self) -> None:
        """Have the piece that is written next wait for the one behind it: they leave as one.

        A process that is killed between the two would leave half an answer.
        """
        self._head = b""

    def write(self, data: bytes) -> None:
        """Write a piece of an answer."""
        if self._head is None:
            self._transport.write(data)
        elif not self._head:
            self._head = data
        else:
            self._transport.write(self._head + data)
            self._head = None

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


class QueueFull(Exception):
    """All the requests wait on one connection that may: nothing more is to be fed."""


class Reader(HttpToolsProtocol):
    """uvicorn's reader, within bounds."""

    _part = BETWEEN
    #: Bytes of a head so far; in a body, those since the parser last told of anything.
    _loose_bytes = 0
    _trailer_bytes = _trailers = 0
    _hosts: tuple[bytes, ...] = ()
    _codings: tuple[bytes, ...] = ()
    #: Whether the body of the request that is read is said to be longer than any that is taken.
    _is_announced_long = False
    _head_again = b""

    def feed(self, data: bytes | memoryview) -> None:
        """Have ``data`` parsed, in pieces that cannot be more than a head may be.

        Raises HttpParserError, of which ``problem_of`` tells what to answer, and QueueFull.
        """
        while len(data) > (room := MOST_HEAD_BYTES - self._loose_bytes):
            if room <= 0:
                raise httptools.HttpParserError from Refused(HeadersTooLarge)
            view = memoryview(data)
            self.feed_piece(view[:room])
            data = view[room:]
        self.feed_piece(data)

    def feed_piece(self, piece: bytes | memoryview) -> None:
        """Have a piece parsed that is no longer than what a head may still have."""
        was, bytes_so_far = self._part, self._loose_bytes + len(piece)
        self._begun, self._told = 0, False
        head_end: int | None = None
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            head_end = upgrade.args[0]
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, QueueFull):
                raise error.__context__ from None
            raise
        if head_end is not None:  # and not where it is caught: errors would have it for a context
            self._loose_bytes = 0
            self.feed(self._head_again)
            if rest := piece[head_end:]:
                self.feed(rest)
            return
        if self._part is IN_HEAD:
            if self._begun > (was is BETWEEN):  # it began somewhere within the piece
                self._is_estimated = True
                bytes_so_far = estimated_bytes(self.url, self.headers)
            self._loose_bytes = bytes_so_far
        else:
            self._loose_bytes = 0 if self._told or self._part is BETWEEN else bytes_so_far

    # What is read

    def on_message_begin(self) -> None:
        """Begin a request, if not too many wait already."""
        if len(self.pipeline) >= MOST_QUEUED:
            raise QueueFull
        super().on_message_begin()
        self._begun += 1
        self._part = IN_HEAD
        self._is_estimated = self._is_announced_long = False
        self._trailer_bytes = self._trailers = 0
        self._hosts = self._codings = ()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a field after the body is none (RFC 9110 §6.5.1), and only counted."""
        if self._part is IN_BODY:
            self._trailer_bytes += len(name) + len(value) + 4
            self._trailers += 1
            if self._trailer_bytes > MOST_HEAD_BYTES or self._trailers > MOST_FIELDS:
                raise Refused(HeadersTooLarge)
            return
        if len(self.headers) >= MOST_FIELDS:
            raise Refused(HeadersTooLarge)
        name, value = name.lower(), value.rstrip(b" \t")
        if name == b"host":
            self._hosts += (value,)
        elif name == b"transfer-encoding":
            self._codings += (value.lower(),)
        elif name == b"content-length":
            if len(value) > MOST_LENGTH_DIGITS:
                raise Refused(BadRequest)
            self._is_announced_long = int(value) > MOST_BYTES
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Have the request answered, if it is sound."""
        self._told = True
        if self._is_estimated and estimated_bytes(self.url, self.headers) > MOST_HEAD_BYTES:
            raise Refused(HeadersTooLarge)
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise Refused(BadRequest)
            self._read_head_again()
            return
        # RFC 9112 §2.3, §3.2 and §6.1.
        version, hosts, codings = self.parser.get_http_version(), self._hosts, self._codings
        is_old = version == "1.0"
        if version not in _VERSIONS:
            raise Refused(UnknownVersion)
        if not is_old and codings not in _CODINGS:
            raise Refused(UnknownCoding)
        is_host = len(hosts) == 1 and _HOST.fullmatch(hosts[0])
        if (is_old and codings) or not (is_host or (is_old and not hosts)):
            raise Refused(BadRequest)
        if is_old:  # where nobody knows what a 100 is (RFC 9110 §10.1.1)
            self.expect_100_continue = False
        if not self.url.startswith(b"/") and (found := parts_of_target(self.url)):
            host, self.url = found
            self.headers[:] = [field for field in self.headers if field[0] != b"host"]
            self.headers.append((b"host", host))
        self._part = IN_BODY
        super().on_headers_complete()

    def _read_head_again(self) -> None:
        """Have the head read as if it asked for no other protocol: we speak none.

        The parser takes what comes after one that does for the other protocol, and not for a body.
        ``curl --http2`` and Java's own client send one.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version()
        fields = (field for field in self.headers if field[0] != b"upgrade")
        self._head_again = written(method, self.url, version, fields)


def problem_of(error: httptools.HttpParserError) -> type[Problem]:
    """Find the problem with what could not be read. Raises what is a fault of ours."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, Refused):
        problem: type[Problem] = cause.args[0]
        return problem
    if cause is None or isinstance(cause, (httptools.HttpParserInvalidURLError, ValueError)):
        return BadRequest
    raise cause
