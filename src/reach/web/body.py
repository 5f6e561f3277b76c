"""The 400, 408, 413, 415 and 422: a body is small, readable, of the right type and by the rules.

JSON and forms are read strictly: what two readers could read differently is refused.

Bodies are read by a dependency, after the guards of access and limits have had their say,
and not by FastAPI itself: see docs/decisions/0006-bodies.md.
"""

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, ValidationError

from reach.problems import BadRequest, Problem, TooLarge, Unprocessable, UnsupportedMediaType
from reach.settings import Settings
from reach.texts import N_
from reach.web.routes import services_of

M = TypeVar("M", bound=BaseModel)

MOST_BYTES = 64 * 1024
MOST_LEVELS = 32
MOST_FIELDS = 50
#: Where a request has its body, if it is known to be whole, and not too long.
BODY = "reach.body"
ENCODING = b"content-encoding"
JSON_TYPES = ("application/json", "application/merge-patch+json")
FORM_TYPES = ("application/x-www-form-urlencoded",)
MULTIPART = "multipart/form-data"
#: What stands between its parts, and a part's name: that of a file has more behind it.
BOUNDARY = re.compile(r';\s*boundary="?([^\s";,]{1,70})', re.IGNORECASE)
FIELD = re.compile(
    rb'^content-disposition:[ \t]*form-data[ \t]*;[ \t]*name="?([^"\s;]+)"?[ \t]*\r?$',
    re.IGNORECASE | re.MULTILINE,
)
#: In place of the library's words, by its name for the fault.
PLAIN_WORDS = {
    "missing": N_("This is needed."),
    **dict.fromkeys(
        ("model_type", "model_attributes_type", "dict_type"), "Input should be an object"
    ),
    **dict.fromkeys(("uuid_type", "uuid_parsing"), "Input should be a valid UUID"),
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_parsing_size"), "Input should be a whole number"
    ),
    **dict.fromkeys(("bool_type", "bool_parsing"), "Input should be true or false"),
}


class TooSlow(Problem):
    """The request's body did not arrive within 30 seconds."""

    status, type, title = 408, "too-slow", N_("The body did not arrive in time")

    def __init__(self, detail: str | None = None) -> None:
        """Hang up too: what is still to come would be taken for the next request."""
        super().__init__(detail, headers={"Connection": "close"})


def json_body(model: type[M]) -> Callable[[Request], Awaitable[M]]:
    """Make the dependency that reads a JSON body as a ``model``."""

    async def read(request: Request) -> M:
        services = services_of(request)
        data = parse_json(await read_body(request, services.body_seconds))
        return validate(model, data, services.settings)

    return read


