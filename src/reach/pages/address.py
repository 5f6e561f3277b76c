"""The pages of a change of address: asked for on one's record, decided at the new address.

The link in the email to the new address leads to a page of its own, which shows nobody's record.
"""

from fastapi import APIRouter, Depends, Request, Response

from reach.pages.link_cookie import (
    FromCookie,
    forget,
    holding,
    link_cookie,
    refuse_loads_from_elsewhere,
    see,
)
from reach.pages.me import READ, arrive, database_of, page, record_page
from reach.pages.public import no_link
from reach.people import links, record
from reach.people.me import ask_to_move
from reach.problems import Conflict, QuotaExceeded, Unprocessable
from reach.web.html import speak
from reach.web.routes import services_of

router = APIRouter(include_in_schema=False, dependencies=[Depends(refuse_loads_from_elsewhere)])


@router.post("/manage/address")
@holding("manage", no_link)
async def post_address(request: Request, given: FromCookie) -> Response:
    """Ask for another address; the form comes back, as it was filled in, with what is wrong."""
    try:
        await ask_to_move(request, given.link, dict(given.typed))
    except (Conflict, QuotaExceeded, Unprocessable) as problem:
        return await record_page(request, given, typed=given.typed, problem=problem)
    return see(request, "/manage?done=asked")


@router.post("/manage/address/stop")
@holding("manage", no_link)
async def post_stop_mine(request: Request, given: FromCookie) -> Response:
    """Stop the change that is under way."""
    await database_of(request).write(links.act, given.link, record.stop_move)
    return see(request, "/manage?done=stopped")


@router.api_route("/address", methods=READ)
async def get_address(request: Request) -> Response:
    """Ask whether the new address is to be used; a link's token leaves this page's own first."""
    return await arrive(request, _show)


@holding("address", no_link)
async def _show(request: Request, given: FromCookie) -> Response:
    person = await database_of(request).read(links.find_holder, given.link)
    speak(request, person.language)
    return page(request, "address.html", email=person.pending_email, proof=given.proof)


@router.post("/address")
@holding("address", no_link)
async def post_yes(request: Request, given: FromCookie) -> Response:
    """Move the record to this address. Raises AddressTaken."""
    settings = services_of(request).settings
    await database_of(request).write(links.move_to_new, given.link, settings)
    return forget(see(request, "/address/done"), link_cookie("address"))


@router.post("/address/stop")
@holding("address", no_link)
async def post_no(request: Request, given: FromCookie) -> Response:
    """Stop the change."""
    await database_of(request).write(links.act, given.link, record.stop_move)
    return forget(see(request, "/address/stopped"), link_cookie("address"))


@router.api_route("/address/done", methods=READ)
async def get_done(request: Request) -> Response:
    """Say that the record has moved."""
    return page(request, "address-done.html", is_moved=True)


@router.api_route("/address/stopped", methods=READ)
async def get_stopped(request: Request) -> Response:
    """Say that it has not."""
    return page(request, "address-done.html", is_moved=False)
