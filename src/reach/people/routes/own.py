"""One's own record, by a link."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from reach.access.links import Link
from reach.bodies.document import (
    ETAG,
    IF_MATCH,
    IF_NONE_MATCH,
    OF_BODIES,
    OF_LINKS,
    header,
    problems,
)
from reach.bodies.guard import in_json, json_body
from reach.messages.routes import Db, as_json
from reach.people import links, record
from reach.people.bodies import Changes, Export, PersonBody, wanted
from reach.people.conditions import is_known, read_if_match
from reach.people.guard import link_token, own
from reach.people.model import Person
from reach.people.routes.operators import Config

router = APIRouter(
    prefix="/v1/me",
    tags=["one's own record"],
    dependencies=[Depends(link_token)],
    responses=OF_LINKS,
)

MayManage = Annotated[Link, Depends(own("manage"))]
MayConfirm = Annotated[Link, Depends(own("confirm"))]

#: The record is its owner's alone: no cache on the way, nor the browser's, keeps it.
NO_STORE = "no-store"
DISPOSITION = 'attachment; filename="my-record.json"'


@router.get(
    "",
    response_model=PersonBody,
    responses={200: {"headers": ETAG}, 304: {"description": "As you have it", "headers": ETAG}},
    openapi_extra=IF_NONE_MATCH,
)
async def get_me(request: Request, link: MayManage, db: Db) -> Any:
    """Show one's record. 304 if `If-None-Match` names what would be shown."""
    person = await db.read(links.find_holder, link)
    if is_known(person.etag, request.headers.getlist("if-none-match")):
        headers = {"ETag": person.etag, "Cache-Control": NO_STORE}
        return Response(status_code=304, headers=headers)
    return _as_json(person)


@router.patch(
    "",
    response_model=PersonBody,
    responses=OF_BODIES | problems(412) | {200: {"headers": ETAG}},
    openapi_extra=in_json(Changes) | IF_MATCH,
)
async def patch_me(
    request: Request,
    link: MayManage,
    db: Db,
    settings: Config,
    body: Annotated[Changes, Depends(json_body(Changes))],
) -> Any:
    """Change one's record; an email says so. 412 if `If-Match` is stale."""
    if_versions = read_if_match(request.headers.getlist("if-match"))
    person = await db.write(
        links.act, link, record.change, wanted(body), settings, if_versions=if_versions
    )
    return _as_json(person)


@router.delete("", status_code=204, responses=problems(412), openapi_extra=IF_MATCH)
async def delete_me(request: Request, link: MayManage, db: Db) -> Response:
    """Remove oneself, one's messages and every trace of them. 412 if `If-Match` is stale."""
    if_versions = read_if_match(request.headers.getlist("if-match"))
    await db.write(links.act, link, record.erase, if_versions=if_versions)
    await db.scrub()
    return _no_content()


@router.post("/confirmation", response_model=PersonBody, responses={200: {"headers": ETAG}})
async def post_confirmation(link: MayConfirm, db: Db) -> Any:
    """Confirm that one's address is one's own. Once is enough; again is no harm."""
    return _as_json(await db.write(links.act, link, record.confirm))


@router.delete("/links", status_code=204)
async def delete_links(link: MayManage, db: Db) -> Response:
    """Void every link so far, this one too. `POST /v1/links` sends a new one."""
    await db.write(links.act, link, record.void_links)
    return _no_content()


@router.get(
    "/export",
    response_model=Export,
    responses={200: {"headers": header("Content-Disposition", "A file to be kept")}},
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
