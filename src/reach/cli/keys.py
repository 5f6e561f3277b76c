"""`reach keys`: operators' API keys."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reach.cli.connection import connected
from reach.cli.forms import Column, Form, Pages, as_json, by_id, show_list
from reach.cli.options import All, AsJson, DryRun, Limit, Quiet, Silent, Yes, read_text, require_yes
from reach.cli.output import (
    FAILED,
    MARKUP,
    MISUSED,
    Unwritten,
    answer,
    by_command,
    configured,
    end,
    say,
)

if TYPE_CHECKING:
    from reach.auth.audit import Actor
    from reach.auth.keys import ApiKey
    from reach.db.transaction import Transaction

cli = typer.Typer(no_args_is_help=True, rich_markup_mode=MARKUP, help="Operators' API keys.")

COLUMNS = (
    Column("id", "ID", 120, is_whole=True),
    Column("prefix", "Key", is_whole=True),
    Column("state", "State", is_whole=True),
    Column("name", "Name"),
    Column("scopes", "Scopes"),
    Column("created_at", "Made", 140, is_whole=True),
    Column("expires_at", "Expires", 100, is_whole=True),
    Column("last_used_at", "Last used", is_whole=True),
)


def _is_fit_for_a_list(name: str) -> str:
    from reach.auth import keys

    try:
        return keys.fit_name(name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _scopes() -> list[str]:
    from reach.auth.keys import SCOPES

    return list(SCOPES)


KeyName = Annotated[
    str,
    typer.Argument(metavar="NAME", callback=_is_fit_for_a_list, help="What a list shows it by."),
]
ExpiresDays = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=36500,
        metavar="DAYS",
        help="For how many days it is valid; for ever, by default.",
    ),
]
Scope = Annotated[
    list[str],
    typer.Option(
        help="What it may do, such as people:read. May be given several times.",
        metavar="SCOPE",
        autocompletion=_scopes,
    ),
]


@cli.command()
def create(
    name: KeyName,
    scope: Scope,
    expires_days: ExpiresDays = None,
    *,
    json: AsJson = False,
) -> None:
    """Make a key and print it, once, alone on stdout."""
    settings = configured(sys.stderr)
    from reach.auth import actions, keys

    unknown = sorted(set(scope) - set(keys.SCOPES))
    if unknown:
        end(f"No such scope. Scopes are: {', '.join(keys.SCOPES)}", MISUSED)
    expires_at = None if expires_days is None else datetime.now(UTC) + timedelta(expires_days)
    text = keys.generate()
    with connected(settings) as database:
        made, others = database.write(_add, by_command(), text, name, scope, expires_at)
        if others:
            say(f"There is a valid key of this name already: {_listed(others)}", sys.stderr)
        try:
            answer(as_json({**shown(made), "key": text}, indent=2) if json else text)
        except Unwritten as error:
            # Nobody has it, and nobody could know which of the list it is.
            database.write(actions.revoke_key_meant, by_command(), text)
            raise Unwritten(f"{error} The key has been revoked.") from None


@cli.command()
def revoke(
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY",
            help="Its name, its id, or how it begins: `rk_` and 8 characters.",
            callback=read_text,
        ),
    ],
    *,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: AsJson = False,
    quiet: Silent = False,
) -> None:
    """Revoke a key: it opens nothing any more, and cannot be brought back.

    If several have the name, none is revoked: say which by its id.
    """
    settings = configured(sys.stderr)
    from reach.auth import actions, keys

    with connected(settings) as database:
        try:
            meant = database.read(keys.meant, key)
        except keys.AmbiguousKey as problem:
            words = f"{problem.title}. Nothing was done. {problem.detail}{_listed(problem.found)}"
            end(words, FAILED)
        if not dry_run:
            require_yes(f"Revoke {_named(meant)} for good?", yes=yes)
            meant = database.write(actions.revoke_key, by_command(), meant.id)
    if json:
        answer(as_json({**shown(meant), "dry_run": dry_run}, indent=2))
    elif not quiet:
        answer(f"{'Would revoke' if dry_run else 'Revoked'} {_named(meant)}.")


@cli.command("list")
def list_all(
    *, limit: Limit = 50, all_: All = False, json: AsJson = False, quiet: Quiet = False
) -> None:
    """List the keys, newest first, without their secrets."""
    settings = configured(sys.stderr)
    from reach.auth import keys

    with connected(settings) as database:
        pages = Pages(by_id(partial(database.read, keys.page)), None if all_ else limit)
        show_list(pages, shown, COLUMNS, Form.chosen(as_json=json, quiet=quiet))


def shown(key: "ApiKey") -> dict[str, Any]:
    """Show a key as the API does."""
    return {
        "id": key.id,
        "name": key.name,
        "prefix": f"rk_{key.prefix}",
        "scopes": sorted(key.scopes),
        "state": key.state,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


def _add(  # noqa: PLR0913, PLR0917 - what a key is made of
    tx: "Transaction",
    actor: "Actor",
    text: str,
    name: str,
    scopes: list[str],
    expires_at: datetime | None,
) -> "tuple[ApiKey, Sequence[ApiKey]]":
    """Store a key; returns it, and the valid ones that have its name already."""
    from reach.auth import actions, keys

    others = keys.named(tx, name)
    made = actions.create_key(tx, actor, text, name, scopes, expires_at=expires_at)
    return made, others


def _named(key: "ApiKey") -> str:
    return f"rk_{key.prefix}… ({key.name})"


def _listed(found: Sequence["ApiKey"]) -> str:
    """Tell keys of one name apart, a line for each: of a key itself, nothing is for stderr."""

    def line(key: "ApiKey") -> str:
        used = f"last used {_date(key.last_used_at)}" if key.last_used_at else "never used"
        return f"\n  {key.id}  made {_date(key.created_at)}, {used}"

    return "".join(map(line, found))


def _date(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
