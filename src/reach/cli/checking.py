"""`reach migrate` and `check`: what is done before anything runs."""

import asyncio
import sys

import typer

from reach.cli.configured import configured
from reach.cli.output import FAILED, answer, end, say


def migrate() -> None:
    """Bring the database to this version's schema. It can be repeated."""
    settings = configured(sys.stderr)
    from reach import keyfiles  # noqa: PLC0415 - heavy
    from reach.db.migrate import CannotMigrate, Patience, migrate  # noqa: PLC0415 - heavy

    # A database of its own place needs no data directory, which may be where nobody can write.
    if settings.has_database_in_data_dir:
        keyfiles.make_data_dir(settings)
    try:
        at = migrate(
            settings.database,
            say=lambda line: say(line, sys.stderr),
            patience=Patience.beside(settings.database_seconds),
        )
    except CannotMigrate as reason:
        end(str(reason), FAILED)
    answer(f"The schema is at {at}.")


def check() -> None:
    """Show the effective configuration and test what it names."""
    settings = configured(sys.stderr)
    from reach.checks import check_all  # noqa: PLC0415 - heavy

    is_well = asyncio.run(check_all(settings, answer))
    raise typer.Exit(0 if is_well else FAILED)
