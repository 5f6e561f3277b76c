"""Operators look after keys, over HTTP: list, make, revoke."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from reach.auth import actions, keys
from reach.auth.keys import ApiKey, KeyState, NoSuchKey, Operator, Scope
from reach.db.transaction import Transaction
from reach.idempotency.stored import StoredResponse, respond_once
from reach.problems import Forbidden
from reach.shapes import TEXT, Time
from reach.web.body import in_json, parse_json, read_body, validate
from reach.web.guard import OperatorKey, PathId, idempotency_key, path_id
from reach.web.openapi import IDEMPOTENCY_KEY, OF_BODIES, OF_KEYS, problems
from reach.web.responses import (
    NO_STORE,
    Cursor,
    Limit,
    as_json,
    read_cursor,
    respond,
    response_of,
    write_cursor,
)
from reach.web.routes import StrictRoute, services_of

router = APIRouter(prefix="/v1/keys", tags=["Keys"], responses=OF_KEYS, route_class=StrictRoute)

MayWrite = Depends(OperatorKey("keys:write"))
Writer = Annotated[Operator, MayWrite]

SHOWN = "Keep this key: it is not shown again."
SHOWN_ONCE = (
    "The key was shown once, in the first answer to this Idempotency-Key. "
    "If that did not reach you, revoke the key and make another."
)


def in_the_future(time: datetime) -> datetime:
    """Refuse an end that has come: such a key would open nothing."""
    if time <= datetime.now(UTC):
        raise ValueError("It must be in the future.")
    return time


KeyName = Annotated[
    str,
    AfterValidator(keys.fit_name),
    Field(json_schema_extra={"minLength": 1, "maxLength": keys.NAME_CHARACTERS, **TEXT.keywords}),
]
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=len(keys.SCOPES))]
End = Annotated[Time, AfterValidator(in_the_future)]


class NewKey(BaseModel):
    """A key to be made. Two may have one name; without an end it is valid until it is revoked."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"name": "shop", "scopes": ["people:read"]}]},
    )

    name: KeyName
    scopes: Scopes
    expires_at: End | None = None


class KeyBody(BaseModel):
    """A key, without its secret. ``prefix`` is how it begins."""

    id: UUID
    name: str
    prefix: str
    scopes: list[str]
    state: KeyState
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class KeyMade(KeyBody):
    """A key that was made. ``key`` is shown once: null if the request is repeated."""

    key: str | None
    note: str


class KeyPage(BaseModel):
    """Part of a list, newest first; ``next_cursor`` asks for the next part."""

    items: list[KeyBody]
    next_cursor: str | None


async def key_id(id_: PathId) -> UUID:
    """Read an id from the path; what is not one names no key."""
    found = path_id(id_)
    if found is None:
        raise NoSuchKey
    return found


KeyId = Annotated[UUID, Depends(key_id)]


@router.get("", response_model=KeyPage, dependencies=[MayWrite])
async def get_keys(request: Request, limit: Limit = 50, cursor_: Cursor = None) -> Any:
    """List keys, newest first. The revoked and expired ones too; none is shown whole."""
    database = services_of(request).database
    found, on = await database.read(keys.page, limit=limit, before=read_cursor(cursor_))
    items = [KeyBody(**_fields(key)) for key in found]
    return as_json(KeyPage(items=items, next_cursor=write_cursor(on) if on else None))


@router.post(
    "",
    status_code=201,
    response_model=KeyMade,
    responses=OF_BODIES,
    openapi_extra=in_json(NewKey) | IDEMPOTENCY_KEY,
)
async def post_key(request: Request, operator: Writer) -> Any:
    """Make a key. It is shown once; 403 if it should have a scope that yours has not."""
    services = services_of(request)
    data = parse_json(await read_body(request, services.body_seconds))
    body = validate(NewKey, data, services.settings)
    if lacking := sorted(set(body.scopes) - operator.scopes):
        raise Forbidden(f"This key cannot give what it does not have: {', '.join(lacking)}.")
    key = idempotency_key(request, operator, data)
    text = keys.generate()

    def make(tx: Transaction) -> StoredResponse:
        made: list[ApiKey] = []

        def work(tx: Transaction) -> StoredResponse:
            scopes = set(body.scopes)
            made.append(
                actions.create_key(
                    tx, operator.actor, text, body.name, scopes, expires_at=body.expires_at
                )
            )
            return _made(made[0], None, SHOWN_ONCE)

        # What is stored to be given again, in clear, has no secret in it.
        again = respond_once(tx, key, work)
        return _made(made[0], text, SHOWN) if made else again

    return respond(await services.database.write(make))


@router.delete("/{id}", status_code=204, responses=problems(404))
async def delete_key(request: Request, operator: Writer, id_: KeyId) -> Response:
    """Revoke a key. It opens nothing from now on, and may be your own; those that it has made stay.

    404 if it was revoked.
    """
    await services_of(request).database.write(actions.revoke_key, operator.actor, id_)
    return Response(status_code=204)


def _made(key: ApiKey, text: str | None, note: str) -> StoredResponse:
    body = KeyMade(**_fields(key), key=text, note=note)
    return response_of(body, 201, cache_control=NO_STORE)


def _fields(key: ApiKey) -> dict[str, Any]:
    names = ("id", "name", "created_at", "expires_at", "revoked_at", "last_used_at", "state")
    fields = {name: getattr(key, name) for name in names}
    return {**fields, "prefix": f"rk_{key.prefix}", "scopes": sorted(key.scopes)}
