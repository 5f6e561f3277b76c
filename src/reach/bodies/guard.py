"""The 400, 408, 413, 415 and 422: a body is small, readable, of the right type and by the rules.

Bodies are read by a dependency, after the guards of access and limits have had their say,
and not by FastAPI itself: see docs/decisions/0006-bodies.md.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from reach.bodies.strict import parse_form, parse_json
from reach.problems import Problem, TooLarge, Unprocessable, UnsupportedMediaType

M = TypeVar("M", bound=BaseModel)

MOST_BYTES = 64 * 1024
JSON_TYPES = ("application/json", "application/merge-patch+json")
FORM_TYPES = ("application/x-www-form-urlencoded",)
#: In place of the library's words, by its name for the fault.
PLAIN_WORDS = {
    **dict.fromkeys(
        ("model_type", "model_attributes_type", "dict_type"), "Input should be an object"
    ),
    **dict.fromkeys(("uuid_type", "uuid_parsing"), "Input should be a valid UUID"),
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_parsing_size"), "Input should be a whole number"
    ),
    **dict.fromkeys(("bool_type", "bool_parsing"), "Input should be true or false"),
}


#: As long as a slow telephone takes for 64 KiB, and not as long as somebody likes.
BODY_SECONDS = 30.0


class TooSlow(Problem):
    """The request's body did not arrive within 30 seconds."""

    status, type, title = 408, "too-slow", "The body did not arrive in time"

    def __init__(self, detail: str | None = None) -> None:
        """Hang up too: what is still to come would be taken for the next request."""
        super().__init__(detail, headers={"Connection": "close"})


def json_body(model: type[M]) -> Callable[[Request], Awaitable[M]]:
    """Make the dependency that reads a JSON body as a ``model``."""

    async def read(request: Request) -> M:
        return validate(model, await read_json(request), request)

    return read


async def read_json(request: Request) -> Any:
    """Read a JSON body as it came, to be validated."""
    return parse_json(await read_body(request, JSON_TYPES))


def in_json(model: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI is to say of a route that reads ``json_body(model)``."""
    schema = model.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def read_form(request: Request) -> dict[str, str]:
    """Read a urlencoded form."""
    return parse_form(await read_body(request, FORM_TYPES))


async def read_body(request: Request, types: tuple[str, ...]) -> bytes:
    """Read at most 64 KiB, and not a byte if it is announced to be more.

    Raises UnsupportedMediaType, TooLarge, TooSlow. uvicorn throws away what we leave unread, so the
    answer arrives however much is still coming.
    """
    _check_type(request, types)
    announced = request.headers.get("content-length")
    if announced is not None and announced.isdigit() and int(announced) > MOST_BYTES:
        raise TooLarge
    try:
        async with asyncio.timeout(request.app.state.body_seconds):
            return await _read(request)
    except TimeoutError:
        raise TooSlow from None


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise TooLarge
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


def validate(model: type[M], data: Any, request: Request) -> M:
    """Check ``data`` against ``model``. Raises Unprocessable, whose ``errors`` say where.

    Nothing that was sent is repeated, not even the name of a field we do not know. Rules
    that depend on the settings find them as ``info.context["settings"]``.
    """
    try:
        return model.model_validate(data, context={"settings": request.app.state.settings})
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
    """Say where a fault is, and what it is."""
    if fault["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields)
        return "", f"There is an unknown field. Known are: {known}."
    return "".join(f"/{part}" for part in fault["loc"][:1]), in_plain_words(fault)
