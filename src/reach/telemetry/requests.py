"""Requests as they are counted: whatever callers send, there are only so many series."""

from functools import cache

from reach.telemetry.metrics import REQUEST_SECONDS

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
OTHER = "other"
#: Stands for every address that no route has.
UNMATCHED = "unmatched"

_seconds = cache(REQUEST_SECONDS.labels)


def named(method: str) -> str:
    """Name a request's method, where it is to be told: others are whatever callers type."""
    return method if method in METHODS else OTHER


def observe(route: str, method: str, status: int, seconds: float) -> None:
    """Count a request that ``route`` (a template, or ``UNMATCHED``) was answered by.

    ``method`` is as ``named`` gives it.
    """
    _seconds(route, method, status).observe(seconds)


def expect(route: str, method: str, status: int) -> None:
    """Begin a series at 0: what only begins with its first event hides that one from ``rate``."""
    _seconds(route, method, status)
