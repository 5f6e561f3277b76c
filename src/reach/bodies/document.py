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
    Unavailable,
)
_TITLES = {kind.status: kind.title for kind in _KINDS}


def problems(*statuses: int) -> Responses:
    """Say which refusals a route may answer with."""
    return {status: {"description": _TITLES[status], "content": _PROBLEM} for status in statuses}


def header(name: str, description: str) -> dict[str, Any]:
    """Say that an answer has a header."""
    return {name: {"description": description, "schema": {"type": "string"}}}


def takes(name: str, description: str) -> dict[str, Any]:
    """Say that a route looks at a header: for its ``openapi_extra``."""
    schema = {"type": "string"}
    return {
        "parameters": [{"name": name, "in": "header", "description": description, "schema": schema}]
    }


#: What any route may say, and routes with a body, a key or a link besides.
ANY: Responses = {"default": {"description": "A problem (RFC 9457)", "content": _PROBLEM}}
OF_BODIES = problems(400, 408, 413, 415, 422)
OF_KEYS = OF_LINKS = problems(401, 403, 503)

ETAG = header("ETag", "The version of the record and the state of the welcome")
LOCATION = header("Location", "Where to find what was made")
IF_MATCH = takes("If-Match", "The ETag of the record as you read it; its version counts")
IF_NONE_MATCH = takes("If-None-Match", "The ETag of what you have already")
