"""Operators read the audit trail, over HTTP."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict

from reach.auth import audit
from reach.auth.audit import Action, ActorKind, Filter, Via
from reach.shapes import TEXT, Id, Shape, Time, shaped
from reach.web.guard import OperatorKey
from reach.web.openapi import OF_KEYS
from reach.web.responses import Cursor, Limit, as_json, read_cursor, write_cursor
from reach.web.routes import StrictRoute, services_of

router = APIRouter(prefix="/v1/audit", tags=["Audit"], responses=OF_KEYS, route_class=StrictRoute)

#: OpenID Connect's subjects are the longest: 255 ASCII characters (OpenID Connect Core §2).
ACTOR_CHARACTERS = 255
ACTOR = Shape(TEXT.pattern, "It is the id of a key, say.", ACTOR_CHARACTERS)
ActorId = Annotated[str, *shaped(ACTOR)]
EXAMPLE: dict[str, Any] = {
    "id": "01a20aee-6a2b-7c11-9d0e-5b7f3f2f9a77",
    "at": "2026-03-04T05:06:07.890123Z",
    "actor": {"kind": "key", "id": "01a20aee-6a2b-7c11-9d0e-5b7f3f2f9a05", "via": "api"},
    "action": "person.change",
    "subject": "01a20aee-6a2a-7a2b-8fad-3dec2137a7f1",
    "count": 1,
    "details": {"fields": ["name"]},
}


class ActorBody(BaseModel):
    """Who did it: a key by its id, an OpenID Connect subject, or a user number of a machine."""

    model_config = ConfigDict(from_attributes=True)

    kind: ActorKind
    id: str
    via: Via


class EntryBody(BaseModel):
    """One thing that an operator did. ``subject`` is whose id it was done to, null for many."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [EXAMPLE]})

    id: UUID
    at: datetime
    actor: ActorBody
    action: Action
    subject: UUID | None
    count: int
    details: dict[str, Any]


class EntryPage(BaseModel):
    """Part of the trail, newest first; ``next_cursor`` asks for the next part."""

    items: list[EntryBody]
    next_cursor: str | None


@router.get("", response_model=EntryPage, dependencies=[Depends(OperatorKey("audit:read"))])
async def get_audit(  # noqa: PLR0913 - one for each filter
    *,
    request: Request,
    actor: Annotated[ActorId | None, Query(description="The `id` of an `actor`")] = None,
    action: Action | None = None,
    subject: Annotated[Id | None, Query(description="What it was done to")] = None,
    since: Time | None = None,
    until: Time | None = None,
    limit: Limit = 50,
    cursor_: Cursor = None,
) -> Any:
    """List what operators did, newest first. Every change, by API, console or command.

    `since` counts, `until` does not (RFC 3339). Entries are kept for `REACH_KEEP_AUDIT_DAYS`.

    A page may have fewer entries than `limit`, even none, and a `next_cursor` all the same: where
    few of very many fit, it is not all looked through at once. Null alone is the end.
    """
    chosen_by = Filter(actor, action, subject, since, until)
    found, on = await services_of(request).database.read(
        audit.page, chosen_by, limit=limit, before=read_cursor(cursor_)
    )
    entries = [EntryBody.model_validate(entry) for entry in found]
    return as_json(EntryPage(items=entries, next_cursor=write_cursor(on) if on else None))
