"""Unsubscribing: by the link in an email, at one request of a mail program, or on one's record.

The link's token stays in the address, and needs no cookie: all that it can do is to stop such
emails, and to have them sent again. A GET does nothing, for mail scanners follow links.
"""

from fastapi import APIRouter, Depends, Request, Response

from reach.auth.links import ALL
from reach.pages.link_cookie import (
    MOST_TOKENS,
    FromCookie,
    holding,
    look,
    read,
    refuse_loads_from_elsewhere,
    see,
)
from reach.pages.me import READ, database_of, shortened
from reach.pages.public import no_link
from reach.people import links, unsubscribe
from reach.people.links import LinkVoid
from reach.people.unsubscribe import Standing
from reach.problems import BadRequest
from reach.web.body import read_any_form
from reach.web.html import render, speak
from reach.web.routes import services_of

#: What mail programs send (RFC 8058 §3.1), and our own button too.
ONE_CLICK = ("List-Unsubscribe", "One-Click")
#: What the other button sends.
RESUME = ("resume", "yes")
UNKNOWN = "The form says neither List-Unsubscribe=One-Click nor resume=yes."

router = APIRouter(include_in_schema=False)
from_here = [Depends(refuse_loads_from_elsewhere)]


@router.api_route("/unsubscribe", methods=READ, dependencies=from_here)
async def get_unsubscribe(request: Request) -> Response:
    """Show where somebody stands, and the button to change that."""
    token = _token(request)
    try:
        link = await read(request, token)
        _require_scope(link.scope, link.version)
    except LinkVoid:
        return await no_link(request)
    standing = await database_of(request).read(unsubscribe.find, link.person_id)
    return _page(request, token, standing)


@router.post("/unsubscribe")
async def post_unsubscribe(request: Request) -> Response:
    """Unsubscribe, or take that back: it is done when this is answered.

    Who has the token may: there is no cookie that another site's page could lean on. Once is
    enough, and again is no harm. The answer leads nowhere else (RFC 8058 §3.1).
    """
    token = _token(request)
    try:
        link = await read(request, token)
        _require_scope(link.scope, link.version)
    except LinkVoid:
        return await no_link(request)
    said = (await read_any_form(request)).items()
    database, settings = database_of(request), services_of(request).settings
    if ONE_CLICK in said:
        standing = await database.write(unsubscribe.stop, link.person_id, settings)
    elif RESUME in said:
        standing = await database.write(unsubscribe.resume, link.person_id)
    else:
        raise BadRequest(UNKNOWN)
    return _page(request, token, standing, is_done=True)


@router.post("/manage/unsubscribe", dependencies=from_here)
@holding("manage", no_link)
async def post_stop_mine(request: Request, given: FromCookie) -> Response:
    """Unsubscribe, on one's record."""
    settings = services_of(request).settings
    await database_of(request).write(links.act, given.link, unsubscribe.stop, settings)
    return see(request, "/manage?done=unsubscribed")


@router.post("/manage/resume", dependencies=from_here)
@holding("manage", no_link)
async def post_resume_mine(request: Request, given: FromCookie) -> Response:
    """Take it back, on one's record."""
    await database_of(request).write(links.act, given.link, unsubscribe.resume)
    return see(request, "/manage?done=resumed")


def _token(request: Request) -> str:
    """Find the token in the address: of several the first that is one of ours, as elsewhere."""
    given = request.query_params.getlist("token")[:MOST_TOKENS]
    return next((token for token in given if look(request, token)), "".join(given[:1]))


def _require_scope(scope: str, version: int) -> None:
    """Raise LinkVoid for a link that is for something else."""
    if (scope, version) != ("unsubscribe", ALL):
        raise LinkVoid


def _page(
    request: Request, token: str, standing: Standing | None, *, is_done: bool = False
) -> Response:
    """Show where somebody stands; None: nothing is stored of them, so they get no emails."""
    speak(request, standing.language if standing else None)
    return render(
        request,
        "unsubscribe.html",
        path=f"/unsubscribe?token={token}",
        standing=standing,
        who=shortened(standing.email) if standing else "",
        is_done=is_done,
        one_click=ONE_CLICK,
        resume=RESUME,
    )
