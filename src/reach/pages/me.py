"""The pages of one's own record: what a link leads to.

Nothing is changed by a GET: mail scanners follow links, and browsers look ahead.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from reach.db.database import Database
from reach.pages.link_cookie import (
    REFERRER,
    FromCookie,
    forget,
    holding,
    link_cookie,
    read,
    refuse_loads_from_elsewhere,
    see,
)
from reach.pages.links import no_link
from reach.pages.public import faults_of
from reach.pages.switch import keep_or_ask
from reach.people import links, record
from reach.people.links import LinkVoid
from reach.people.schemas import Changes, Export, wanted
from reach.problems import Problem, Unprocessable
from reach.web.body import validate
from reach.web.deps import services_of
from reach.web.html import HEADERS, render

READ = ["GET", "HEAD"]
LABELS = {"name": "Your name", "description": "Anything we should know?"}
#: What the page may say that was done.
DONE = {
    "changed": "Your changes are stored.",
    "confirmed": "Your address is confirmed.",
}

router = APIRouter(include_in_schema=False, dependencies=[Depends(refuse_loads_from_elsewhere)])


@router.api_route("/manage", methods=READ)
async def get_manage(request: Request) -> Response:
    """Show the record; a link's token leaves the address first."""
    return await _arrive(request, _show_record)


@router.api_route("/confirm", methods=READ)
async def get_confirm(request: Request) -> Response:
    """Show the button; a link's token leaves the address first."""
    return await _arrive(request, _show_confirm)


async def _arrive(request: Request, show: Any) -> Response:
    """Show the page, or have the browser keep a link first: each leads to the page of its scope."""
    given = request.query_params.getlist("token")
    if given:
        try:
            token, link = await read(request, given)
            return await keep_or_ask(request, token, link)
        except LinkVoid:
            return await no_link(request)
    found: Response = await show(request)
    return found


@holding("manage", no_link)
async def _show_record(request: Request, given: FromCookie) -> Response:
    done = DONE.get(request.query_params.get("done", ""))
    return await _record_page(request, given, done=done)


@holding("confirm", no_link)
async def _show_confirm(request: Request, given: FromCookie) -> Response:
    person = await _database(request).read(links.find_holder, given.link)
    return _page(request, "confirm.html", person=person, proof=given.proof)


@router.post("/confirm")
@holding("confirm", no_link)
async def post_confirm(request: Request, given: FromCookie) -> Response:
    """Confirm the address that the link was sent to."""
    await _database(request).write(links.act, given.link, record.confirm)
    return forget(see("/confirm/done"), link_cookie("confirm"))


@router.post("/manage")
@holding("manage", no_link)
async def post_manage(request: Request, given: FromCookie) -> Response:
    """Change the record; the form comes back, as it was filled in, with what is wrong."""
    try:
        changes = wanted(validate(Changes, given.typed, services_of(request).settings))
    except Unprocessable as problem:
        return await _record_page(request, given, typed=given.typed, problem=problem)
    settings = services_of(request).settings
    await _database(request).write(links.act, given.link, record.change, changes, settings)
    return see("/manage?done=changed")


@router.post("/manage/confirmation")
@holding("manage", no_link)
async def post_confirmation(request: Request, given: FromCookie) -> Response:
    """Confirm the address: this link, too, was sent to it."""
    await _database(request).write(links.act, given.link, record.confirm)
    return see("/manage?done=confirmed")


@router.post("/manage/export")
@holding("manage", no_link)
async def post_export(request: Request, given: FromCookie) -> Response:
    """Hand out everything that is stored of the person, as a file."""
    found = await _database(request).read(links.export, given.link)
    text = Export.model_validate(found).model_dump_json(indent=2)
    headers = {**HEADERS, "Content-Disposition": 'attachment; filename="my-record.json"'}
    return Response(text.encode(), headers=headers, media_type="application/json")


@router.post("/manage/links")
@holding("manage", no_link)
async def post_void_links(request: Request, given: FromCookie) -> Response:
    """Void every link so far, this one too."""
    await _database(request).write(links.act, given.link, record.void_links)
    return forget(see("/manage/voided"), link_cookie("manage"))


@router.api_route("/manage/removal", methods=READ)
@holding("manage", no_link)
async def get_removal(request: Request, given: FromCookie) -> Response:
    """Ask once more."""
    person = await _database(request).read(links.find_holder, given.link)
    return _page(request, "removal.html", person=person, proof=given.proof)


@router.post("/manage/removal")
@holding("manage", no_link)
async def post_removal(request: Request, given: FromCookie) -> Response:
    """Remove the person, their messages and every trace of them."""
    database = _database(request)
    await database.write(links.erase, given.link)
    await database.scrub()
    return forget(see("/manage/removed"), link_cookie("manage"))


@router.api_route("/confirm/done", methods=READ)
async def get_confirmed(request: Request) -> Response:
    """Say that the address is confirmed."""
    return _page(request, "done.html", what="confirmed")


@router.api_route("/manage/voided", methods=READ)
async def get_voided(request: Request) -> Response:
    """Say that every link so far is void."""
    return _page(request, "done.html", what="voided")


@router.api_route("/manage/removed", methods=READ)
async def get_removed(request: Request) -> Response:
    """Say goodbye."""
    return _page(request, "done.html", what="removed")


async def _record_page(
    request: Request,
    given: FromCookie,
    *,
    done: str | None = None,
    typed: Mapping[str, str] | None = None,
    problem: Problem | None = None,
) -> Response:
    person = await _database(request).read(links.find_holder, given.link)
    stored = {"name": person.name, "description": person.description or ""}
    return _page(
        request,
        "manage.html",
        problem.status if problem else 200,
        person=person,
        proof=given.proof,
        done=done,
        typed=stored if typed is None else {name: typed.get(name, "") for name in LABELS},
        **faults_of(problem, LABELS, request),
    )


def _page(request: Request, name: str, status: int = 200, **values: Any) -> Response:
    brand_name = services_of(request).settings.brand_name
    return render(name, status, headers=REFERRER, brand_name=brand_name, **values)


def _database(request: Request) -> Database:
    found: Database = services_of(request).database
    return found
