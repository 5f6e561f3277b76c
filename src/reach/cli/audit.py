"""`reach audit`: which operator changed what, and when."""

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from reach.cli.connection import connected
from reach.cli.forms import Column, Form, Pages, by_id, show_list
from reach.cli.options import All, AsJson, Limit, Quiet, Since, Until, read_id, read_text
from reach.cli.output import MARKUP, MISUSED, configured, end

if TYPE_CHECKING:
    from reach.auth.audit import Entry

cli = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=MARKUP,
    help="What operators changed, by the API, the console or a command.",
)

COLUMNS = (
    Column("id", "ID", None),
    Column("at", "When", is_whole=True),
    Column("actor.kind", "Who", is_whole=True),
    Column("actor.id", "Its id"),
    Column("actor.via", "By", 90),
    Column("action", "Did", is_whole=True),
    Column("subject", "To", 120),
    Column("count", "Count"),
    Column("details", "Details", 100),
)


@cli.callback()
def audit() -> None:
    """Have `list` said: Typer would leave the name of a lone command out."""


def _actions() -> list[str]:
    from reach.auth.audit import ACTIONS

    return list(ACTIONS)


@cli.command("list")
def list_all(  # noqa: PLR0913 - one for each filter
    *,
    actor: Annotated[
        str | None,
        typer.Option(
            help="Whose: a key's id, a subject, or a user number.",
            metavar="ID",
            callback=read_text,
        ),
    ] = None,
    action: Annotated[
        str | None,
        typer.Option(
            help="What was done, such as person.erase.", metavar="ACTION", autocompletion=_actions
        ),
    ] = None,
    subject: Annotated[
        UUID | None,
        typer.Option(
            parser=read_id, metavar="ID", help="To whom or what: a person, a message, a key."
        ),
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    all_: All = False,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """List what operators changed, newest first."""
    settings = configured(sys.stderr)
    from reach.auth import audit as trail

    if action is not None and action not in trail.ACTIONS:
        end(f"No such action. Actions are: {', '.join(trail.ACTIONS)}", MISUSED)
    chosen_by = trail.Filter(actor, action, subject, since, until)
    with connected(settings) as database:
        pages = Pages(by_id(partial(database.read, trail.page, chosen_by)), None if all_ else limit)
        show_list(pages, shown, COLUMNS, Form.chosen(as_json=json, quiet=quiet))


def shown(entry: "Entry") -> dict[str, Any]:
    """Show an entry as the API does."""
    actor = entry.actor
    return {
        "id": entry.id,
        "at": entry.at,
        "actor": {"kind": actor.kind, "id": actor.id, "via": actor.via},
        "action": entry.action,
        "subject": entry.subject,
        "count": entry.count,
        "details": entry.details,
    }
