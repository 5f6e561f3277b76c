"""`reach people`: who signed up, looked at and changed by operators."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import typer

from reach.cli.connection import Connection, connected
from reach.cli.exporting import export_people
from reach.cli.forms import Column, Form, Pages, as_json, show, show_list, visible
from reach.cli.importing import import_list
from reach.cli.options import (
    All,
    AsJson,
    Confirmed,
    DryRun,
    LanguageOf,
    Limit,
    Prefix,
    Quiet,
    Search,
    Silent,
    Since,
    Until,
    WelcomeState,
    Yes,
    read_text,
    require_yes,
)
from reach.cli.output import MARKUP, MISUSED, answer, by_command, configured, end, told

if TYPE_CHECKING:
    from pydantic import BaseModel

    from reach.people.model import Person
    from reach.settings import Settings

cli = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=MARKUP,
    help="Who signed up: find, add, change and erase people, and lists of them in and out.",
)
cli.command("import")(import_list)
cli.command("export")(export_people)

COLUMNS = (
    Column("id", "ID", 150, is_whole=True),
    Column("email", "Address"),
    Column("name", "Name"),
    Column("language", "Language", 100, is_whole=True),
    Column("welcome.state", "Welcome", is_whole=True),
    Column("confirmed_at", "Confirmed", is_whole=True),
    Column("created_at", "Signed up", 100, is_whole=True),
)
PARTS = (
    Column("id", "ID"),
    Column("email", "Address"),
    Column("name", "Name"),
    Column("description", "Description"),
    Column("language", "Language"),
    Column("confirmed_at", "Confirmed"),
    Column("created_at", "Signed up"),
    Column("updated_at", "Changed"),
    Column("welcome.state", "Welcome"),
    Column("welcome.sent_at", "Welcome sent"),
)
Sort = Literal["newest", "oldest", "address"]

Who = Annotated[
    str,
    typer.Argument(
        metavar="PERSON",
        help="Their address, in any spelling, or their id.",
        callback=read_text,
    ),
]
Description = Annotated[
    str | None, typer.Option(help="Their note; an empty one removes it.", metavar="TEXT")
]
Language = Annotated[
    str | None,
    typer.Option(help="The language of their emails: one of REACH_LANGUAGES.", metavar="CODE"),
]


@cli.command("list")
def list_all(  # noqa: PLR0913 - one for each filter
    *,
    search: Search = None,
    prefix: Prefix = None,
    confirmed: Confirmed = None,
    language: LanguageOf = None,
    welcome: WelcomeState = None,
    since: Since = None,
    until: Until = None,
    sort: Annotated[Sort, typer.Option(help="In which order.")] = "newest",
    limit: Limit = 50,
    all_: All = False,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """List people: all, or those that the options find."""
    settings = configured(sys.stderr)
    from reach.people import filters
    from reach.people.address import key_prefix

    key = key_prefix(prefix) if prefix else None
    chosen_by = filters.Filter(search, key, confirmed, language, welcome, since, until)
    with connected(settings) as database:

        def fetch(most: int, after: str | None) -> Any:
            return database.read(filters.page, chosen_by, sort=sort, limit=most, after=after)

        form = Form.chosen(as_json=json, quiet=quiet)
        show_list(Pages(fetch, None if all_ else limit), shown, COLUMNS, form)


@cli.command("show")
def show_one(who: Who, *, json: AsJson = False, quiet: Quiet = False) -> None:
    """Show a person."""
    settings = configured(sys.stderr)
    with connected(settings) as database:
        show(shown(_found(database, who)), PARTS, Form.chosen(as_json=json, quiet=quiet))


@cli.command()
def add(  # noqa: PLR0913 - what a person is made of
    email: Annotated[str, typer.Argument(metavar="ADDRESS", help="Their address.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Their name.")],
    *,
    description: Description = None,
    language: Language = None,
    welcome: Annotated[bool, typer.Option(help="Whether they get the welcome.")] = True,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Add a person. They get the welcome, unless you say otherwise."""
    settings = configured(sys.stderr)
    from reach.people import actions
    from reach.people.schemas import Add

    given = {"email": email, "name": name, "description": description, "language": language}
    body = _checked(Add, {k: v for k, v in given.items() if v is not None}, settings)
    with connected(settings) as database:
        added = database.write(actions.add, by_command(), body, settings, welcome=welcome)
    show(shown(added), PARTS, Form.chosen(as_json=json, quiet=quiet))


