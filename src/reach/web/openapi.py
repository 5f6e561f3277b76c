"""What the OpenAPI document says beside the routes: how to begin, refusals, conditions, headers."""

from collections.abc import Mapping, Sequence
from typing import Any

from reach.idempotency.keys import KEY
from reach.problems import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
    Problem,
    QuotaExceeded,
    ServiceUnavailable,
    TooLarge,
    Unauthorised,
    Unprocessable,
    UnsupportedMediaType,
)
from reach.shapes import ID, Shape
from reach.web.body import TooSlow

Responses = dict[int | str, dict[str, Any]]
Document = dict[str, Any]

#: How to begin, for those who have the document alone; ``/docs`` says it too.
DESCRIPTION = """\
People sign up without a key. For all else below `/v1`:

- **Operators** send `Authorization: Bearer rk_…`. `reach up` (`make run`) prints such a key and
  keeps it in `reach-data/operator-key`; `reach keys create` makes others, with fewer scopes.
- **People** send the token of a link that they got by email, for their own record.

Bodies are JSON in UTF-8. Every error is `application/problem+json` (RFC 9457), and its `type` is
the address of a page that explains it. A field or a parameter that is not known is refused (422).
Lists have `next_cursor`, which asks for the next part as `cursor`.
"""
#: The groups of calls, in the order in which somebody gets to know them.
TAGS = (
    {
        "name": "Sign up",
        "description": "What anybody may call, **without a key**: a form on your site, say. "
        "Answers do not tell who is known, and each network may call a few times a minute.",
    },
    {
        "name": "People",
        "description": "Those who have signed up: find, add, change, remove. Needs an operator's "
        "key with `people:read` or `people:write`.",
    },
    {
        "name": "Messages",
        "description": "The emails that are owed, were sent or have failed, with every attempt and "
        "the mail server's own words. Needs `messages:read` or `messages:write`.",
    },
    {
        "name": "Suppressions",
        "description": "Addresses that nothing is sent to: mail to them came back, their owner "
        "marked it as spam, or an operator wanted it so. Needs `messages:read` or "
        "`messages:write`.",
    },
    {
        "name": "Statistics",
        "description": "How many there are, and how fast they come. Needs `people:read` and "
        "`messages:read`.",
    },
    {
        "name": "Keys",
        "description": "Operators' keys: list, make, revoke. Needs `keys:write`; no key can give "
        "what it does not have.",
    },
    {
        "name": "Audit",
        "description": "What operators did: who, what and when, without personal data. Needs "
        "`audit:read`.",
    },
    {
        "name": "Webhooks",
        "description": "Other systems are told what happens, signed by Standard Webhooks. Needs "
        "`webhooks:read` or `webhooks:write`.",
    },
    {
        "name": "Reports",
        "description": "What email providers report of emails that were sent: signed by them, "
        "**without a key** of ours.",
    },
    {
        "name": "Your record",
        "description": "What people do with their own record: see, change, download, remove. Needs "
        "the token of a link from an email (what follows `token=`), and no key.",
    },
)

PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457). `type` is the address of a page about it.",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
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
    "examples": [
        {
            "type": "https://reach.example.com/problems/invalid",
            "title": "Something in the request is not valid",
            "status": 422,
            "errors": [{"pointer": "/name", "detail": "A name is needed."}],
        }
    ],
}
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
#: What reads requests answers some so, before anything gives them a name: see ``web.refusals``.
_BY_THE_READER = {
    400: BadRequest.title,
    408: TooSlow.title,
    431: "The headers are too large",
    501: "Not in this transfer coding",
    503: ServiceUnavailable.title,
}
_KINDS: tuple[type[Problem], ...] = (
    Unauthorised,
    Forbidden,
    NotFound,
    Conflict,
    PreconditionFailed,
    TooLarge,
    UnsupportedMediaType,
    Unprocessable,
    QuotaExceeded,
    Problem,
)
_TITLES = {kind.status: kind.title for kind in _KINDS} | _BY_THE_READER
_METHODS = ("get", "put", "post", "patch", "delete")


def header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    """Say that an answer has a header, always; ``schema`` is what it is like, a text if not."""
    schema = {"type": "string", **schema}
    return {name: {"description": description, "required": True, "schema": schema}}


def takes(name: str, description: str, shape: Shape) -> dict[str, Any]:
    """Say that a route looks at a header: for its ``openapi_extra``.

    Without an example: pages that let calls be tried fill it in, and a condition on another
    record, or the key of another request, is refused.
    """
    said = {"name": name, "in": "header", "description": description, "schema": shape.schema}
    return {"parameters": [said]}


