"""`reach migrate` and `check`: what is done before anything runs."""

import asyncio
import sys
from typing import Annotated

import typer

from reach.cli.configured import configured, database_of
from reach.cli.output import FAILED, answer, end, say
from reach.cli.painting import painter


def migrate() -> None:
    """Bring the database to this version's schema. It can be repeated."""
    settings = configured(sys.stderr)
    from reach import keyfiles  # noqa: PLC0415 - heavy
    from reach.db.migrate import CannotMigrate, Patience, migrate  # noqa: PLC0415 - heavy

    # A database of its own place needs no data directory, which may be where nobody can write.
    if settings.has_database_in_data_dir:
        keyfiles.make_data_dir(settings)
    try:
        with database_of(settings):
            at = migrate(
                settings.direct_database,
                say=lambda line: say(line, sys.stderr),
                patience=Patience.beside(settings.database_seconds),
            )
    except CannotMigrate as reason:
        end(str(reason), FAILED)
    answer(f"The schema is at {at}.")


def check(
    *,
    all_: Annotated[
        bool, typer.Option("--all", help="Show the settings that are as by default, too.")
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(
            help="Send one real message there, too: the welcome, with sample data and links.",
            metavar="ADDRESS",
        ),
    ] = None,
) -> None:
    """Show the settings that count and test what they name. Exit code 0: all is well."""
    settings = configured(sys.stderr)
    from reach.checks import check_all  # noqa: PLC0415 - heavy
    from reach.people.address import parse_address  # noqa: PLC0415 - likewise

    utf8, intranet, recipient = settings.smtputf8, settings.intranet, None
    try:
        if to is not None:
            recipient = parse_address(to, smtputf8=utf8, intranet=intranet).recipient
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--to") from None
    paint = painter()
    code = asyncio.run(
        check_all(settings, lambda line: answer(paint(*line)), shows_all=all_, to=recipient)
    )
    raise typer.Exit(code)
