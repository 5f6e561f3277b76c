"""`reach people export`: people as a file."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reach.cli.options import Confirmed, LanguageOf, Prefix, Search, Since, Until, WelcomeState
from reach.cli.output import (
    MISUSED,
    Unwritten,
    by_command,
    configured,
    database_of,
    end,
    say,
    stdout,
    write,
)
from reach.cli.progress import progress

if TYPE_CHECKING:
    from reach.people.exporting import Wanted
    from reach.settings import Settings

THERE = "{} is there already: --force replaces it."


def export_people(  # noqa: PLR0913 - one for each filter
    *,
    format: Annotated[Literal["csv", "ndjson"], typer.Option(help="How it is written.")] = "csv",
    output: Annotated[
        Path | None,
        typer.Option(help="[stdout] A new file, there once it is whole.", metavar="FILE"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file, once whole.")] = False,
    columns: Annotated[
        str | None,
        typer.Option(help="Which, in which order, with commas between them.", metavar="NAMES"),
    ] = None,
    search: Search = None,
    prefix: Prefix = None,
    confirmed: Confirmed = None,
    language: LanguageOf = None,
    welcome: WelcomeState = None,
    since: Since = None,
    until: Until = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Write people as CSV, safe to open in a spreadsheet, or as NDJSON: newest first.

    `reach people import` reads it again. It is not all of one moment: who signs up meanwhile is not
    in it.
    """
    settings = configured(sys.stderr)
    from reach.people.address import key_prefix
    from reach.people.exporting import Wanted
    from reach.people.filters import Filter

    chosen_by = Filter(
        search or None,
        key_prefix(prefix) if prefix else None,
        confirmed,
        language,
        welcome,
        since,
        until,
    )
    wanted = Wanted(chosen_by, format, _columns(columns))
    with database_of(settings):
        if output is None:
            rows = asyncio.run(_export(settings, wanted, stdout(), quiet=quiet))
        else:
            with _new(output, replaces=force) as descriptor:
                rows = asyncio.run(_export(settings, wanted, descriptor, quiet=quiet))
    if output is not None and not quiet:
        say(f"{rows:,} people are in {output}.", sys.stderr)


def _columns(text: str | None) -> Sequence[str]:
    from reach.people.exporting import COLUMNS, USUAL

    if text is None:
        return USUAL
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in COLUMNS]:
        named = ", ".join(unknown)
        end(f"No such column: {named}. Columns are: {', '.join(COLUMNS)}.", MISUSED)
    return names


@contextmanager
def _new(file: Path, *, replaces: bool) -> Iterator[int]:
    """Give a descriptor to write by; the file is there once all was written. Raises Unwritten."""
    from reach.files import new_file

    if not replaces and file.exists():  # before anything is read
        end(THERE.format(file), MISUSED)
    try:
        with new_file(file, replaces=replaces) as new, new.open("wb", buffering=0) as stream:
            yield stream.fileno()
    except FileExistsError:
        end(THERE.format(file), MISUSED)
    except OSError as error:
        raise Unwritten(f"{file} cannot be written: {error.strerror}.") from None


async def _export(settings: "Settings", wanted: "Wanted", descriptor: int, *, quiet: bool) -> int:
    """Write them; returns how many."""
    from reach.db.connect import open_database
    from reach.db.schema import require_database
    from reach.people.exporting import Export

    database = open_database(settings)
    try:
        await database.read(require_database)
        export = await Export.begin(database, by_command(), wanted)
        with progress("exporting", None, quiet=quiet or descriptor == stdout()) as advance:
            async for part in export:
                write(part, descriptor)
                advance(export.rows, None)
        return export.rows
    finally:
        await database.close()