@cli.command()
def change(  # noqa: PLR0913 - what a person is made of
    who: Who,
    *,
    name: Annotated[str | None, typer.Option(help="Their name.", metavar="TEXT")] = None,
    description: Description = None,
    language: Language = None,
    json: AsJson = False,
    quiet: Silent = False,
) -> None:
    """Change a person's record. They get an email that says what was changed.

    Their address is theirs to change: they do so on their own page.
    """
    settings = configured(sys.stderr)
    from reach.people import actions
    from reach.people.schemas import Changes, wanted

    options = {"name": name, "description": description, "language": language}
    given = {option: value for option, value in options.items() if value is not None}
    if not given:
        end("Say what to change: --name, --description or --language.", MISUSED)
    changes = wanted(_checked(Changes, given, settings))
    with connected(settings) as database:
        person = _found(database, who)
        changed = database.write(
            actions.change, by_command(), person.id, changes, settings=settings
        )
    form = Form.chosen(as_json=json, quiet=quiet)
    if form.kind != "ids":
        show(shown(changed), PARTS, form)


@cli.command()
def erase(
    who: Who,
    *,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: AsJson = False,
    quiet: Silent = False,
) -> None:
    """Erase a person, with every message and all else that is stored of them."""
    settings = configured(sys.stderr)
    from reach.messages import filters
    from reach.people import actions

    with connected(settings) as database:
        person = _found(database, who)
        count = database.read(filters.count, filters.Filter(person_id=person.id)).found
        whom = f"{visible(person.name)} <{visible(person.email)}> with {_counted(count)}"
        if not dry_run:
            require_yes(f"Erase {whom}? This cannot be undone.", yes=yes)
            database.write(actions.erase, by_command(), person.id)
            database.scrub()
    if json:
        answer(as_json({"id": person.id, "messages": count, "dry_run": dry_run}, indent=2))
    elif not quiet:
        answer(f"{'Would erase' if dry_run else 'Erased'} {whom}.")


def shown(person: "Person") -> dict[str, Any]:
    """Show a person as the API does; without ``people.schemas``, which takes a while to import."""
    return {
        "id": person.id,
        "email": person.email,
        "name": person.name,
        "description": person.description,
        "language": person.language,
        "confirmed_at": person.confirmed_at,
        "created_at": person.created_at,
        "updated_at": person.updated_at,
        "welcome": {"state": person.welcome.state, "sent_at": person.welcome.sent_at},
    }


def _found(database: Connection, who: str) -> "Person":
    """Find a person by what a command was given. Raises NoSuchPerson."""
    from reach.people import queries
    from reach.people.address import key_prefix
    from reach.people.record import NoSuchPerson
    from reach.shapes import ID

    person: Person | None
    if ID.fits(who):
        person = database.read(queries.find, UUID(who))
    elif "@" in who:
        person = database.read(queries.find_by_key, key_prefix(who))
    else:
        end("PERSON is an address or an id.", MISUSED)
    if person is None:
        raise NoSuchPerson
    return person


def _checked(model: "type[BaseModel]", given: dict[str, Any], settings: "Settings") -> Any:
    """Check what was given by the API's own rules, and say what is wrong in its own words."""
    from reach.problems import Unprocessable
    from reach.web.body import validate

    try:
        return validate(model, given, settings)
    except Unprocessable as problem:
        end(told(problem), MISUSED)


def _counted(count: int) -> str:
    return "1 message" if count == 1 else f"{count:,} messages"
