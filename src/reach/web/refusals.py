"""What is answered to a request that no application sees: whole answers, written once."""

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from reach.problems import BadRequest, Problem, ServiceUnavailable
from reach.settings import Settings
from reach.web.body import TooSlow
from reach.web.security import safety_headers


class HeadersTooLarge(Problem):
    """The request's headers, or the fields after its body, are over 32 KiB, or more than 128."""

    status, type, title = 431, "headers-too-large", "The headers are too large"


class HeadTooSlow(Problem):
    """The request's line and headers did not arrive within `REACH_HEAD_SECONDS` (30 seconds)."""

    status, type, title = 408, "head-too-slow", "The headers did not arrive in time"


class UnknownCoding(Problem):
    """A body may come with a `Content-Length`, or `chunked`. Other transfer codings are unknown."""

    status, type, title = 501, "unknown-transfer-coding", "Not in this transfer coding"


class UnknownVersion(Problem):
    """Reach speaks HTTP/1.1 and HTTP/1.0; what is before it may speak others."""

    status, type, title = 505, "unknown-http-version", "Not in this version of HTTP"


class Busy(ServiceUnavailable):
    """All the requests are being answered that this process takes connections for."""

    type, title = "busy", "Too many requests at this moment"


KINDS: tuple[type[Problem], ...] = (
    BadRequest,
    HeadTooSlow,
    TooSlow,
    HeadersTooLarge,
    UnknownCoding,
    UnknownVersion,
    Busy,
)

Refusals = Mapping[type[Problem], bytes]


class Refused(Exception):
    """A request is refused while it is being read; ``args[0]`` is a kind out of ``KINDS``."""


def refusals(settings: Settings) -> Refusals:
    """Write the whole answer of each kind. Every one of them ends the connection."""
    safety = safety_headers(settings)
    return {kind: _written(kind(), settings.origin, safety) for kind in KINDS}


def _written(problem: Problem, origin: str, safety: Iterable[tuple[bytes, bytes]]) -> bytes:
    body = json.dumps(
        {"type": problem.address(origin), "title": problem.title, "status": problem.status}
    ).encode()
    headers = {"Connection": "close"} | dict(problem.headers)
    lines = (
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in headers.items()),
        *safety,
    )
    status = HTTPStatus(problem.status)
    line = f"HTTP/1.1 {status.value} {status.phrase}".encode()
    return b"\r\n".join((line, *map(b": ".join, lines), b"", body))
