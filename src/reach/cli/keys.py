"""`reach keys`: operators' API keys."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

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
    write,
)

if TYPE_CHECKING:
    from reach.auth.audit import Actor
    from reach.auth.keys import ApiKey
    from reach.db.transaction import Transaction

cli = typer.Typer(no_args_is_help=True, rich_markup_mode=MARKUP, help="Operators' API keys.")


def _is_fit_for_a_list(name: str) -> str:
    from reach.auth import keys

    try:
        return keys.fit_name(name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


KeyName = Annotated[str, typer.Argument(callback=_is_fit_for_a_list)]
ExpiresDays = Annotated[float | None, typer.Option(min=0, max=36500, help="Never, by default.")]
Scope = Annotated[list[str], typer.Option(help="May be given several times.")]


@cli.command()
def create(
    name: KeyName,
    scope: Scope,
    expires_days: ExpiresDays = None,
) -> None:
    """Make a key and print it, once, alone on stdout."""
    settings = configured(sys.stderr)
    from reach.auth import actions, keys

    unknown = sorted(set(scope) - set(keys.SCOPES))
    if unknown:
        end(f"No such scope. Scopes are: {', '.join(keys.SCOPES)}", MISUSED)
    expires_at = None if expires_days is None else datetime.now(UTC) + timedelta(expires_days)
    text = keys.generate()
    others = write(settings, _add, by_command(), text, name, scope, expires_at)
    if others:
        say(f"There is a valid key of this name already: {_listed(others)}", sys.stderr)
    try:
        answer(text)
    except Unwritten as error:
        # Nobody has it, and nobody could know which of the list it is.
        write(settings, actions.revoke_key_meant, by_command(), text)
        raise Unwritten(f"{error} The key has been revoked.") from None


@cli.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its name, its id, or `rk_` and 8 characters.")],
) -> None:
    """Revoke a key. If several have the name, none is revoked: say which by its id."""
    settings = configured(sys.stderr)
    from reach.auth import actions, keys

    try:
        revoked = write(settings, actions.revoke_key_meant, by_command(), key)
    except keys.AmbiguousKey as problem:
        end(f"{problem.title}. Nothing was done. {problem.detail}{_listed(problem.found)}", FAILED)
    answer(f"Revoked rk_{revoked.prefix}… ({revoked.name}).")


@cli.command("list")
def list_all() -> None:
    """List the keys, without their secrets."""
    settings = configured(sys.stderr)
    from reach.auth import keys

    for key in write(settings, keys.all_keys):
        scopes = " ".join(sorted(key.scopes))
        answer(f"{key.id}  rk_{key.prefix}…  {key.state:8}  {key.name}  {scopes}")


def _add(  # noqa: PLR0913, PLR0917 - what a key is made of
    tx: "Transaction",
    actor: "Actor",
    text: str,
    name: str,
    scopes: list[str],
    expires_at: datetime | None,
) -> Sequence["ApiKey"]:
    """Store a key; returns the valid ones that have its name already."""
    from reach.auth import actions, keys

    others = keys.named(tx, name)
    actions.create_key(tx, actor, text, name, scopes, expires_at=expires_at)
    return others


def _listed(found: Sequence["ApiKey"]) -> str:
    """Tell keys of one name apart, a line for each: of a key itself, nothing is for stderr."""

    def line(key: "ApiKey") -> str:
        used = f"last used {_date(key.last_used_at)}" if key.last_used_at else "never used"
        return f"\n  {key.id}  made {_date(key.created_at)}, {used}"

    return "".join(map(line, found))


def _date(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
