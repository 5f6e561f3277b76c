"""Addresses that nothing is sent to, at the console: found, added, lifted."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from reach.console.filtering import Found, Reading, Typed, errors_of, one_of
from reach.console.guard import READ, Requires, Visit, console_router
from reach.console.layout import at, places_of, see, show
from reach.console.people import HERE as PEOPLE
from reach.console.safety import BEGINS
from reach.db import keyset
from reach.db.transaction import Transaction
from reach.messages import actions, suppressions
from reach.messages.suppressions import CAUSES, Filter, Suppression
from reach.people.address import key_prefix
from reach.people.messages import RECIPIENT
from reach.people.suppressions import NewSuppression, SuppressionId
from reach.problems import Unprocessable
from reach.shapes import CURSOR, ID
from reach.web.body import validate
from reach.web.responses import read_cursor, write_cursor
from reach.web.routes import services_of

HERE = f"{BEGINS}/suppressions"
PAGE_ROWS = 50
TONES = {"bounced": "wrong", "complained": "wrong", "operator": "off"}

MayRead = Annotated[Visit, Depends(Requires("messages:read"))]
MayWrite = Annotated[Visit, Depends(Requires("messages:write"))]
MayReadAndWrite = Annotated[Visit, Depends(Requires("messages:read", "messages:write"))]

router = console_router("/suppressions")


@dataclass(frozen=True, slots=True)
class Look(Typed):
    """What suppressions are looked for."""

    address: str = ""
    cause: str = ""

    @classmethod
    async def of(cls, address: str = "", cause: str = "") -> "Look":
        """Read it from a query."""
        return cls(address, cause)

    def filter(self) -> Filter:
        """Read what was typed. Raises Unprocessable, whose ``errors`` name each field."""
        reading = Reading(self.query)
        chosen_by = Filter(
            email_key=reading.read("address", lambda text: key_prefix(RECIPIENT.read(text))),
            cause=reading.read("cause", one_of(CAUSES)),
        )
        reading.done()
        return chosen_by


Looking = Annotated[Look, Depends(Look.of)]


@router.api_route("", methods=READ)
async def get_suppressions(
    request: Request, _: MayRead, look: Looking, cursor: str = "", done: str = ""
) -> Response:
    """List suppressions, newest first. What is wrong with a filter is said beside it."""
    before = read_cursor(cursor) if CURSOR.fits(cursor) else None
    errors: dict[str, str] = {}
    found: Found[Suppression] = Found()
    try:
        found = await services_of(request).database.read(_find, look.filter(), before)
    except Unprocessable as problem:
        errors = errors_of(problem)
    return show(
        request,
        "suppressions.html",
        422 if errors else 200,
        look=look,
        found=found,
        most=keyset.MOST_COUNTED,
        causes=CAUSES,
        tones=TONES,
        errors=errors,
        first=at(HERE, **look.query) if before else None,
        next=at(HERE, **look.query, cursor=found.next) if found.next else None,
        done=done,
    )


@router.api_route("/new", methods=READ)
async def get_new(request: Request, _: MayWrite, done: str = "") -> Response:
    """Show the form of a new one."""
    return show(request, "suppression-new.html", typed={}, errors={}, done=done)


@router.post("")
async def post_suppression(request: Request, visit: MayWrite) -> Response:
    """Have nothing sent to an address. What is wrong with the form is said beside it."""
    services = services_of(request)
    typed = {name: visit.form.get(name, "") for name in ("email", "note")}
    try:
        wanted = validate(NewSuppression, typed, services.settings)
    except Unprocessable as problem:
        errors = errors_of(problem)
        return show(
            request, "suppression-new.html", problem.status, typed=typed, errors=errors, done=""
        )
    made, _ = await services.database.write(
        actions.suppress, visit.actor, wanted.email.key, wanted.note or ""
    )
    done = "added" if made.cause == "operator" else "complained"
    may_read = visit.session.may("messages:read")
    return see(request, HERE if may_read else f"{HERE}/new", done=done)


@router.api_route("/{id}/lift", methods=READ)
async def get_lift(request: Request, _: MayReadAndWrite, id_: SuppressionId) -> Response:
    """Ask whether to have mail sent to an address again. Raises NoSuchSuppression."""
    found = await services_of(request).database.read(suppressions.find, id_)
    return show(request, "suppression-lift.html", found=found, tones=TONES)


@router.post("/{id}/lift")
async def post_lift(request: Request, visit: MayWrite, id_: SuppressionId) -> Response:
    """Have mail sent there again, and go back to where that was asked. Raises NoSuchSuppression."""
    await services_of(request).database.write(actions.lift, visit.actor, id_)
    person = visit.form.get("person", "")
    if ID.fits(person) and visit.session.may("people:read"):
        return see(request, f"{PEOPLE}/{person}", done="lifted")
    if not visit.session.may("messages:read"):
        return see(request, places_of(visit.session)[0].path)
    return see(request, HERE, done="lifted")


def _find(tx: Transaction, chosen_by: Filter, before: UUID | None) -> Found[Suppression]:
    found, on = suppressions.page(tx, chosen_by, limit=PAGE_ROWS, before=before)
    count = suppressions.count(tx, chosen_by, most=keyset.MOST_COUNTED)
    return Found.of(found, write_cursor(on) if on else None, count)
