"""Operators look after keys: list, make, revoke. And how any operator's route answers."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from reach.auth import keys
from reach.auth.keys import ApiKey, KeyState, NoSuchKey, Scope
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.idempotency.keys import HEADER, IDEMPOTENCY_KEY, Onces, do_once
from reach.idempotency.stored import Answer, Done
from reach.problems import Forbidden
from reach.shapes import ID_IN_PATH, TEXT, Time, read_id, read_whole
from reach.web import responses as cursor
from reach.web.body import StrictRoute, in_json, read_json, validate
from reach.web.guard import needs, operator, operator_key
from reach.web.openapi import OF_BODIES, OF_KEYS, problems

router = APIRouter(
    prefix="/v1/keys",
    tags=["keys"],
    dependencies=[Depends(operator_key)],
    responses=OF_KEYS,
    route_class=StrictRoute,
)

MayWrite = Depends(needs("keys:write"))
Limit = Annotated[int, Query(ge=1, le=200), BeforeValidator(read_whole)]
Cursor = Annotated[cursor.Cursor | None, Query(alias="cursor")]

SHOWN = "Keep this key: it is not shown again."
SHOWN_ONCE = (
    "The key was shown once, in the first answer to this Idempotency-Key. "
    "If that did not reach you, revoke the key and make another."
)
NO_STORE = "no-store"


def as_json(body: BaseModel, status: int = 200, **headers: str) -> Response:
    """Answer with a body, written once (returned as a model, FastAPI would check it again)."""
    return respond(answer_of(body, status, **headers))


def answer_of(body: BaseModel, status: int = 200, **headers: str) -> Answer:
    """Write an answer down, to be sent now and perhaps again."""
    named = ((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer(status, body.model_dump_json(), tuple(named))


def respond(answer: Answer) -> Response:
    """Send an answer, the first time or again: it looks the same."""
    media_type = "application/json" if answer.body else None
    return Response(answer.body, answer.status, dict(answer.headers), media_type)


async def database(request: Request) -> Database:
    """The database of this process."""
    found: Database = request.app.state.database
    return found


async def onces_of(request: Request) -> Onces:
    """What reads idempotency keys in this process."""
    found: Onces = request.app.state.onces
    return found


Db = Annotated[Database, Depends(database)]
Keys = Annotated[Onces, Depends(onces_of)]
Operator = Annotated[ApiKey, Depends(operator)]


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


async def key_id(id: Annotated[str, ID_IN_PATH]) -> UUID:  # noqa: A002 - the path's word
    """Read an id from the path; what is not one names no key."""
    try:
        return read_id(id)
    except ValueError:
        raise NoSuchKey from None


@router.get("", response_model=KeyPage, dependencies=[MayWrite])
async def get_keys(db: Db, limit: Limit = 50, cursor_: Cursor = None) -> Any:
    """List keys, newest first: the revoked and expired ones too. None is shown whole."""
    found = await db.read(keys.page, limit=limit + 1, before=cursor.read(cursor_))
    shown, more = found[:limit], len(found) > limit
    items = [KeyBody(**_fields(key)) for key in shown]
    return as_json(KeyPage(items=items, next_cursor=cursor.write(shown[-1].id) if more else None))


@router.post(
    "",
    status_code=201,
    response_model=KeyMade,
    dependencies=[MayWrite],
    responses=OF_BODIES,
    openapi_extra=in_json(NewKey) | IDEMPOTENCY_KEY,
)
async def post_key(request: Request, db: Db, caller: Operator, onces: Keys) -> Any:
    """Make a key, and show it, once. 403 if it should have a scope that yours has not."""
    data = await read_json(request)
    body = validate(NewKey, data, request)
    if lacking := sorted(set(body.scopes) - caller.scopes):
        raise Forbidden(f"This key cannot give what it does not have: {', '.join(lacking)}.")
    once = onces.of_operator(request.headers.getlist(HEADER), caller.id, "/v1/keys", data)
    text = keys.generate()

    def make(tx: Transaction) -> Answer:
        made: list[ApiKey] = []

        def work(tx: Transaction) -> Done:
            made.append(keys.add(tx, text, body.name, set(body.scopes), body.expires_at))
            return Done(_made(made[0], None, SHOWN_ONCE), None)

        # What is kept to be given again, in clear, has no secret in it.
        again = do_once(tx, once, work)
        return _made(made[0], text, SHOWN) if made else again

    return respond(await db.write(make))


@router.delete("/{id}", status_code=204, dependencies=[MayWrite], responses=problems(404))
async def delete_key(db: Db, id_: Annotated[UUID, Depends(key_id)]) -> Response:
    """Revoke a key, at once; your own, too. Those that it has made stay. 404 if it was revoked."""
    await db.write(keys.revoke_by_id, id_)
    return Response(status_code=204)


def _made(key: ApiKey, text: str | None, note: str) -> Answer:
    body = KeyMade(**_fields(key), key=text, note=note)
    return answer_of(body, 201, cache_control=NO_STORE)


def _fields(key: ApiKey) -> dict[str, Any]:
    names = ("id", "name", "created_at", "expires_at", "revoked_at", "last_used_at", "state")
    fields = {name: getattr(key, name) for name in names}
    return {**fields, "prefix": f"rk_{key.prefix}", "scopes": sorted(key.scopes)}
