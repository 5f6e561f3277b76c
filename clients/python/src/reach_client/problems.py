"""What can go wrong, as exceptions.

ReachError
├── Problem            the server's answer (RFC 9457); by its status:
│   ├── BadRequest … 400          ├── PreconditionFailed … 412    ├── QuotaExceeded … 429
│   ├── Unauthorised … 401        ├── TooLarge … 413              └── ServerError … 500 and above
│   ├── Forbidden … 403           ├── UnsupportedMediaType … 415      └── Unavailable … 502 to 504
│   ├── NotFound … 404            └── Invalid … 422
│   └── Conflict … 409
├── NotReached         no answer: no connection, or it was lost, or took too long
└── UnexpectedAnswer   an answer that is none of Reach's API
"""

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from typing import Any, ClassVar

import httpx


class ReachError(Exception):
    """Anything that this client raises.

    ``perhaps_done``: an earlier try of the same call had an unknown outcome (its answer was lost,
    say), so what was asked for may have been done, although this is how it ended.
    """

    perhaps_done: bool = False


class NotReached(ReachError):
    """No answer came, in as many tries as there were. ``__cause__`` is httpx's own exception."""


class UnexpectedAnswer(ReachError):
    """The answer is none that Reach gives: another server's, or one of another version."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request, and where: in its body, or in its query."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


class Problem(ReachError):
    """The server refused, or failed: its own words, as attributes.

    ``type`` is the address of a page about the problem, ``slug`` the end of it, which programs
    compare. ``members`` has all that the answer said. ``request_id`` is in the server's log.
    """

    by_status: ClassVar[dict[int, type["Problem"]]] = {}

    def __init__(self, response: httpx.Response) -> None:
        """Read the answer. One without RFC 9457's members, a proxy's say, has a title at least."""
        self.status = response.status_code
        self.members = _members(response)
        self.type = _text(self.members.get("type")) or "about:blank"
        self.title = _text(self.members.get("title")) or _phrase(self.status)
        self.detail = _text(self.members.get("detail"))
        self.errors = _faults(self.members.get("errors"))
        self.retry_after = retry_after(response)
        self.request_id = response.headers.get("X-Request-ID")
        super().__init__(self._words())

    @property
    def slug(self) -> str:
        """What kind of problem it is, in one word: ``already-signed-up``, say."""
        return self.type.rstrip("/").rpartition("/")[2].rpartition("#")[2]

    def _words(self) -> str:
        wrong = [
            f"{one.pointer or one.parameter or ''} {one.detail}".strip() for one in self.errors
        ]
        said = [f"{self.status} {self.title}", *filter(None, [self.detail]), *wrong]
        return ". ".join(words.rstrip(".") for words in said)

    def __init_subclass__(cls, status: int | None = None) -> None:
        """Note which status the subclass is for."""
        super().__init_subclass__()
        if status is not None:
            Problem.by_status[status] = cls


class BadRequest(Problem, status=400):
    """The request could not be read."""


class Unauthorised(Problem, status=401):
    """The key or the link is missing, wrong, or no longer valid."""


class Forbidden(Problem, status=403):
    """The key lacks a scope that this call needs."""


class NotFound(Problem, status=404):
    """There is nothing of that id, or no longer."""


class Conflict(Problem, status=409):
    """It does not fit the present state: the address is already signed up, say."""


class PreconditionFailed(Problem, status=412):
    """The record has changed since it was read: ``if_match`` is stale."""


class TooLarge(Problem, status=413):
    """The body is larger than Reach reads."""


class UnsupportedMediaType(Problem, status=415):
    """The body is of another kind than Reach reads."""


class Invalid(Problem, status=422):
    """Something in the request breaks a rule: ``errors`` says what, and where."""


class QuotaExceeded(Problem, status=429):
    """Too often. ``retry_after`` seconds from the answer on, it may succeed."""


class ServerError(Problem):
    """Something went wrong at the server."""


class Unavailable(ServerError):
    """The server, or something that it needs, was not available in as many tries as there were."""


Problem.by_status |= dict.fromkeys((502, 503, 504), Unavailable)


def problem_of(response: httpx.Response) -> Problem:
    """Make the exception for a refusal, whose body was read."""
    is_servers = response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    fallback = ServerError if is_servers else Problem
    return Problem.by_status.get(response.status_code, fallback)(response)


def retry_after(response: httpx.Response) -> float | None:
    """Read ``Retry-After`` (RFC 9110 §10.2.3), seconds or a date, as seconds; None if not there."""
    given = response.headers.get("Retry-After", "").strip()
    if given.isascii() and given.isdigit():
        return float(given)
    try:
        return max(parsedate_to_datetime(given).timestamp() - time(), 0.0)
    except (ValueError, OverflowError):
        return None


def _members(response: httpx.Response) -> Mapping[str, Any]:
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _faults(found: object) -> tuple[Fault, ...]:
    return tuple(
        Fault(
            _text(one.get("detail")) or "",
            _text(one.get("pointer")),
            _text(one.get("parameter")),
        )
        for one in (found if isinstance(found, list) else ())
        if isinstance(one, dict)
    )


def _text(found: object) -> str | None:
    return found if isinstance(found, str) else None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Refused"
