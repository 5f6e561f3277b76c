"""`reach keys`: operators' API keys."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from reach.cli.configured import configured, write
from reach.cli.output import MISUSED, Unwritten, answer, end

KEY_NAME_CHARACTERS = 100

cli = typer.Typer(no_args_is_help=True, help="Operators' API keys.")


def _is_fit_for_a_list(name: str) -> str:
    if not 0 < len(name.strip()) <= KEY_NAME_CHARACTERS or not name.isprintable():
        raise typer.BadParameter(f"It needs 1 to {KEY_NAME_CHARACTERS} printable characters.")
    return name


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
    from reach.access import keys  # noqa: PLC0415 - heavy

    unknown = sorted(set(scope) - set(keys.SCOPES))
    if unknown:
        end(f"No such scope. Scopes are: {', '.join(keys.SCOPES)}", MISUSED)
    expires_at = None if expires_days is None else datetime.now(UTC) + timedelta(expires_days)
    text = keys.generate()
    write(settings, keys.add, text, name, scope, expires_at)
    try:
        answer(text)
    except Unwritten as error:
        # Nobody has it, and nobody could know which of the list it is.
        write(settings, keys.revoke, text)
        raise Unwritten(f"{error} The key has been revoked.") from None


@cli.command()
def revoke(prefix_or_name: str) -> None:
    """Revoke a key, by its name or by how it begins (`rk_` and 8 characters)."""
    settings = configured(sys.stderr)
    from reach.access import keys  # noqa: PLC0415 - heavy

    for key in write(settings, keys.revoke, prefix_or_name):
        answer(f"Revoked rk_{key.prefix}… ({key.name}).")


@cli.command("list")
def list_all() -> None:
    """List the keys, without their secrets."""
    settings = configured(sys.stderr)
    from reach.access import keys  # noqa: PLC0415 - heavy

    for key in write(settings, keys.all_keys):
        state = "revoked" if key.revoked_at else "valid"
        if key.expires_at and key.expires_at < datetime.now(UTC):
            state = "expired"
        answer(f"rk_{key.prefix}…  {state:8}  {key.name}  {' '.join(sorted(key.scopes))}")
