"""The pages of one's own record: what a link leads to.

Nothing is changed by a GET: mail scanners follow links, and browsers look ahead.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from reach.auth.links import Link, Scope
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.pages.link_cookie import (
    MOST_TOKENS,
    REFERRER,
    FromCookie,
    Route,
    find,
    forget,
    holding,
    keep,
    link_cookie,
    look,
    offer_cookie,
    put,
    refuse_loads_from_elsewhere,
    see,
)
from reach.pages.public import VOID, faults_of, no_link
from reach.people import consent, links, record, unsubscribe
from reach.people.address_changes import CONFIRM
from reach.people.consent import Consent
from reach.people.links import LinkVoid
from reach.people.model import Person
from reach.people.schemas import Changes, Export, wanted
from reach.problems import Problem, Unprocessable
from reach.texts import N_
from reach.web.body import validate
from reach.web.guard import failed_link
from reach.web.html import HEADERS, render, speak
from reach.web.routes import services_of

READ = ["GET", "HEAD"]
#: Links whose holder writes into a record, or says that it is theirs.
RECORDS: tuple[Scope, ...] = ("confirm", "manage")
LABELS = {
    "name": N_("Your name"),
    "description": N_("Anything we should know?"),
    "email": N_("Your new address"),
}
#: What the page may say that was done.
DONE = {
    "changed": N_("Your changes are saved."),
    "confirmed": N_("Your address is confirmed."),
    "asked": N_("An email is on its way to your new address: please open the link in it."),
    "stopped": N_("Your address stays as it is."),
    "unsubscribed": N_("You have unsubscribed."),
    "resumed": N_("You get these emails again."),
}

router = APIRouter(include_in_schema=False, dependencies=[Depends(refuse_loads_from_elsewhere)])


@router.api_route("/manage", methods=READ)
async def get_manage(request: Request) -> Response:
    """Show the record; a link's token leaves the address first."""
    return await arrive(request, _show_record)


@router.api_route("/confirm", methods=READ)
async def get_confirm(request: Request) -> Response:
    """Show the button; a link's token leaves the address first."""
    return await arrive(request, _show_confirm)


async def arrive(request: Request, show: Any) -> Response:
    """Show the page, or have the browser keep a link first: each leads to the page of its scope.

    With a token in its address nothing is shown, and no database is asked: whatever there is to
    say of the link, a page without it says.
    """
    given = request.query_params.getlist("token")
    if not given:
        found: Response = await show(request)
        return found
    for token in given[:MOST_TOKENS]:
        link = look(request, token)
        if link is not None:
            return keep_or_ask(request, token, link)
    if any(given):
        await failed_link(request)
    return see(request, VOID)


@holding("manage", no_link)
async def _show_record(request: Request, given: FromCookie) -> Response:
    done = DONE.get(request.query_params.get("done", ""))
    return await record_page(request, given, done=done)


@holding("confirm", no_link)
async def _show_confirm(request: Request, given: FromCookie) -> Response:
    person = await database_of(request).read(links.find_holder, given.link)
    speak(request, person.language)
    return page(request, "confirm.html", person=person, proof=given.proof)


@router.post("/confirm")
@holding("confirm", no_link)
async def post_confirm(request: Request, given: FromCookie) -> Response:
    """Confirm the address that the link was sent to."""
    await database_of(request).write(links.act, given.link, record.confirm)
    home = services_of(request).settings.confirmed_url
    done = Response(status_code=303, headers={**HEADERS, "Location": home}) if home else None
    return forget(done or see(request, "/confirm/done"), link_cookie("confirm"))


@router.post("/manage")
@holding("manage", no_link)
async def post_manage(request: Request, given: FromCookie) -> Response:
    """Change the record; the form comes back, as it was filled in, with what is wrong."""
    try:
        typed = {name: text for name, text in given.typed.items() if name != "language" or text}
        changes = wanted(validate(Changes, typed, services_of(request).settings))
    except Unprocessable as problem:
        return await record_page(request, given, typed=given.typed, problem=problem)
    settings = services_of(request).settings
    await database_of(request).write(links.act, given.link, record.change, changes, settings)
    return see(request, "/manage?done=changed")


@router.post("/manage/confirmation")
@holding("manage", no_link)
async def post_confirmation(request: Request, given: FromCookie) -> Response:
    """Confirm the address: this link, too, was sent to it."""
    await database_of(request).write(links.act, given.link, record.confirm)
    return see(request, "/manage?done=confirmed")


@router.post("/manage/export")
@holding("manage", no_link)
async def post_export(request: Request, given: FromCookie) -> Response:
    """Hand out everything that is stored of the person, as a file."""
    found = await database_of(request).read(links.export, given.link)
    text = Export.model_validate(found).model_dump_json(indent=2)
    headers = {**HEADERS, "Content-Disposition": 'attachment; filename="my-record.json"'}
    return Response(text.encode(), headers=headers, media_type="application/json")


@router.post("/manage/links")
@holding("manage", no_link)
async def post_void_links(request: Request, given: FromCookie) -> Response:
    """Stop every link so far, this one too."""
    await database_of(request).write(links.act, given.link, record.void_links)
    return forget(see(request, "/manage/voided"), link_cookie("manage"))


@router.api_route("/manage/removal", methods=READ)
@holding("manage", no_link)
async def get_removal(request: Request, given: FromCookie) -> Response:
    """Ask once more."""
    person = await database_of(request).read(links.find_holder, given.link)
    speak(request, person.language)
    return page(request, "removal.html", person=person, proof=given.proof)


