"""A person's own record over HTTP, by a link."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase

from reach.auth.links import BadLink, Link, Scope
from reach.db.transaction import Transaction
from reach.idempotency.keys import HEADER
from reach.idempotency.stored import IdempotencyKey, StoredResponse, respond_once
from reach.people import links, move, record
from reach.people.links import LinkVoid, WrongLink
from reach.people.model import Person
from reach.people.schemas import (
    LOOK_THERE,
    Accepted,
    Changes,
    Confirmed,
    Export,
    NewAddress,
    OwnBody,
    wanted,
)
from reach.web.body import in_json, json_body, parse_json, read_body, validate
from reach.web.guard import bearer, failed_link, hit
from reach.web.openapi import ETAG, IDEMPOTENCY_KEY, OF_BODIES, OF_LINKS, header, problems
from reach.web.preconditions import CONDITIONS, conditions, is_known
from reach.web.responses import NO_STORE, as_json, respond, response_of
from reach.web.routes import StrictRoute, services_of


class LinkToken(SecurityBase):
    """The dependency that reads a link of one of some scopes.

    No database is asked: whether the link still counts is for the transaction that acts by it (see
    ``people.links``).
    """

    def __init__(self, *scopes: Scope) -> None:
        """Name the scopes."""
        self._scopes = scopes
        self.model = HTTPBearer(
            description="What follows `token=` in a link that was sent by email"
        )
        self.scheme_name = "linkToken"

    async def __call__(self, request: Request) -> Link:
        """Read the link. Raises LinkVoid; WrongLink; QuotaExceeded."""
        services = services_of(request)
        token = bearer(request)
        try:
            link = services.links.read(token)
        except BadLink:
            if token:
                await failed_link(request)
            raise LinkVoid from None
        if link.scope not in self._scopes:
            raise WrongLink
        await hit(services, "api", link.holder)
        return link


router = APIRouter(
    prefix="/v1/me", tags=["Your record"], responses=OF_LINKS, route_class=StrictRoute
)

MayManage = Annotated[Link, Depends(LinkToken("manage"))]
MayConfirm = Annotated[Link, Depends(LinkToken("manage", "confirm"))]
MayMove = Annotated[Link, Depends(LinkToken("address"))]
MayStop = Annotated[Link, Depends(LinkToken("manage", "address"))]

DISPOSITION = 'attachment; filename="my-record.json"'
A_FILE = header("Content-Disposition", "A file to be kept", const=DISPOSITION)


@router.get(
    "",
    response_model=OwnBody,
    responses=problems(412)
    | {200: {"headers": ETAG}, 304: {"description": "As you have it", "headers": ETAG}},
    openapi_extra=CONDITIONS,
)
async def get_me(request: Request, link: MayManage) -> Any:
    """Read your record. 304 if `If-None-Match` names what would be shown."""
    wished = conditions(request)
    person = await services_of(request).database.read(links.find_holder, link)
    wished.require_match(person)
    if is_known(person.etag, wished.etags):
        headers = {"ETag": person.etag, "Cache-Control": NO_STORE}
        return Response(status_code=304, headers=headers)
    return _as_json(person)


@router.patch(
    "",
    response_model=OwnBody,
    responses=OF_BODIES | problems(412) | {200: {"headers": ETAG}},
    openapi_extra=in_json(Changes) | CONDITIONS,
)
async def patch_me(
    request: Request,
    link: MayManage,
    body: Annotated[Changes, Depends(json_body(Changes))],
) -> Any:
    """Change your record. An email says so; 412 if `If-Match` is stale."""
    services, wished = services_of(request), conditions(request)

    def change(tx: Transaction) -> Person:
        fields = wanted(body)
        person = links.act(tx, link, record.change, fields, services.settings, wished)
        return links.with_change(tx, person)

    return _as_json(await services.database.write(change))


@router.delete("", status_code=204, responses=problems(412), openapi_extra=CONDITIONS)
async def delete_me(request: Request, link: MayManage) -> Response:
    """Remove yourself. Your messages and every trace go too; 412 if `If-Match` is stale."""
    database = services_of(request).database
    await database.write(links.erase, link, conditions(request))
    await database.scrub()
    return _no_content()


@router.post(
    "/confirmation",
    response_model=Confirmed,
    responses=problems(400, 422) | {200: {"headers": ETAG}},
    openapi_extra=IDEMPOTENCY_KEY,
)
async def post_confirmation(request: Request, link: MayConfirm) -> Any:
    """Confirm that your address is yours. One time is enough; again is no harm.

    It says no more than when: a link that may only confirm shows nobody the record.
    """
    services, key = services_of(request), _key(request, link)

    def confirm(tx: Transaction) -> StoredResponse:
        person = links.with_change(tx, links.act(tx, link, record.confirm))
        body = Confirmed.model_validate(person)
        return response_of(body, person_id=link.person_id, etag=person.etag, cache_control=NO_STORE)

    def confirm_once(tx: Transaction) -> StoredResponse:
        response = respond_once(tx, key, confirm)
        links.find_holder(tx, link)  # a stored response too is only for whose link still works
        return response

    return respond(await services.database.write(confirm_once))


@router.post(
    "/email",
    status_code=202,
    response_model=Accepted,
    responses=OF_BODIES | problems(400, 409),
    openapi_extra=in_json(NewAddress) | IDEMPOTENCY_KEY,
)
async def post_email(request: Request, link: MayManage) -> Any:
    """Ask to move your record to another address. Both addresses get an email.

    It moves once the link in the one to the new address is opened and its button pressed, or
    `POST /v1/me/email/confirmation` is called with its token. Ask again for the same address to
    have that email sent again; ask for another one to replace it. The answer is the same whether
    the address is free or somebody's.
    """
    data = parse_json(await read_body(request, services_of(request).body_seconds))
    return respond(await ask_to_move(request, link, data, _key(request, link, data)))


async def ask_to_move(
    request: Request, link: Link, data: Any, key: IdempotencyKey | None = None
) -> StoredResponse:
    """Ask for a record to move to the address in ``data``. It counts as a sign-up of the client's.

    Raises QuotaExceeded; Unprocessable; LinkVoid; Unconfirmed.
    """
    services = services_of(request)
    await hit(services, "signups", services.limiter.clients.of_request(request.scope))
    address = validate(NewAddress, data, services.settings).email
    services.require_domain(address)

    def ask(tx: Transaction) -> StoredResponse:
        links.act(tx, link, move.ask, address, services.settings)
        return replace(LOOK_THERE, person_id=link.person_id)

    def ask_once(tx: Transaction) -> StoredResponse:
        response = respond_once(tx, key, ask)
        links.find_holder(tx, link)  # a stored response too is only for whose link still works
        return response

    return await services.database.write(ask_once)


@router.delete("/email", status_code=204)
async def delete_email(request: Request, link: MayStop) -> Response:
    """Stop the move to another address. If there is one, its link does nothing more.

    The link in the email to the new address can do so as well.
    """
    await services_of(request).database.write(links.act, link, record.stop_move)
    return _no_content()


@router.post(
    "/email/confirmation",
    response_model=Confirmed,
    responses=problems(400, 409) | {200: {"headers": ETAG}},
    openapi_extra=IDEMPOTENCY_KEY,
)
async def post_email_confirmation(request: Request, link: MayMove) -> Any:
    """Say yes to the move. The token is that of the link in the email to the new address.

    From then on every link so far is void, this one too. 409 if the address has a record here.
    """
    services, key = services_of(request), _key(request, link)

    def say_yes(tx: Transaction) -> StoredResponse:
        person = links.move_to_new(tx, link, services.settings)
        body = Confirmed.model_validate(person)
        return response_of(body, person_id=link.person_id, etag=person.etag, cache_control=NO_STORE)

    return respond(await services.database.write(respond_once, key, say_yes))


@router.delete("/links", status_code=204)
async def delete_links(request: Request, link: MayManage) -> Response:
    """Stop every link so far. This one too; `POST /v1/links` sends a new one."""
    await services_of(request).database.write(links.act, link, record.void_links)
    return _no_content()


@router.get(
    "/export",
    response_model=Export,
    responses={200: {"headers": A_FILE}},
)
async def get_export(request: Request, link: MayManage) -> Any:
    """Download all that is stored of you. That is your record, your messages, their attempts."""
    found = Export.model_validate(await services_of(request).database.read(links.export, link))
    return as_json(found, cache_control=NO_STORE, content_disposition=DISPOSITION)


def _key(request: Request, link: Link, data: Any = None) -> IdempotencyKey | None:
    """Read the ``Idempotency-Key`` of the holder of a link, if there is one. Raises BadRequest."""
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    idempotency = services_of(request).idempotency
    return idempotency.of_person(given, link.person_id, request.scope["path"], data)


def _as_json(person: Person) -> Response:
    body = OwnBody.model_validate(person)
    return as_json(body, etag=person.etag, cache_control=NO_STORE)


def _no_content() -> Response:
    return Response(status_code=204, headers={"Cache-Control": NO_STORE})
