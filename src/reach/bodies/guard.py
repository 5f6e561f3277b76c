"""The 400, 413, 415 and 422: a body is small, readable, of the right type and by the rules.

Bodies are read by a dependency, after the guards of access and limits have had their say,
and not by FastAPI itself: see docs/decisions/0006-bodies.md.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from reach.bodies.strict import parse_form, parse_json
from reach.problems import TooLarge, Unprocessable, UnsupportedMediaType

M = TypeVar("M", bound=BaseModel)

MOST_BYTES = 64 * 1024
JSON_TYPES = ("application/json", "application/merge-patch+json")
FORM_TYPES = ("application/x-www-form-urlencoded",)


def json_body(model: type[M]) -> Callable[[Request], Awaitable[M]]:
    """Make the dependency that reads a JSON body as a ``model``."""

    async def read(request: Request) -> M:
        return validate(model, parse_json(await read_body(request, JSON_TYPES)), request)

    return read


def in_json(model: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI is to say of a route that reads ``json_body(model)``."""
    schema = model.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def read_form(request: Request) -> dict[str, str]:
    """Read a urlencoded form."""
    return parse_form(await read_body(request, FORM_TYPES))


async def read_body(request: Request, types: tuple[str, ...]) -> bytes:
    """Read at most 64 KiB, and not a byte if it is announced to be more.

    Raises UnsupportedMediaType, TooLarge. uvicorn throws away what we leave unread, so the
    answer arrives however much is still coming.
    """
    _check_type(request, types)
    announced = request.headers.get("content-length")
    if announced is not None and announced.isdigit() and int(announced) > MOST_BYTES:
        raise TooLarge
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
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        errors = [_describe(model, fault) for fault in faults]
        unique = [fault for n, fault in enumerate(errors) if fault not in errors[:n]]
        raise Unprocessable(errors=unique) from None


def _describe(model: type[BaseModel], fault: Any) -> dict[str, str]:
    where = fault["loc"]
    if fault["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields)
        return {"pointer": "", "detail": f"There is an unknown field. Known are: {known}."}
    pointer = "".join(f"/{part}" for part in where[:1])
    # The library's words about an id quote a character of it.
    is_id = fault["type"] == "uuid_parsing"
    detail = "Input should be a valid UUID" if is_id else fault["msg"]
    return {"pointer": pointer, "detail": detail.removeprefix("Value error, ")}
