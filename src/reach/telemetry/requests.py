"""Requests as they are counted: whatever callers send, there are only so many series."""

from functools import cache

from reach.telemetry.metrics import REQUEST_SECONDS

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
OTHER = "other"
#: Stands for every address that no route has.
UNMATCHED = "unmatched"

_seconds = cache(REQUEST_SECONDS.labels)


def observe(route: str, method: str, status: int, seconds: float) -> None:
    """Count a request that ``route`` (a template, or ``UNMATCHED``) was answered by."""
    method = method if method in METHODS else OTHER
    _seconds(route, method, status).observe(seconds)
