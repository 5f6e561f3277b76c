"""Whose record: a link for another person than the one whose link the browser holds.

Held without a question, it would let strangers who send somebody a link of their own have this
person write into the strangers' record, in the belief that it is theirs ("login CSRF").
"""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Depends, Request, Response

from reach.auth.links import SCOPES, Link, Scope
from reach.db.database import Database
from reach.pages.link_cookie import (
    REFERRER,
    Route,
    find,
    forget,
    keep,
    link_cookie,
    look,
    offer_cookie,
    put,
    refuse_loads_from_elsewhere,
    see,
)
from reach.pages.links import no_link
from reach.people import links
from reach.people.links import LinkVoid
from reach.people.model import Person
from reach.web.deps import services_of
from reach.web.html import render

router = APIRouter(include_in_schema=False, dependencies=[Depends(refuse_loads_from_elsewhere)])


async def keep_or_ask(request: Request, token: str, link: Link) -> Response:
    """Have the browser hold the link that it came with, or first ask whose record is meant.

    It is asked for only if both links work; so the database is for this rare case alone. Raises
    LinkVoid if the new link does not work: then the one in the cookie stays.
    """
    if request.scope["path"] != f"/{link.scope}":
        # A browser shows what it holds to the pages of its scope only.
        return see(f"/{link.scope}?token={token}")
    current = look(request, request.cookies.get(link_cookie(link.scope).name, ""))
    if current is None or current.scope != link.scope:
        return keep(request, token, link.scope)
    if current.person_id == link.person_id:
        if current.version > link.version:
            raise LinkVoid  # an older email, whose links were voided
        return keep(request, token, link.scope)
    if await _holder(request, current) is None:
        return keep(request, token, link.scope)
    if await _holder(request, link) is None:
        raise LinkVoid
    return put(request, see(f"/{link.scope}/switch"), token, offer_cookie(link.scope))


async def _ask(request: Request, scope: Scope) -> Response:
    """Show whose link the cookie holds, and a button to take the other one."""
    try:
        offered = await find(request, scope, offer_cookie(scope))
    except LinkVoid:
        return see(f"/{scope}")
    if await _holder(request, offered.link) is None:
        return forget(await no_link(request), offer_cookie(scope))
    current = look(request, request.cookies.get(link_cookie(scope).name, ""))
    person = None if current is None or current.scope != scope else await _holder(request, current)
    if person is None or person.id == offered.link.person_id:
        return _switch(request, scope)
    return render(
        "switch.html",
        headers=REFERRER,
        brand_name=services_of(request).settings.brand_name,
        scope=scope,
        who=shortened(person.email),
        proof=offered.proof,
    )


async def _press(request: Request, scope: Scope) -> Response:
    """Hold the other link from now on, if it still works. Raises ForeignForm."""
    try:
        offered = await find(request, scope, offer_cookie(scope))
        await _database(request).read(links.find_holder, offered.link)
    except LinkVoid:
        return forget(await no_link(request), offer_cookie(scope))
    return _switch(request, scope)


def _switch(request: Request, scope: Scope) -> Response:
    cookie = offer_cookie(scope)
    return forget(keep(request, request.cookies[cookie.name], scope), cookie)


async def _holder(request: Request, link: Link) -> Person | None:
    """Find whose link it is, if it still works."""
    try:
        person: Person = await _database(request).read(links.find_holder, link)
    except LinkVoid:
        return None
    return person


def _database(request: Request) -> Database:
    found: Database = services_of(request).database
    return found


def shortened(email: str) -> str:
    """Write an address so that its owner knows it, and others learn little: ``a…@example.com``.

    The browser may be a shared one.
    """
    local, _, domain = email.rpartition("@")
    return f"{local[:1]}…@{domain}"


def _route(answer: Callable[[Request, Scope], Awaitable[Response]], scope: Scope) -> Route:
    async def route(request: Request) -> Response:
        return await answer(request, scope)

    return route


for _scope in SCOPES:
    router.add_api_route(f"/{_scope}/switch", _route(_ask, _scope), methods=["GET", "HEAD"])
    router.add_api_route(f"/{_scope}/switch", _route(_press, _scope), methods=["POST"])
