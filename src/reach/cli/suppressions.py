"""`reach suppressions`: addresses that nothing is sent to."""

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import typer

from reach.cli.connection import Connection, connected
from reach.cli.forms import Column, Form, Pages, as_json, by_id, show, show_list, visible
from reach.cli.options import All, AsJson, DryRun, Limit, Quiet, Silent, Yes, read_text, require_yes
from reach.cli.output import MARKUP, MISUSED, answer, by_command, configured, end, told

if TYPE_CHECKING:
    from reach.messages.suppressions import Suppression

cli = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=MARKUP,
    help="Addresses that nothing is sent to: they bounced, complained, or an operator said so.",
)

PARTS = (
    Column("id", "ID", 150, is_whole=True),
    Column("email", "Address"),
    Column("cause", "Cause", is_whole=True),
    Column("created_at", "Since", is_whole=True),
    Column("updated_at", "Changed", 130, is_whole=True),
    Column("message_id", "Message", 190, is_whole=True),
    Column("text", "Words", 100),
)

Which = Annotated[
    str,
    typer.Argument(
        metavar="ADDRESS", help="The address, in any spelling, or the id.", callback=read_text
    ),
]


@cli.command("list")
def list_all(  # noqa: PLR0913 - one for each filter
    *,
    cause: Annotated[
        Literal["bounced", "complained", "operator"] | None,
        typer.Option(help="Why nothing is sent to them."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="A whole address, in any spelling.", metavar="ADDRESS", callback=read_text
        ),
    ] = None,
    limit: Limit = 50,
    all_: All = False,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """List addresses that nothing is sent to, newest first."""
    settings = configured(sys.stderr)
    from reach.messages import suppressions
    from reach.people.address import key_prefix

    if address is not None and "@" not in address:
        raise typer.BadParameter("It must be a whole address.", param_hint="--address")
    key = None if address is None else key_prefix(address)
    chosen_by = suppressions.Filter(cause, key)
    with connected(settings) as database:
        fetch = by_id(partial(database.read, suppressions.page, chosen_by))
        form = Form.chosen(as_json=json, quiet=quiet)
        show_list(Pages(fetch, None if all_ else limit), shown, PARTS, form)


@cli.command("show")
def show_one(which: Which, *, json: AsJson = False, quiet: Quiet = False) -> None:
    """Show why nothing is sent to an address."""
    settings = configured(sys.stderr)
    with connected(settings) as database:
        form = Form.chosen(as_json=json, quiet=quiet)
        show(shown(_found(database, which)), PARTS, form)


@cli.command()
def add(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The address.")],
    *,
    note: Annotated[
        str | None, typer.Option(help="Why, for other operators.", metavar="TEXT")
    ] = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Have nothing sent to an address, also if somebody signs up with it.

    Done again, it changes the note. One whose owner complained stays as it is.
    """
    settings = configured(sys.stderr)
    from reach.messages import actions
    from reach.people.suppressions import NewSuppression
    from reach.problems import Unprocessable
    from reach.web.body import validate

    try:
        wanted = validate(NewSuppression, {"email": address, "note": note}, settings)
    except Unprocessable as problem:
        end(told(problem), MISUSED)
    with connected(settings) as database:
        key, words = wanted.email.key, wanted.note or ""
        made, _ = database.write(actions.suppress, by_command(), key, words)
    show(shown(made), PARTS, Form.chosen(as_json=json, quiet=quiet))


@cli.command()
def lift(
    which: Which,
    *,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: AsJson = False,
    quiet: Silent = False,
) -> None:
    """Have mail sent to an address again.

    What ended as suppressed meanwhile: `reach messages retry --state suppressed --recipient …`.
    """
    settings = configured(sys.stderr)
    from reach.messages import actions

    with connected(settings) as database:
        found = _found(database, which)
        named = f"{visible(found.email_key)} ({found.cause})"
        if not dry_run:
            require_yes(f"Send to {named} again?", yes=yes)
            database.write(actions.lift, by_command(), found.id)
    if json:
        answer(as_json({**shown(found), "dry_run": dry_run}, indent=2))
    elif not quiet:
        answer(f"{'Would be' if dry_run else 'Now'} lifted: {named}.")


def shown(found: "Suppression") -> dict[str, Any]:
    """Show one as the API does; without ``people.suppressions``, which takes long to import."""
    names = ("cause", "text", "message_id", "created_at", "updated_at")
    fields = {name: getattr(found, name) for name in names}
    return {"id": found.id, "email": found.email_key, **fields}


def _found(database: Connection, which: str) -> "Suppression":
    """Find what a command was given. Raises NoSuchSuppression."""
    from reach.messages import suppressions
    from reach.people.address import key_prefix
    from reach.shapes import ID

    if ID.fits(which):
        return database.read(suppressions.find, UUID(which))  # type: ignore[no-any-return]
    if "@" not in which:
        end("ADDRESS is an address or an id.", MISUSED)
    found: Suppression | None = database.read(suppressions.find_by_key, key_prefix(which))
    if found is None:
        raise suppressions.NoSuchSuppression
    return found
