"""One's own record, by a link."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from reach.auth.links import Link
from reach.db.transaction import Transaction
from reach.idempotency.keys import HEADER, IDEMPOTENCY_KEY, Onces, do_once
from reach.idempotency.stored import Answer, Done
from reach.people import links, record
from reach.people.me import link_token, own
from reach.people.model import Person
from reach.people.operators import Config, conditions
from reach.people.schemas import Changes, Confirmed, Export, PersonBody, wanted
from reach.web.body import StrictRoute, in_json, json_body
from reach.web.keys import Db, answer_of, as_json, respond
from reach.web.openapi import (
    ETAG,
    OF_BODIES,
    OF_LINKS,
    header,
    problems,
)
from reach.web.preconditions import CONDITIONS, is_known

router = APIRouter(
    prefix="/v1/me",
    tags=["one's own record"],
    dependencies=[Depends(link_token)],
    responses=OF_LINKS,
    route_class=StrictRoute,
)

MayManage = Annotated[Link, Depends(own("manage"))]
MayConfirm = Annotated[Link, Depends(own("confirm"))]

#: The record is its owner's alone: no cache on the way, nor the browser's, keeps it.
NO_STORE = "no-store"
DISPOSITION = 'attachment; filename="my-record.json"'
A_FILE = header("Content-Disposition", "A file to be kept", const=DISPOSITION)


@router.get(
    "",
    response_model=PersonBody,
    responses=problems(412)
    | {200: {"headers": ETAG}, 304: {"description": "As you have it", "headers": ETAG}},
    openapi_extra=CONDITIONS,
)
async def get_me(request: Request, link: MayManage, db: Db) -> Any:
    """Show one's record. 304 if `If-None-Match` names what would be shown."""
    wished = conditions(request)
    person = await db.read(links.find_holder, link)
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
    db: Db,
    settings: Config,
    body: Annotated[Changes, Depends(json_body(Changes))],
) -> Any:
    """Change one's record; an email says so. 412 if `If-Match` is stale."""
    wished = conditions(request)
    person = await db.write(links.act, link, record.change, wanted(body), settings, wished)
    return _as_json(person)


@router.delete("", status_code=204, responses=problems(412), openapi_extra=CONDITIONS)
async def delete_me(request: Request, link: MayManage, db: Db) -> Response:
    """Remove oneself, one's messages and every trace of them. 412 if `If-Match` is stale."""
    await db.write(links.erase, link, conditions(request))
    await db.scrub()
    return _no_content()


@router.post(
    "/confirmation",
    response_model=Confirmed,
    responses=problems(400, 422) | {200: {"headers": ETAG}},
    openapi_extra=IDEMPOTENCY_KEY,
)
async def post_confirmation(request: Request, link: MayConfirm, db: Db) -> Any:
    """Confirm that one's address is one's own. Once is enough; again is no harm.

    It says no more than when: a link that may only confirm shows nobody the record.
    """
    onces: Onces = request.app.state.onces
    headers = request.headers.getlist(HEADER)
    once = onces.of_person(headers, link.person_id, "/v1/me/confirmation")

    def confirm(tx: Transaction) -> Done:
        person = links.act(tx, link, record.confirm)
        body = Confirmed.model_validate(person)
        return Done(answer_of(body, etag=person.etag, cache_control=NO_STORE), link.person_id)

    def confirm_once(tx: Transaction) -> Answer:
        answer = do_once(tx, once, confirm)
        links.find_holder(tx, link)  # a stored answer too is only for whose link still works
        return answer

    return respond(await db.write(confirm_once))


@router.delete("/links", status_code=204)
async def delete_links(link: MayManage, db: Db) -> Response:
    """Void every link so far, this one too. `POST /v1/links` sends a new one."""
    await db.write(links.act, link, record.void_links)
    return _no_content()


@router.get(
    "/export",
    response_model=Export,
    responses={200: {"headers": A_FILE}},
)
async def get_export(link: MayManage, db: Db) -> Any:
    """Download everything that is stored of oneself: record, messages, attempts."""
    found = Export.model_validate(await db.read(links.export, link))
    return as_json(found, cache_control=NO_STORE, content_disposition=DISPOSITION)


def _as_json(person: Person) -> Response:
    body = PersonBody.model_validate(person)
    return as_json(body, etag=person.etag, cache_control=NO_STORE)


def _no_content() -> Response:
    return Response(status_code=204, headers={"Cache-Control": NO_STORE})
