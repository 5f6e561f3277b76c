"""A person's own record over HTTP, by a link."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase

from reach.auth.links import BadLink, Link, Scope
from reach.db.transaction import Transaction
from reach.idempotency.keys import HEADER
from reach.idempotency.stored import StoredResponse, respond_once
from reach.people import links, record
from reach.people.links import LinkVoid, WrongLink
from reach.people.model import Person
from reach.people.schemas import Changes, Confirmed, Export, PersonBody, wanted
from reach.web.body import in_json, json_body
from reach.web.guard import bearer, failed_link, hit
from reach.web.openapi import ETAG, IDEMPOTENCY_KEY, OF_BODIES, OF_LINKS, header, problems
from reach.web.preconditions import CONDITIONS, conditions, is_known
from reach.web.responses import NO_STORE, as_json, respond, response_of
from reach.web.routes import StrictRoute, services_of


class LinkToken(SecurityBase):
    """The dependency that reads a link which may do what ``scope`` stands for.

    ``manage`` may do all. No database is asked: whether the link still counts is for the
    transaction that acts by it (see ``people.links``).
    """

    def __init__(self, scope: Scope) -> None:
        """Name the scope."""
        self._scope = scope
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
        if link.scope not in ("manage", self._scope):
            raise WrongLink
        await hit(services, "api", link.holder)
        return link


router = APIRouter(
    prefix="/v1/me", tags=["Your record"], responses=OF_LINKS, route_class=StrictRoute
)

MayManage = Annotated[Link, Depends(LinkToken("manage"))]
MayConfirm = Annotated[Link, Depends(LinkToken("confirm"))]

DISPOSITION = 'attachment; filename="my-record.json"'
A_FILE = header("Content-Disposition", "A file to be kept", const=DISPOSITION)


@router.get(
    "",
    response_model=PersonBody,
    responses=problems(412)
    | {200: {"headers": ETAG}, 304: {"description": "As you have it", "headers": ETAG}},
    openapi_extra=CONDITIONS,
)
async def get_me(request: Request, link: MayManage) -> Any:
    """See your record. 304 if `If-None-Match` names what would be shown."""
    wished = conditions(request)
    person = await services_of(request).database.read(links.find_holder, link)
    wished.require_match(person)
    if is_known(person.etag, wished.etags):
        headers = {"ETag": person.etag, "Cache-Control": NO_STORE}
        return Response(status_code=304, headers=headers)
    return _as_json(person)


@router.patch(
    "",
    response_model=PersonBody,
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
    person = await services.database.write(
        links.act, link, record.change, wanted(body), services.settings, wished
    )
    return _as_json(person)


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
    services = services_of(request)
    given = request.headers.getlist(HEADER)
    key = None
    if given:
        key = services.idempotency.of_person(given, link.person_id, request.scope["path"])

    def confirm(tx: Transaction) -> StoredResponse:
        person = links.act(tx, link, record.confirm)
        body = Confirmed.model_validate(person)
        return response_of(body, person_id=link.person_id, etag=person.etag, cache_control=NO_STORE)

    def confirm_once(tx: Transaction) -> StoredResponse:
        response = respond_once(tx, key, confirm)
        links.find_holder(tx, link)  # a stored response too is only for whose link still works
        return response

    return respond(await services.database.write(confirm_once))


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


def _as_json(person: Person) -> Response:
    body = PersonBody.model_validate(person)
    return as_json(body, etag=person.etag, cache_control=NO_STORE)


def _no_content() -> Response:
    return Response(status_code=204, headers={"Cache-Control": NO_STORE})