def in_json(model: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI is to say of a route that reads ``json_body(model)``."""
    schema = model.model_json_schema()
    schema = _with_parts_in_place(schema, schema.pop("$defs", {}))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _with_parts_in_place(schema: Any, parts: Mapping[str, Any]) -> Any:
    """Put parts where they are referred to: in the document they would be found nowhere."""
    if isinstance(schema, list):
        return [_with_parts_in_place(one, parts) for one in schema]
    if not isinstance(schema, dict):
        return schema
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    whole = {**parts.get(name, {}), **{key: schema[key] for key in schema if key != "$ref"}}
    return {key: _with_parts_in_place(value, parts) for key, value in whole.items()}


async def read_form(request: Request) -> dict[str, str]:
    """Read a urlencoded form."""
    seconds = services_of(request).body_seconds
    return parse_form(await read_body(request, seconds, FORM_TYPES))


async def read_any_form(request: Request) -> dict[str, str]:
    """Read a form of short fields, urlencoded or as ``multipart/form-data`` (RFC 7578)."""
    seconds = services_of(request).body_seconds
    body = await read_body(request, seconds, (*FORM_TYPES, MULTIPART))
    kind = request.headers.get("content-type", "")
    return parse_multipart(kind, body) if MULTIPART in kind.lower() else parse_form(body)


async def read_body(
    request: Request,
    seconds: float,
    types: tuple[str, ...] = JSON_TYPES,
    most_bytes: int = MOST_BYTES,
) -> bytes:
    """Read at most 64 KiB within ``seconds``, and not a byte if it is announced to be more.

    ``most_bytes`` is for those that are known to send more.

    Raises UnsupportedMediaType, TooLarge, TooSlow. uvicorn throws away what we leave unread, so the
    answer arrives however much is still coming.
    """
    fields = dict(reversed(request.scope["headers"]))  # of several the first counts
    if fields.get(b"content-type", b"").decode("latin-1") not in types or ENCODING in fields:
        _check_type(request, types)
    whole: bytes | None = request.scope.get(BODY)
    if whole is not None:
        return whole
    announced = request.headers.get("content-length")
    if announced is not None and announced.isdigit() and int(announced) > most_bytes:
        raise TooLarge
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most_bytes:
                    raise TooLarge
    except TimeoutError:
        raise TooSlow from None
    return bytes(body)


def _check_type(request: Request, types: tuple[str, ...]) -> None:
    kind, *parameters = request.headers.get("content-type", "").lower().split(";")
    if kind.strip() not in types:
        raise UnsupportedMediaType(f"The body must be {' or '.join(types)}.")
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8"):
            raise UnsupportedMediaType("The body must be in UTF-8.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("The body must not be compressed.")


def parse_json(body: bytes) -> Any:
    """Read one JSON value (RFC 8259), of at most 32 levels.

    Raises BadRequest for what is not UTF-8 or not JSON; NaN, Infinity and numbers too large
    to hold; a key given twice; lone surrogates and NUL, which no database stores; an object
    with more members than any of ours, which would only be work.
    """
    try:
        text = body.decode("utf-8")
        value = json.loads(text) if text.startswith(BYTE_ORDER_MARK) else _JSON.decode(text)
    except UnicodeDecodeError:
        raise BadRequest("The body is not UTF-8.") from None
    except RecursionError:
        raise BadRequest(f"The body is nested deeper than {MOST_LEVELS} levels.") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error.msg} at {error.pos}.") from None
    except ValueError:  # a whole number of thousands of digits
        raise BadRequest("The body holds a number that is too large.") from None
    if isinstance(value, dict) and len(value) > MOST_FIELDS:
        raise BadRequest("The body has too many fields.")
    # Most have neither an escape, which alone can hide such a character, nor as many levels.
    if "\\u" in text or text.count("[") + text.count("{") >= MOST_LEVELS:
        _check(value)
    return value


#: ``json.loads`` refuses it, in words of its own.
BYTE_ORDER_MARK = "\ufeff"


def parse_form(body: bytes) -> dict[str, str]:
    """Read ``application/x-www-form-urlencoded``.

    Raises BadRequest for what is not UTF-8, a field given twice, or too many fields.
    """
    try:
        pairs = parse_qsl(
            body.decode("utf-8"),  # browsers escape what is not ASCII; curl does not
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except UnicodeDecodeError:
        raise BadRequest("The form is not UTF-8.") from None
    except ValueError:
        raise BadRequest("The form has too many fields.") from None
    return _unique(pairs)


def parse_multipart(kind: str, body: bytes) -> dict[str, str]:
    """Read ``multipart/form-data`` by the ``boundary`` that its type, ``kind``, names.

    Raises BadRequest for what is not that or not UTF-8, a file, a field given twice, or too many.
    """
    boundary = BOUNDARY.search(kind)
    if boundary is None:
        raise BadRequest("The form names no boundary.")
    first, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode("latin-1"))
    if first.strip() or not parts or parts.pop().strip() != b"--":
        raise BadRequest("The form is cut off, or begins with something else.")
    if len(parts) > MOST_FIELDS:
        raise BadRequest("The form has too many fields.")
    return _unique([_field(part) for part in parts])


def _field(part: bytes) -> tuple[str, str]:
    head, _, value = part.partition(b"\r\n\r\n")
    name = FIELD.search(head)
    if name is None:
        raise BadRequest("A part of the form is no field of text.")
    try:
        return name[1].decode(), value.decode()
    except UnicodeDecodeError:
        raise BadRequest("The form is not UTF-8.") from None


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRequest("A key is given twice.")
    return found


def _no_constant(_: str) -> float:
    raise BadRequest("NaN and Infinity are not JSON.")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise BadRequest("The body holds a number that is too large.")
    return number


#: Made once: ``json.loads`` makes one for each call that has such rules.
_JSON = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
)


def _check(value: Any) -> None:
    """Look at every level and every string of a value."""
    level, levels = [value], 0
    while level:
        levels += 1
        if levels > MOST_LEVELS:
            raise BadRequest(f"The body is nested deeper than {MOST_LEVELS} levels.")
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _check_text(item)
            elif isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
        level = below


def _check_text(text: str) -> None:
    if "\0" in text:
        raise BadRequest("The body holds the character NUL.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadRequest("The body holds half of a surrogate pair.") from None


def validate(model: type[M], data: Any, settings: Settings) -> M:
    """Check ``data`` against ``model``. Raises Unprocessable, whose ``errors`` say where.

    Nothing that was sent is repeated, not even the name of a field we do not know. Rules
    that depend on the settings find them as ``info.context["settings"]``.
    """
    try:
        return model.model_validate(data, context={"settings": settings})
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        unique = dict.fromkeys(_describe(model, fault) for fault in faults)
        errors = [{"pointer": pointer, "detail": detail} for pointer, detail in unique]
        raise Unprocessable(errors=errors) from None


def in_plain_words(fault: Mapping[str, Any]) -> str:
    """Say what is wrong in HTTP's words: the library's own are Python's, or quote the input."""
    if fault["type"] == "too_long":
        return f"It may have at most {fault['ctx']['max_length']} characters."
    said: str = PLAIN_WORDS.get(fault["type"], fault["msg"])
    return said.removeprefix("Value error, ")


def _describe(model: type[BaseModel], fault: Mapping[str, Any]) -> tuple[str, str]:
    """Say where a fault is, as far as the names there are ours, and what it is."""
    pointer = ""
    for place in fault["loc"]:
        field = model.model_fields.get(place)
        if field is None:
            break
        pointer += f"/{place}"
        inner = field.annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    if fault["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields)
        return pointer, f"There is an unknown field. Known are: {known}."
    return pointer, in_plain_words(fault)