#: For the ``openapi_extra`` of a route that reads ``Idempotency-Key``.
IDEMPOTENCY_KEY = takes(
    "Idempotency-Key",
    "Any text of yours, such as a UUID. The same key and body within 24 hours: the same answer, "
    "and nothing is done again",
    KEY,
)

#: What every answer has.
_OF_ALL = header(
    "X-Request-ID", "Names the request in the log", pattern=r"^[A-Za-z0-9._-]{1,128}$"
) | header("Cache-Control", "No cache may keep it", const="no-store")
_EVERYWHERE = {name: {"$ref": f"#/components/headers/{name}"} for name in _OF_ALL}
_RETRY_AFTER = header(
    "Retry-After", "In how many seconds a retry can succeed", type="integer", minimum=1
)
_OF_STATUS: Mapping[int, dict[str, Any]] = {
    401: header("WWW-Authenticate", "What would do", pattern='^(Bearer|Basic) realm="reach"$'),
    429: _RETRY_AFTER
    | header("RateLimit-Policy", 'The windows: `"minute";q=10;w=60`, quota and seconds')
    | header("RateLimit", 'Those that are full: `"minute";r=0;t=30`, and for how many seconds'),
    503: _RETRY_AFTER,
}


def problems(*statuses: int) -> Responses:
    """Say which refusals a route may answer with."""
    return {status: _refusal(status) for status in statuses}


def _refusal(status: int) -> dict[str, Any]:
    headers = dict(_OF_STATUS.get(status, {}))
    if status in _BY_THE_READER:
        headers["X-Request-ID"] = {**_OF_ALL["X-Request-ID"], "required": False}
    return {"description": _TITLES[status], "content": _PROBLEM, "headers": headers}


#: What any route may say, and routes with a body, a key or a link besides: 422 to a query
#: parameter that there is not, at least.
ANY = problems(400, 408, 422, 431, 500, 501, 503)
OF_BODIES = problems(413, 415)
OF_KEYS = OF_LINKS = problems(401, 403, 429)

ETAG = header(
    "ETag",
    "The version of the record, the state of the welcome, and a change of address under way",
    pattern=r'^"[0-9]{1,9}\.[a-z]+(?:-[0-9a-f]+){0,2}"$',
)


def location(path: str) -> dict[str, Any]:
    """Say that an answer tells where what it made is: at ``path``, by its id."""
    return header(
        "Location",
        "Where to find what was made",
        format="uri-reference",
        pattern=f"^{path}/{ID.pattern}$",
    )


def finish(
    document: Document, scopes: Mapping[tuple[str, str], Sequence[str]], public_url: str
) -> Document:
    """Say what is the same for all once, and what FastAPI cannot: in the document itself.

    ``scopes`` are those that a key needs, by method and path. Without a ``public_url``, the
    server is the one that the document is from.
    """
    if public_url:
        document["servers"] = [{"url": public_url}]
    parts = document["components"]
    parts["schemas"]["Problem"] = PROBLEM_SCHEMA
    parts["responses"], parts["headers"] = {}, _OF_ALL
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                operation = methods[method]
                _say_title(operation)
                _say_scopes(operation, scopes.get((method, path), ()))
                _without_null(operation.get("parameters", ()))
                _share_answers(operation["responses"], parts["responses"])
                _share_body(operation, parts["schemas"])
    return document


def _say_title(operation: Document) -> None:
    """Take the first sentence of a route's docstring for its title; the rest describes it."""
    title, _, rest = operation.pop("description").partition(".")
    operation["summary"] = title
    if rest.strip():
        operation["description"] = rest.strip()


def _say_scopes(operation: Document, scopes: Sequence[str]) -> None:
    for requirement in operation.get("security", ()):
        for scheme in requirement:
            requirement[scheme] = sorted(scopes)


def _without_null(parameters: Sequence[Document]) -> None:
    """Say of a parameter that may be left out that it may: there is no null in a query."""
    for parameter in parameters:
        schema = parameter["schema"]
        kinds = [kind for kind in schema.pop("anyOf", ()) if kind != {"type": "null"}]
        for kind in kinds:
            schema.update(kind)


def _share_answers(answers: Document, shared: Document) -> None:
    for status, answer in answers.items():
        answer["headers"] = {**_EVERYWHERE, **answer.get("headers", {})}
        if int(status) in _TITLES:
            shared[status] = answer
            answers[status] = {"$ref": f"#/components/responses/{status}"}


def _share_body(operation: Document, shared: Document) -> None:
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/json"]
        schema = content["schema"]
        shared[schema["title"]] = schema
        content["schema"] = {"$ref": f"#/components/schemas/{schema['title']}"}
