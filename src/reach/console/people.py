"""People at the console: found, added, exported. One of them: ``person``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, cast

from fastapi import Depends, Request, Response
from fastapi.responses import StreamingResponse

from reach.console.filtering import (
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
from reach.db.transaction import Transaction
from reach.messages.model import STATES
from reach.people import actions, filters
from reach.people.exporting import FORMATS, MEDIA_TYPES, USUAL, Format, export
from reach.people.filters import Filter, Sort
from reach.people.model import Person
from reach.people.operators import SEARCH
from reach.people.schemas import LANGUAGE, Add
from reach.people.signup import AlreadySignedUp
from reach.problems import Unprocessable
from reach.web.body import validate
from reach.web.responses import NO_STORE
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


@dataclass(frozen=True, slots=True)
class Found:
    """Part of a list: who is on it, where the next part begins, and how many there are in all.

    ``count`` may be one more than ``filters.MOST_COUNTED``: then nobody has counted further.
    Without ``is_all`` there was no time to count them all: they are at least so many.
    """

    people: Sequence[Person] = ()
    next: str | None = None
    count: int = 0
    is_all: bool = True


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
    services = services_of(request)
    chosen_by = look.filter()
    await services.database.write(actions.export, visit.actor, chosen_by, form=form, columns=USUAL)
    name = f"people-{datetime.now(UTC):%Y-%m-%d}.{form}"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": NO_STORE,
    }
    file = export(services.database, chosen_by, form, USUAL)
    return StreamingResponse(file, headers=headers, media_type=MEDIA_TYPES[form])


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


def _find(tx: Transaction, chosen_by: Filter, sort: Sort, after: str | None) -> Found:
    found, next_ = filters.page(tx, chosen_by, sort=sort, limit=PAGE_ROWS, after=after)
    count = filters.count(tx, chosen_by, most=filters.MOST_COUNTED)
    return Found(found, next_, max(count.people, len(found)), count.is_all)


def _list(  # noqa: PLR0913 - what a list shows
    request: Request,
    look: Look,
    sort: Sort,
    found: Found,
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
        most=filters.MOST_COUNTED,
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
