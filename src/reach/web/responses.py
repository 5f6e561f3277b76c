"""Responses: JSON, now or stored to be given again; and the cursors of lists."""

import base64
from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Response
from pydantic import BaseModel, BeforeValidator
from pydantic_core import to_json

from reach.idempotency.stored import StoredResponse
from reach.shapes import CURSOR, read_whole, shaped

#: The answer is its reader's alone: no cache on the way, nor the browser's, keeps it.
NO_STORE = "no-store"
#: How many items of a list are shown, and after which one it begins, as a route takes them.
Limit = Annotated[
    int, Query(ge=1, le=200, description="How many at most"), BeforeValidator(read_whole)
]
Cursor = Annotated[
    Annotated[str, *shaped(CURSOR)] | None,
    Query(alias="cursor", description="The `next_cursor` of the part before"),
]


def as_json(body: BaseModel | Mapping[str, Any], status: int = 200, **headers: str) -> Response:
    """Answer with a body, written once (returned as a model, FastAPI would check it again).

    A mapping is written as the model would be that has these fields.
    """
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    text = body.model_dump_json() if isinstance(body, BaseModel) else to_json(body)
    return Response(text, status, named, "application/json")


def response_of(
    body: BaseModel, status: int = 200, *, person_id: UUID | None = None, **headers: str
) -> StoredResponse:
    """Write a response down, to be sent now and perhaps again: see ``idempotency.stored``."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return StoredResponse(status, body.model_dump_json(), named, person_id)


def respond(response: StoredResponse) -> Response:
    """Send a response, the first time or again: it looks the same."""
    media_type = "application/json" if response.body else None
    return Response(response.body, response.status, dict(response.headers), media_type)


def write_cursor(last_id: UUID) -> str:
    """Make the cursor that continues a list after ``last_id``."""
    return base64.urlsafe_b64encode(last_id.bytes).rstrip(b"=").decode()


def read_cursor(cursor: str | None) -> UUID | None:
    """Read what ``write_cursor`` made, and a route has looked at."""
    return UUID(bytes=base64.urlsafe_b64decode(f"{cursor}==")) if cursor else None
