"""People at the console: found, added, exported. One of them: ``person``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request, Response

from reach.console.filtering import (
    Found,
    Reading,
    Typed,
    errors_of,
    first_moment,
    moment_after,
    one_of,
    yes_or_no,
)
from reach.console.guard import READ, Requires, Visit, console_router
from reach.console.layout import at, see, show
from reach.console.safety import BEGINS
from reach.db import keyset
from reach.db.transaction import Transaction
from reach.messages.model import STATES
from reach.people import actions, filters
from reach.people.export_route import hand_out
from reach.people.exporting import FORMATS, Format, Wanted
from reach.people.filters import Filter, Sort
from reach.people.model import Person
from reach.people.operators import SEARCH
from reach.people.schemas import LANGUAGE, Add
from reach.people.signup import AlreadySignedUp
from reach.problems import Unprocessable
from reach.web.body import validate
from reach.web.routes import services_of

HERE = f"{BEGINS}/people"
PAGE_ROWS = 50
SORTS: Mapping[Sort, str] = {
    "newest": "Newest first",
    "oldest": "Oldest first",
    "address": "By address",
}

MayRead = Annotated[Visit, Depends(Requires("people:read"))]
MayWrite = Annotated[Visit, Depends(Requires("people:write"))]

router = console_router("/people")


@dataclass(frozen=True, slots=True)
class Look(Typed):
    """What people are looked for."""

    search: str = ""
    confirmed: str = ""
    language: str = ""
    welcome: str = ""
    since: str = ""
    until: str = ""

    @classmethod
    async def of(  # noqa: PLR0913, PLR0917 - one for each field
        cls,
        search: str = "",
        confirmed: str = "",
        language: str = "",
        welcome: str = "",
        since: str = "",
        until: str = "",
    ) -> "Look":
        """Read it from a query."""
        return cls(search, confirmed, language, welcome, since, until)

    def filter(self) -> Filter:
        """Read what was typed. Raises Unprocessable, whose ``errors`` name each field."""
        reading = Reading(self.query)
        chosen_by = Filter(
            search=reading.read("search", SEARCH.read),
            confirmed=reading.read("confirmed", yes_or_no),
            language=reading.read("language", LANGUAGE.read),
            welcome=reading.read("welcome", one_of(STATES)),
            since=reading.read("since", first_moment),
            until=reading.read("until", moment_after),
        )
        reading.done()
        return chosen_by


Looking = Annotated[Look, Depends(Look.of)]


@router.api_route("", methods=READ)
async def get_people(
    request: Request,
    _: MayRead,
    look: Looking,
    sort: str = "",
    cursor: str = "",
    done: str = "",
) -> Response:
    """List people. What is wrong with a filter is said beside it."""
    order = cast("Sort", sort) if sort in SORTS else "newest"
    try:
        chosen_by = look.filter()
        found = await services_of(request).database.read(_find, chosen_by, order, cursor or None)
    except Unprocessable as problem:
        return _list(request, look, order, Found(), problem=problem)
    return _list(request, look, order, found, is_first=not cursor, done=done)


@router.get("/export")
async def get_export(
    request: Request, visit: MayRead, look: Looking, form: Format = "csv"
) -> Response:
    """Hand out those who are found as a file, as ``GET /v1/people/export`` does."""
    return await hand_out(request, visit.actor, Wanted(look.filter(), form))


@router.api_route("/new", methods=READ)
async def get_new(request: Request, _: MayWrite, done: str = "") -> Response:
    """Show the form of a new person."""
    return _form(request, {}, done=done)


@router.post("")
async def post_person(request: Request, visit: MayWrite) -> Response:
    """Add a person. What is wrong with the form is said beside it, and who is known already."""
    services = services_of(request)
    form = visit.form
    data: dict[str, object] = {name: form.get(name, "") for name in ("email", "name")}
    data |= {name: form.get(name) or None for name in ("description", "language")}
    welcome = form.get("welcome") == "yes"
    try:
        wanted = validate(Add, data, services.settings)
        person = await services.database.write(
            actions.add, visit.actor, wanted, services.settings, welcome=welcome
        )
    except (Unprocessable, AlreadySignedUp) as problem:
        return _form(request, form, problem)
    if not visit.session.may("people:read"):
        return see(request, f"{HERE}/new", done="added")
    return see(request, f"{HERE}/{person.id}", done="added")


def _find(tx: Transaction, chosen_by: Filter, sort: Sort, after: str | None) -> Found[Person]:
    found, next_ = filters.page(tx, chosen_by, sort=sort, limit=PAGE_ROWS, after=after)
    count = filters.count(tx, chosen_by, most=keyset.MOST_COUNTED)
    return Found.of(found, next_, count)


def _list(  # noqa: PLR0913 - what a list shows
    request: Request,
    look: Look,
    sort: Sort,
    found: Found[Person],
    *,
    is_first: bool = True,
    done: str = "",
    problem: Unprocessable | None = None,
) -> Response:
    query = {**look.query, "sort": sort if sort != "newest" else None}
    return show(
        request,
        "people.html",
        problem.status if problem else 200,
        look=look,
        found=found,
        most=keyset.MOST_COUNTED,
        sort=sort,
        sorts=SORTS,
        states=STATES,
        languages=languages_of(request),
        errors=errors_of(problem) if problem else {},
        exports={form: at(f"{HERE}/export", **look.query, form=form) for form in FORMATS},
        first=None if is_first else at(HERE, **query),
        next=at(HERE, **query, cursor=found.next) if found.next else None,
        is_first=is_first,
        done=done,
    )


def _form(
    request: Request,
    typed: Mapping[str, str],
    problem: Unprocessable | AlreadySignedUp | None = None,
    *,
    done: str = "",
) -> Response:
    return show(
        request,
        "person-new.html",
        problem.status if problem else 200,
        typed=typed,
        is_known=isinstance(problem, AlreadySignedUp),
        errors=errors_of(problem) if isinstance(problem, Unprocessable) else {},
        languages=languages_of(request),
        done=done,
    )


def languages_of(request: Request) -> Sequence[str]:
    """List the languages that emails can be in, the default first."""
    return services_of(request).pages.catalogues.languages
