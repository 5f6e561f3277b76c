"""Handing out people as a file, over HTTP, while it is written."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator

from reach.auth.audit import Actor
from reach.auth.keys import Operator
from reach.messages.model import State
from reach.people.address import key_prefix
from reach.people.exporting import (
    COLUMNS,
    FORMATS,
    MEDIA_TYPES,
    USUAL,
    Export,
    Format,
    Wanted,
)
from reach.people.filters import Filter
from reach.people.operators import EXPORT, Prefix, Search
from reach.people.schemas import Language
from reach.shapes import Shape, Time, read_bool, shaped
from reach.web.guard import OperatorKey
from reach.web.middleware import IS_HEAD
from reach.web.openapi import OF_KEYS, Responses, header, problems
from reach.web.responses import NO_STORE
from reach.web.routes import StrictRoute, services_of

router = APIRouter(prefix="/v1/people", tags=["People"], responses=OF_KEYS, route_class=StrictRoute)

Reader = Annotated[Operator, Depends(OperatorKey("people:read"))]
_ONE = "|".join(COLUMNS)
CHOSEN = Shape(
    f"(?:{_ONE})(?:,(?:{_ONE}))*", f"Known are, with commas between them: {', '.join(COLUMNS)}."
)
FILE: Responses = {
    200: {
        "description": "A file, as it is written",
        "content": {MEDIA_TYPES[form]: {"schema": {"type": "string"}} for form in FORMATS},
        "headers": header("Content-Disposition", "A file to be kept"),
    }
}


@router.get(f"/{EXPORT}", response_class=StreamingResponse, responses=FILE | problems(422))
async def get_people_export(  # noqa: PLR0913, PLR0917 - one for each filter
    request: Request,
    operator: Reader,
    format: Annotated[Format, Query(description="How it is written")] = "csv",
    columns: Annotated[
        Annotated[str, *shaped(CHOSEN)] | None, Query(description="Which, and in which order")
    ] = None,
    search: Annotated[Search | None, Query(description="Part of an address or a name")] = None,
    q: Annotated[Prefix | None, Query(description="How their address begins")] = None,
    confirmed: Annotated[bool, BeforeValidator(read_bool)] | None = None,
    language: Language | None = None,
    welcome: Annotated[State | None, Query(description="What became of the newest one")] = None,
    since: Time | None = None,
    until: Time | None = None,
) -> Any:
    """Download people as a file. All of them, or those who are found as by `GET /v1/people`.

    CSV is safe to open in a spreadsheet: what would be a formula there begins with an apostrophe,
    which `reach people import` takes off again. NDJSON has an object a line.

    It is read a page at a time, newest first, so it is not all of one moment: who signs up
    meanwhile is not in it, and nobody is in it twice. If the service fails before its end the
    connection is cut: without the last chunk (RFC 9112 §7.1) it is not whole, and programs say so.
    """
    prefix = key_prefix(q) if q else None
    chosen_by = Filter(search, prefix, confirmed, language, welcome, since, until)
    chosen = tuple(dict.fromkeys(columns.split(","))) if columns else USUAL
    return await hand_out(request, operator.actor, Wanted(chosen_by, format, chosen))


async def hand_out(request: Request, actor: Actor, wanted: Wanted) -> Response:
    """Answer with people as a file. HEAD has none: so nobody is read, and nothing is noted."""
    name = f"people-{datetime.now(UTC):%Y-%m-%d}.{wanted.form}"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": NO_STORE,
    }
    media_type = MEDIA_TYPES[wanted.form]
    if IS_HEAD in request.scope:
        return Response(headers=headers, media_type=media_type)
    export = await Export.begin(services_of(request).database, actor, wanted)
    return StreamingResponse(export, headers=headers, media_type=media_type)
