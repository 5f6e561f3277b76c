"""What operators do with people's records, over HTTP; and how many there are."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BeforeValidator

from reach.auth.keys import Operator
from reach.db.transaction import Transaction
from reach.idempotency.stored import StoredResponse, respond_once
from reach.messages import filters as message_filters
from reach.messages.model import State
from reach.messages.routes import MessageBody, MessagePage, message_body, message_page
from reach.people import actions, consent, filters, queries, record, stats
from reach.people.address import LONGEST, key_prefix
from reach.people.cursors import CURSOR
from reach.people.filters import Sort
from reach.people.model import Person
from reach.people.record import NoSuchPerson
from reach.people.schemas import (
    Add,
    Changes,
    ConsentBody,
    Language,
    NewMessage,
    PersonBody,
    PersonPage,
    person_body,
    wanted,
)
from reach.people.stats_schemas import StatsBody
from reach.problems import MethodNotAllowed
from reach.shapes import BLANK, CONTROL, UNSEEN, Shape, Time, read_bool, shaped
from reach.web.body import in_json, json_body, parse_json, read_body, validate
from reach.web.guard import Found, OperatorKey, PathId, idempotency_key, path_id
from reach.web.openapi import ETAG, IDEMPOTENCY_KEY, OF_BODIES, OF_KEYS, location, problems
from reach.web.preconditions import CONDITIONS, conditions, is_known
from reach.web.responses import (
    Cursor,
    Limit,
    as_json,
    read_cursor,
    respond,
    response_of,
)
from reach.web.routes import StrictRoute, services_of

people = APIRouter(prefix="/v1/people", tags=["People"], responses=OF_KEYS, route_class=StrictRoute)
others = APIRouter(responses=OF_KEYS, route_class=StrictRoute)

MayRead = Depends(OperatorKey("people:read"))
MayReadBoth = Depends(OperatorKey("people:read", "messages:read"))
Writer = Annotated[Operator, Depends(OperatorKey("people:write"))]
MessageWriter = Annotated[Operator, Depends(OperatorKey("messages:write"))]
#: The key and the person are read in one transaction. None: there is nobody.
_find_person = Found("people:read", queries.find_all, missing=NoSuchPerson)
FoundPerson = Annotated[Person | None, Depends(_find_person)]

#: ``GET /v1/people/export`` is beside the people's ids: see ``people.export_route``.
EXPORT = "export"

#: Empty, it finds everybody; of spaces alone it is refused, for nobody asked for everybody.
PREFIX = Shape(
    rf"(?:[ \t]*[^{BLANK}{UNSEEN}]+[ \t]*)?",
    "It is how an address begins, without blanks in it.",
    LONGEST,
)
Prefix = Annotated[str, *shaped(PREFIX)]
#: Empty or of blanks alone, it would find everybody.
SEARCH = Shape(
    rf"[^{CONTROL}]*[^{BLANK}{CONTROL}][^{CONTROL}]*",
    "It is part of an address or of a name.",
    LONGEST,
)
Search = Annotated[str, *shaped(SEARCH)]
PeopleCursor = Annotated[
    Annotated[str, *shaped(CURSOR)] | None,
    Query(alias="cursor", description="The `next_cursor` of the part before; the sort stays"),
]


async def person_id(id_: PathId) -> UUID:
    """Read an id from the path; what is not one names nobody.

    Nor does the name of a call: to change ``/v1/people/export`` is the wrong method.
    """
    if id_ == EXPORT:
        raise MethodNotAllowed(headers={"Allow": "GET"})
    found = path_id(id_)
    if found is None:
        raise NoSuchPerson
    return found


PersonId = Annotated[UUID, Depends(person_id)]


@people.post(
    "",
    status_code=201,
    response_model=PersonBody,
    responses=OF_BODIES | problems(409) | {201: {"headers": ETAG | location("/v1/people")}},
    openapi_extra=in_json(Add) | IDEMPOTENCY_KEY,
)
async def post_person(request: Request, operator: Writer) -> Any:
    """Add a person. Their welcome is sent unless you say otherwise; 409 if the address is known."""
    services = services_of(request)
    data = parse_json(await read_body(request, services.body_seconds))
    body = validate(Add, data, services.settings)
    key = idempotency_key(request, operator, data)

    def add(tx: Transaction) -> StoredResponse:
        person = actions.add(tx, operator.actor, body, services.settings, welcome=body.welcome)
        return response_of(
            PersonBody.model_validate(person),
            201,
            person_id=person.id,
            etag=person.etag,
            location=f"/v1/people/{person.id}",
        )

    return respond(await services.database.write(respond_once, key, add))


@people.get("", response_model=PersonPage, dependencies=[MayRead], responses=problems(422))
async def get_people(  # noqa: PLR0913 - one for each filter
    *,
    request: Request,
    search: Annotated[Search | None, Query(description="Part of an address or a name")] = None,
    q: Annotated[Prefix | None, Query(description="How their address begins")] = None,
    confirmed: Annotated[bool, BeforeValidator(read_bool)] | None = None,
    language: Language | None = None,
    welcome: Annotated[State | None, Query(description="What became of the newest one")] = None,
    since: Time | None = None,
    until: Time | None = None,
    sort: Sort = "newest",
    limit: Limit = 50,
    cursor_: PeopleCursor = None,
) -> Any:
    """List people. All of them, or those who are found by what you ask for.

    Each word of `search` is found anywhere in an address or a name, whatever its case and accents;
    a word of one or two characters, where an address or a word of a name begins. `since` and
    `until` say when they signed up: from the one on, and before the other (RFC 3339).

    A page may have fewer people than `limit`, even none, and a `next_cursor` all the same: where
    few of very many fit, it is not all looked through at once. Null alone is the end.
    """
    prefix = key_prefix(q) if q else None
    chosen_by = filters.Filter(search, prefix, confirmed, language, welcome, since, until)
    found, next_cursor = await services_of(request).database.read(
        filters.page, chosen_by, sort=sort, limit=limit, after=cursor_
    )
    return as_json({"items": list(map(person_body, found)), "next_cursor": next_cursor})


@people.get(
    "/{id}",
    response_model=PersonBody,
    responses=problems(404, 412)
    | {200: {"headers": ETAG}, 304: {"description": "As you have it", "headers": ETAG}},
    openapi_extra=CONDITIONS,
)
async def get_person(request: Request, person: FoundPerson) -> Any:
    """Show a person. 304 if `If-None-Match` names what would be shown; 412 as for a change."""
    if person is None:
        raise NoSuchPerson
    etag = person.etag
    wished = conditions(request)
    if not wished.is_any:
        wished.require_match(person)
        if is_known(etag, wished.etags):
            return Response(status_code=304, headers={"ETag": etag})
    return as_json(person_body(person), etag=etag)


async def read_person(request: Request) -> Response:
    """Answer ``get_person`` where FastAPI has not called its dependencies."""
    found = await _find_person(request, request.scope["path_params"]["id"])
    response: Response = await get_person(request, found)
    return response


@people.patch(
    "/{id}",
    response_model=PersonBody,
    responses=OF_BODIES | problems(404, 412) | {200: {"headers": ETAG}},
    openapi_extra=in_json(Changes) | CONDITIONS,
)
async def patch_person(
    request: Request,
    operator: Writer,
    id_: PersonId,
    body: Annotated[Changes, Depends(json_body(Changes))],
) -> Any:
    """Change a person's record. They get an email that says so; 412 if `If-Match` is stale."""
    services = services_of(request)
    person = await services.database.write(
        actions.change,
        operator.actor,
        id_,
        wanted(body),
        settings=services.settings,
        conditions=conditions(request),
    )
    return as_json(person_body(person), etag=person.etag)