@router.post("/manage/removal")
@holding("manage", no_link)
async def post_removal(request: Request, given: FromCookie) -> Response:
    """Remove the person, their messages and every trace of them."""
    database = database_of(request)
    await database.write(links.erase, given.link)
    await database.scrub()
    return forget(see(request, "/manage/removed"), link_cookie("manage"))


@router.api_route("/confirm/done", methods=READ)
async def get_confirmed(request: Request) -> Response:
    """Say that the address is confirmed."""
    return page(request, "done.html", what="confirmed")


@router.api_route("/manage/voided", methods=READ)
async def get_voided(request: Request) -> Response:
    """Say that every link so far is void."""
    return page(request, "done.html", what="voided")


@router.api_route("/manage/removed", methods=READ)
async def get_removed(request: Request) -> Response:
    """Say goodbye."""
    return page(request, "done.html", what="removed")


async def record_page(
    request: Request,
    given: FromCookie,
    *,
    done: str | None = None,
    typed: Mapping[str, str] | None = None,
    problem: Problem | None = None,
) -> Response:
    """Show the record and its forms, as they were filled in, with what is wrong."""
    found = await database_of(request).read(_find_with_consent, given.link)
    person, agreed, unsubscribed_at = found
    shown = {"name": person.name, "description": person.description or "", "email": ""}
    shown |= {name: text for name, text in (typed or {}).items() if name in LABELS}
    services = services_of(request)
    settings, catalogues = services.settings, services.pages.catalogues
    speak(request, person.language)
    answer = page(
        request,
        "manage.html",
        problem.status if problem else 200,
        path="/manage",
        person=person,
        consent=agreed,
        unsubscribed_at=unsubscribed_at,
        may_unsubscribe=bool(settings.stoppable),
        proof=given.proof,
        done=done,
        typed=shown,
        email_type="text" if settings.smtputf8 else "email",
        needs_confirmation=not record.may_get(person, CONFIRM, settings),
        mail_language=catalogues.known(person.language),
        chosen_language=catalogues.known((typed or {}).get("language")),
        **faults_of(problem, LABELS, request),
    )
    answer.headers.update(problem.headers if problem else {})
    return answer


def _find_with_consent(
    tx: Transaction, link: Link
) -> tuple[Person, Consent | None, datetime | None]:
    """Find whose link it is, what they agreed to, and since when they get no more of the rest.

    Raises LinkVoid.
    """
    person = links.find_holder(tx, link)
    return person, consent.of(tx, person.id), unsubscribe.since(tx, person.id)


def page(request: Request, name: str, status: int = 200, **values: Any) -> Response:
    """Show a page with forms that only we may send."""
    return render(request, name, status, headers=REFERRER, **values)


def database_of(request: Request) -> Database:
    """Give the database of a request's application."""
    found: Database = services_of(request).database
    return found


# Whose record: a link for another person than the one whose link the browser holds. Kept without
# a question, it would let anyone who sends somebody a link of their own have this person write
# into their record, in the belief that it is theirs ("login CSRF").


def keep_or_ask(request: Request, token: str, link: Link) -> Response:
    """Have the browser hold the link that it came with, or first ask whose record is meant.

    Whether both links work, the page that asks finds out.
    """
    if request.scope["path"] != f"/{link.scope}":
        # A browser shows what it holds to the pages of its scope only.
        return see(request, f"/{link.scope}?token={token}")
    if link.scope not in RECORDS:
        return keep(request, token, link.scope)
    current = look(request, request.cookies.get(link_cookie(link.scope).name, ""))
    if current is None or current.scope != link.scope:
        return keep(request, token, link.scope)
    if current.person_id == link.person_id:
        if current.version > link.version:
            return see(request, VOID)  # an older email, whose links were voided
        return keep(request, token, link.scope)
    return put(request, see(request, f"/{link.scope}/switch"), token, offer_cookie(link.scope))


async def _ask(request: Request, scope: Scope) -> Response:
    """Show whose link the cookie holds, and a button to take the other one."""
    try:
        offered = await find(request, scope, offer_cookie(scope))
    except LinkVoid:
        return see(request, f"/{scope}")
    if await _holder(request, offered.link) is None:
        return forget(await no_link(request), offer_cookie(scope))
    current = look(request, request.cookies.get(link_cookie(scope).name, ""))
    person = None if current is None or current.scope != scope else await _holder(request, current)
    if person is None or person.id == offered.link.person_id:
        return _switch(request, scope)
    return render(
        request,
        "switch.html",
        headers=REFERRER,
        scope=scope,
        who=shortened(person.email),
        proof=offered.proof,
    )


async def _press(request: Request, scope: Scope) -> Response:
    """Hold the other link from now on, if it still works. Raises ForeignForm."""
    try:
        offered = await find(request, scope, offer_cookie(scope))
        await database_of(request).read(links.find_holder, offered.link)
    except LinkVoid:
        return forget(await no_link(request), offer_cookie(scope))
    return _switch(request, scope)


def _switch(request: Request, scope: Scope) -> Response:
    cookie = offer_cookie(scope)
    return forget(keep(request, request.cookies[cookie.name], scope), cookie)


async def _holder(request: Request, link: Link) -> Person | None:
    """Find whose link it is, if it still works."""
    try:
        person: Person = await database_of(request).read(links.find_holder, link)
    except LinkVoid:
        return None
    return person


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


for _scope in RECORDS:
    router.add_api_route(f"/{_scope}/switch", _route(_ask, _scope), methods=READ)
    router.add_api_route(f"/{_scope}/switch", _route(_press, _scope), methods=["POST"])
