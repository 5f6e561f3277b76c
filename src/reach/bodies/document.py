"""What the OpenAPI document says beside the routes: refusals, conditions, headers."""

from typing import Any

from reach.bodies.guard import TooSlow
from reach.problems import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
    Problem,
    QuotaExceeded,
    TooLarge,
    Unauthorised,
    Unavailable,
    Unprocessable,
    UnsupportedMediaType,
)

Responses = dict[int | str, dict[str, Any]]

PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457). `type` is the address of a page about it.",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "violated-policies": {
            "type": "array",
            "description": "Which windows of a limit are full",
            "items": {"type": "string"},
        },
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "Where in the body (RFC 6901)"},
                    "parameter": {"type": "string", "description": "Which query parameter"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_KINDS: tuple[type[Problem], ...] = (
    BadRequest,
    Unauthorised,
    Forbidden,
    NotFound,
    TooSlow,
    Conflict,
    PreconditionFailed,
    TooLarge,
    UnsupportedMediaType,
    Unprocessable,
    QuotaExceeded,
    Unavailable,
)
_TITLES = {kind.status: kind.title for kind in _KINDS}


def problems(*statuses: int) -> Responses:
    """Say which refusals a route may answer with."""
    return {status: _refusal(status) for status in statuses}


def _refusal(status: int) -> dict[str, Any]:
    said: dict[str, Any] = {"description": _TITLES[status], "content": _PROBLEM}
    return {**said, "headers": _OF_LIMITS} if status == QuotaExceeded.status else said


def header(name: str, description: str) -> dict[str, Any]:
    """Say that an answer has a header."""
    return {name: {"description": description, "schema": {"type": "string"}}}


def takes(name: str, description: str) -> dict[str, Any]:
    """Say that a route looks at a header: for its ``openapi_extra``."""
    schema = {"type": "string"}
    return {
        "parameters": [{"name": name, "in": "header", "description": description, "schema": schema}]
    }


_OF_LIMITS = (
    header("Retry-After", "In how many seconds a retry can succeed")
    | header("RateLimit-Policy", 'The windows: `"minute";q=10;w=60`, quota and seconds')
    | header("RateLimit", 'Those that are full: `"minute";r=0;t=30`, and for how many seconds')
)
#: What any route may say, and routes with a body, a key or a link besides: 422 to a query
#: parameter that there is not, at least.
ANY: Responses = {"default": {"description": "A problem (RFC 9457)", "content": _PROBLEM}}
OF_BODIES = problems(400, 408, 413, 415, 422)
OF_KEYS = OF_LINKS = problems(401, 403, 422, 429, 503)

ETAG = header("ETag", "The version of the record and the state of the welcome")
LOCATION = header("Location", "Where to find what was made")
IDEMPOTENCY_KEY = takes(
    "Idempotency-Key",
    "The same key and body within 24 hours: the same answer, and nothing is done again",
)
IF_MATCH = takes("If-Match", "The ETag of the record as you read it; its version counts")
IF_NONE_MATCH = takes("If-None-Match", "The ETag of what you have already")
CONDITIONS = {"parameters": [*IF_MATCH["parameters"], *IF_NONE_MATCH["parameters"]]}