@people.delete(
    "/{id}",
    status_code=204,
    responses=problems(404, 412),
    openapi_extra=CONDITIONS,
)
async def delete_person(request: Request, operator: Writer, id_: PersonId) -> Response:
    """Remove a person. Their messages and every trace go too; 412 if `If-Match` is stale."""
    database = services_of(request).database
    await database.write(actions.erase, operator.actor, id_, conditions(request))
    await database.scrub()
    return Response(status_code=204)


@people.get(
    "/{id}/messages",
    response_model=MessagePage,
    dependencies=[MayReadBoth],
    responses=problems(404, 422),
)
async def get_persons_messages(
    request: Request, id_: PersonId, limit: Limit = 50, cursor_: Cursor = None
) -> Any:
    """List one person's messages, newest first."""
    before, database = read_cursor(cursor_), services_of(request).database
    await database.read(record.view, id_)
    of_them = message_filters.Filter(person_id=id_)
    found, on = await database.read(message_filters.page, of_them, limit=limit, before=before)
    return as_json(message_page(found, on))


@people.get(
    "/{id}/consent",
    response_model=ConsentBody,
    dependencies=[MayRead],
    responses=problems(404),
)
async def get_persons_consent(request: Request, id_: PersonId) -> Any:
    """Show what a person agreed to. When, through which form, and what that said."""
    found = await services_of(request).database.read(consent.of, id_)
    if found is None:
        raise NoSuchPerson
    return as_json(ConsentBody.model_validate(found))


@others.post(
    "/v1/messages",
    tags=["Messages"],
    status_code=201,
    response_model=MessageBody,
    responses=OF_BODIES | problems(404, 409) | {201: {"headers": location("/v1/messages")}},
    openapi_extra=in_json(NewMessage) | IDEMPOTENCY_KEY,
)
async def post_message(request: Request, operator: MessageWriter) -> Any:
    """Send somebody an email from a template. It is owed as soon as this is answered.

    `person_id` is an `id` of `GET /v1/people`. 404 if there is no such person, 422 if there is no
    such template, 409 if they have to confirm their address first (`REACH_CONFIRM=required`), or
    have unsubscribed from such emails (`REACH_UNSUBSCRIBE_TEMPLATES`).
    """
    services = services_of(request)
    data = parse_json(await read_body(request, services.body_seconds))
    body = validate(NewMessage, data, services.settings)
    key = idempotency_key(request, operator, data)
    record.require_template(body.template, services.templates())

    def promise(tx: Transaction) -> StoredResponse:
        message = actions.send(
            tx,
            operator.actor,
            body.person_id,
            body.template,
            body.data,
            settings=services.settings,
        )
        place = f"/v1/messages/{message.id}"
        return response_of(message_body(message), 201, person_id=message.person_id, location=place)

    return respond(await services.database.write(respond_once, key, promise))


@others.get("/v1/stats", tags=["Statistics"], response_model=StatsBody, dependencies=[MayReadBoth])
async def get_stats(request: Request) -> Any:
    """Count people and messages. By state, and what happened in the last 48 hours and 90 days.

    It is at most 5 s old, and costs the same however many there are.
    """
    services = services_of(request)
    found = await stats.recent(services.database, services.settings)
    return as_json(StatsBody.model_validate(found))
