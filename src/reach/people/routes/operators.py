"""What operators do with people's records."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BeforeValidator

from reach.db.transaction import Transaction
from reach.idempotency.keys import HEADER, IDEMPOTENCY_KEY, do_once
from reach.idempotency.stored import Answer, Done
from reach.messages import filters
from reach.messages.filters import Filter
from reach.messages.routes import (
    MessageBody,
    MessagePage,
    message_body,
    message_page,
)
from reach.people import queries, record, signup
from reach.people.address import LONGEST, key_prefix
from reach.people.model import Person
from reach.people.record import NoSuchPerson
from reach.people.schemas import Add, Changes, NewMessage, PersonBody, PersonPage, wanted
from reach.settings import Settings
from reach.shapes import BLANK, ID_IN_PATH, UNSEEN, Shape, read_bool, read_id, shaped
from reach.web import responses as cursor
from reach.web.body import StrictRoute, in_json, json_body, read_json, validate
from reach.web.guard import needs, operator_key
from reach.web.keys import Cursor, Db, Keys, Limit, Operator, answer_of, as_json, respond
from reach.web.openapi import (
    ETAG,
    OF_BODIES,
    OF_KEYS,
    location,
    problems,
)
from reach.web.preconditions import (
    CONDITIONS,
    Conditions,
    is_known,
    read_if_match,
    read_if_none_match,
)

people = APIRouter(
    prefix="/v1/people",
    tags=["people"],
    dependencies=[Depends(operator_key)],
    responses=OF_KEYS,
    route_class=StrictRoute,
)
promises = APIRouter(
    tags=["messages"],
    dependencies=[Depends(operator_key)],
    responses=OF_KEYS,
    route_class=StrictRoute,
)

MayRead = Depends(needs("people:read"))
MayWrite = Depends(needs("people:write"))


#: Empty, it finds everybody; of spaces alone it is refused, for nobody asked for everybody.
PREFIX = Shape(
    rf"(?:[ \t]*[^{BLANK}{UNSEEN}]+[ \t]*)?",
    "It is how an address begins, without blanks in it.",
    LONGEST,
)
Prefix = Annotated[str, *shaped(PREFIX)]


async def settings_of(request: Request) -> Settings:
    """The settings of this process."""
    found: Settings = request.app.state.settings
    return found


async def person_id(id: Annotated[str, ID_IN_PATH]) -> UUID:  # noqa: A002 - the path's word
    """Read an id from the path; what is not one names nobody."""
    try:
        return read_id(id)
    except ValueError:
        raise NoSuchPerson from None


Config = Annotated[Settings, Depends(settings_of)]
PersonId = Annotated[UUID, Depends(person_id)]


@people.post(
    "",
    status_code=201,
    response_model=PersonBody,
    dependencies=[MayWrite],
    responses=OF_BODIES | problems(409) | {201: {"headers": ETAG | location("/v1/people")}},
    openapi_extra=in_json(Add) | IDEMPOTENCY_KEY,
)
async def post_person(
    request: Request, db: Db, settings: Config, key: Operator, onces: Keys
) -> Any:
    """Add a person, and promise their welcome. 409 if the address is known."""
    data = await read_json(request)
    body = validate(Add, data, request)
    once = onces.of_operator(request.headers.getlist(HEADER), key.id, "/v1/people", data)

    def add(tx: Transaction) -> Done:
        person = signup.add_person(tx, body, settings, welcome=body.welcome)
        return Done(_answer(person, 201, location=f"/v1/people/{person.id}"), person.id)

    return respond(await db.write(do_once, once, add))


@people.get("", response_model=PersonPage, dependencies=[MayRead], responses=problems(422))
async def get_people(
    db: Db,
    q: Prefix | None = None,
    confirmed: Annotated[bool, BeforeValidator(read_bool)] | None = None,
    limit: Limit = 50,
    cursor_: Cursor = None,
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
    responses=problems(404, 412)
    | {200: {"headers": ETAG}, 304: {"description": "As you have it", "headers": ETAG}},
    openapi_extra=CONDITIONS,
)
async def get_person(request: Request, db: Db, id_: PersonId) -> Any:
    """Show a person. 304 if `If-None-Match` names what would be shown; 412 as for a change."""
    person = await db.read(record.view, id_)
    wished = conditions(request)
    wished.require_match(person)
    if is_known(person.etag, wished.etags):
        return Response(status_code=304, headers={"ETag": person.etag})
    return _as_json(person)


@people.patch(
    "/{id}",
    response_model=PersonBody,
    dependencies=[MayWrite],
    responses=OF_BODIES | problems(404, 412) | {200: {"headers": ETAG}},
    openapi_extra=in_json(Changes) | CONDITIONS,
)
async def patch_person(
    request: Request,
    db: Db,
    settings: Config,
    id_: PersonId,
    body: Annotated[Changes, Depends(json_body(Changes))],
) -> Any:
    """Change a record; the person gets an email that says so. 412 if `If-Match` is stale."""
    person = await db.write(record.change, id_, wanted(body), settings, conditions(request))
    return _as_json(person)


@people.delete(
    "/{id}",
    status_code=204,
    dependencies=[MayWrite],
    responses=problems(404, 412),
    openapi_extra=CONDITIONS,
)
async def delete_person(request: Request, db: Db, id_: PersonId) -> Response:
    """Remove a person, their messages and every trace of them. 412 if `If-Match` is stale."""
    await db.write(record.erase, id_, conditions(request))
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
    cursor_: Cursor = None,
) -> Any:
    """List one person's messages, newest first."""
    before = cursor.read(cursor_)
    await db.read(record.view, id_)
    wanted_of = Filter(person_id=id_)
    found = await db.read(filters.page, wanted_of, limit=limit + 1, before=before)
    return as_json(message_page(found, limit))


@promises.post(
    "/v1/messages",
    status_code=201,
    response_model=MessageBody,
    dependencies=[Depends(needs("messages:write"))],
    responses=OF_BODIES | problems(404, 409) | {201: {"headers": location("/v1/messages")}},
    openapi_extra=in_json(NewMessage) | IDEMPOTENCY_KEY,
)
async def post_message(
    request: Request, db: Db, settings: Config, key: Operator, onces: Keys
) -> Any:
    """Promise a message to a person. 422 if there is no such template.

    409 if they have to confirm their address first (`REACH_CONFIRM=required`).
    """
    data = await read_json(request)
    body = validate(NewMessage, data, request)
    once = onces.of_operator(request.headers.getlist(HEADER), key.id, "/v1/messages", data)
    record.require_template(body.template, request.app.state.templates())

    def promise(tx: Transaction) -> Done:
        message = record.promise(tx, body.person_id, body.template, body.data, settings)
        place = f"/v1/messages/{message.id}"
        return Done(answer_of(message_body(message), 201, location=place), message.person_id)

    return respond(await db.write(do_once, once, promise))


def conditions(request: Request) -> Conditions:
    """Read `If-Match` and `If-None-Match`."""
    headers = request.headers
    versions = read_if_match(headers.getlist("if-match"))
    return Conditions(versions, read_if_none_match(headers.getlist("if-none-match")))


def _answer(person: Person, status: int = 200, **headers: str) -> Answer:
    return answer_of(PersonBody.model_validate(person), status, etag=person.etag, **headers)


def _as_json(person: Person) -> Response:
    return respond(_answer(person))
