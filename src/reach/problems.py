"""Expected failures, with their HTTP status.

Raise one anywhere; ``app`` turns it into an RFC 9457 answer. A subclass's docstring is the
text of its page at ``/problems/<type>``, so it is written for those who met the problem.

Problem
├── BadRequest … 400        ├── Conflict … 409             ├── Unprocessable … 422
├── Unauthorised … 401      ├── PreconditionFailed … 412   └── Unavailable … 503
├── Forbidden … 403         ├── TooLarge … 413
├── NotFound … 404          └── UnsupportedMediaType … 415
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from reach.texts import N_


class Problem(Exception):
    """Something went wrong on our side. It has been logged; trying again may help."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal-error"
    title: ClassVar[str] = N_("Something went wrong here")

    def __init__(
        self,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        """Take what is particular to this occurrence: never the offending input itself."""
        super().__init__(detail or self.title)
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    @classmethod
    def address(cls, origin: str) -> str:
        """Write the ``type`` of the answer; ``origin`` is where our pages are."""
        return f"{origin}/problems/{cls.type}"


class BadRequest(Problem):
    """The request could not be read: its body is not UTF-8, not JSON, or JSON we refuse.

    Refused JSON: NaN and Infinity, a key given twice, nesting deeper than 32 levels.
    """

    status, type, title = 400, "bad-request", N_("The request could not be read")


class Unauthorised(Problem):
    """The request carries no valid operator key. Send `Authorization: Bearer rk_…`."""

    status, type, title = 401, "unauthorised", N_("A valid key is needed")

    def __init__(self, detail: str | None = None) -> None:
        """Say which scheme would do, as RFC 9110 asks of every 401."""
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="reach"'})


class Forbidden(Problem):
    """The key is valid but lacks the scope that this call needs."""

    status, type, title = 403, "forbidden", N_("This key may not do that")


class NotFound(Problem):
    """There is nothing at this address, or no longer."""

    status, type, title = 404, "not-found", N_("There is nothing here")


class MethodNotAllowed(Problem):
    """This address exists, but not for this method. `Allow` lists those it takes."""

    status, type, title = 405, "method-not-allowed", N_("Not with this method")


class Conflict(Problem):
    """The request does not fit the present state of what it is about."""

    status, type, title = 409, "conflict", N_("That does not fit the present state")


class PreconditionFailed(Problem):
    """The record has changed since you read it. Read it again, then repeat your change."""

    status, type, title = 412, "stale-version", N_("The record has changed since")


class TooLarge(Problem):
    """The request's body is larger than 64 KiB. It was not read."""

    status, type, title = 413, "too-large", N_("The body is too large")


class UnsupportedMediaType(Problem):
    """The body's `Content-Type` is not one this address takes."""

    status, type, title = 415, "unsupported-media-type", N_("Not in this content type")


class Unprocessable(Problem):
    """The request was read, but something in it breaks a rule.

    `errors` lists each: `pointer` (RFC 6901) says where, `detail` says what is wrong.
    """

    status, type, title = 422, "invalid", N_("Something in the request is not valid")


class QuotaExceeded(Problem):
    """You have asked more often than this service allows. Nothing was done; nothing is lost.

    Try again after `Retry-After` seconds. `violated-policies` names the windows that are full;
    `RateLimit-Policy` says how much each one holds (`q`) in how many seconds (`w`).
    """

    status, type, title = 429, "quota-exceeded", N_("Too often")

    def __init__(self, violated: Sequence[str], headers: Mapping[str, str]) -> None:
        """Take the names of the full windows, and the headers that say when to come back."""
        super().__init__(headers=headers)
        self.members = {"violated-policies": list(violated)}

    @classmethod
    def address(cls, origin: str) -> str:
        """Write the type that is registered for this."""
        return f"https://iana.org/assignments/http-problem-types#{cls.type}"


class ServiceUnavailable(Problem):
    """Something that Reach needs is unavailable. Try again after `Retry-After` seconds.

    Whether a change that met this was made is unknown: ask, or repeat it.
    """

    status, type, title = 503, "unavailable", N_("Not available for a moment")

    def __init__(self, detail: str | None = None, *, retry_after_seconds: int = 2) -> None:
        """Every 503 says when to come back."""
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})


def all_problems() -> dict[str, type[Problem]]:
    """Every kind of problem by its ``type`` (the slug of its page)."""
    found: dict[str, type[Problem]] = {}
    waiting = [Problem]
    while waiting:
        kind = waiting.pop()
        found.setdefault(kind.type, kind)  # one that is a case of another has the other's page
        waiting += kind.__subclasses__()
    return found
