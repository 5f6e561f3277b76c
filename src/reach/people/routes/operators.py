"""What operators do with people's records."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AfterValidator

from reach.access.guard import needs, operator_key
from reach.bodies import cursor
from reach.bodies.document import (
    ETAG,
    IF_MATCH,
    IF_NONE_MATCH,
    LOCATION,
    OF_BODIES,
    OF_KEYS,
    problems,
)
from reach.bodies.guard import in_json, json_body
from reach.messages import operations
from reach.messages.routes import (
    Db,
    Limit,
    MessageBody,
    MessagePage,
    Sought,
    as_json,
    message_body,
    message_page,
)
from reach.people import queries, record, signup
from reach.people.address import key_prefix
from reach.people.bodies import Add, Changes, NewMessage, PersonBody, PersonPage, wanted
from reach.people.conditions import is_known, read_if_match
from reach.people.model import Person
from reach.people.record import NoSuchPerson
from reach.settings import Settings

people = APIRouter(
    prefix="/v1/people",
    tags=["people"],
    dependencies=[Depends(operator_key)],
    responses=OF_KEYS,
)
promises = APIRouter(tags=["messages"], dependencies=[Depends(operator_key)], responses=OF_KEYS)

MayRead = Depends(needs("people:read"))
MayWrite = Depends(needs("people:write"))


def not_blank(text: str) -> str:
    """Refuse spaces alone: they would find everybody, whom nobody asked for."""
    if text and not text.strip():
        raise ValueError("It must not be blank.")
    return text


Prefix = Annotated[Sought, AfterValidator(not_blank)]


async def settings_of(request: Request) -> Settings:
    """The settings of this process."""
    found: Settings = request.app.state.settings
    return found


async def person_id(id: str) -> UUID:  # noqa: A002 - the path's word
    """Read an id from the path; what is not one names nobody."""
    try:
        return UUID(id)
    except ValueError:
        raise NoSuchPerson from None


Config = Annotated[Settings, Depends(settings_of)]
PersonId = Annotated[UUID, Depends(person_id)]


@people.post(
    "",
    status_code=201,
    response_model=PersonBody,
    dependencies=[MayWrite],
    responses=OF_BODIES | problems(409) | {201: {"headers": ETAG | LOCATION}},
    openapi_extra=in_json(Add),
)
async def post_person(
    db: Db, settings: Config, body: Annotated[Add, Depends(json_body(Add))]
) -> Any:
    """Add a person, and promise their welcome. 409 if the address is known."""
    person = await db.write(signup.add_person, body, settings, welcome=body.welcome)
    return _as_json(person, 201, location=f"/v1/people/{person.id}")


@people.get("", response_model=PersonPage, dependencies=[MayRead], responses=problems(422))
async def get_people(
    db: Db,
    q: Annotated[Prefix | None, Query(max_length=254)] = None,
    confirmed: bool | None = None,
    limit: Limit = 50,
    cursor_: Annotated[str | None, Query(alias="cursor")] = None,
) -> Any:
    """List people, newest first. `q` is how their address begins."""
    found = await db.read(
        queries.page,
        limit=limit + 1,
        before=cursor.read(cursor_),
        prefix=key_prefix(q) if q else None,
        confirmed=confirmed,
    )
    more = len(found) > limit
    shown = found[:limit]
    items = [PersonBody.model_validate(person) for person in shown]
    return as_json(
        PersonPage(items=items, next_cursor=cursor.write(shown[-1].id) if more else None)
    )


@people.get(
    "/{id}",
    response_model=PersonBody,
    dependencies=[MayRead],
    responses=problems(404)
    | {200: {"headers": ETAG}, 304: {"description": "As you have it", "headers": ETAG}},
    openapi_extra=IF_NONE_MATCH,
)
async def get_person(request: Request, db: Db, id_: PersonId) -> Any:
    """Show a person. 304 if `If-None-Match` names what would be shown."""
    person = await db.read(record.view, id_)
    if is_known(person.etag, request.headers.getlist("if-none-match")):
        return Response(status_code=304, headers={"ETag": person.etag})
    return _as_json(person)


@people.patch(
    "/{id}",
    response_model=PersonBody,
    dependencies=[MayWrite],
    responses=OF_BODIES | problems(404, 412) | {200: {"headers": ETAG}},
    openapi_extra=in_json(Changes) | IF_MATCH,
)
async def patch_person(
    request: Request,
    db: Db,
    settings: Config,
    id_: PersonId,
    body: Annotated[Changes, Depends(json_body(Changes))],
) -> Any:
    """Change a record; the person gets an email that says so. 412 if `If-Match` is stale."""
    if_versions = read_if_match(request.headers.getlist("if-match"))
    person = await db.write(record.change, id_, wanted(body), settings, if_versions=if_versions)
    return _as_json(person)


@people.delete(
    "/{id}",
    status_code=204,
    dependencies=[MayWrite],
    responses=problems(404, 412),
    openapi_extra=IF_MATCH,
)
async def delete_person(request: Request, db: Db, id_: PersonId) -> Response:
    """Remove a person, their messages and every trace of them. 412 if `If-Match` is stale."""
    if_versions = read_if_match(request.headers.getlist("if-match"))
    await db.write(record.erase, id_, if_versions=if_versions)
    await db.scrub()
    return Response(status_code=204)


@people.get(
    "/{id}/messages",
    response_model=MessagePage,
    dependencies=[MayRead, Depends(needs("messages:read"))],
    responses=problems(404, 422),
)
async def get_persons_messages(
    db: Db,
    id_: PersonId,
    limit: Limit = 50,
    cursor_: Annotated[str | None, Query(alias="cursor")] = None,
) -> Any:
    """List one person's messages, newest first."""
    before = cursor.read(cursor_)
    await db.read(record.view, id_)
    found = await db.read(operations.page, limit=limit + 1, before=before, person_id=id_)
    return as_json(message_page(found, limit))


@promises.post(
    "/v1/messages",
    status_code=201,
    response_model=MessageBody,
    dependencies=[Depends(needs("messages:write"))],
    responses=OF_BODIES | problems(404, 409) | {201: {"headers": LOCATION}},
    openapi_extra=in_json(NewMessage),
)
async def post_message(
    request: Request,
    db: Db,
    settings: Config,
    body: Annotated[NewMessage, Depends(json_body(NewMessage))],
) -> Any:
    """Promise a message to a person. 422 if there is no such template.

    409 if they have to confirm their address first (`REACH_CONFIRM=required`).
    """
    record.require_template(body.template, request.app.state.templates())
    message = await db.write(record.promise, body.person_id, body.template, body.data, settings)
    return as_json(message_body(message), 201, location=f"/v1/messages/{message.id}")


def _as_json(person: Person, status: int = 200, **headers: str) -> Response:
    return as_json(PersonBody.model_validate(person), status, etag=person.etag, **headers)
