"""`reach reports`: what mail servers and providers say of emails after they were sent."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reach.cli.forms import Column, Form, Pages, show_list
from reach.cli.output import MARKUP, MISUSED, configured, end

if TYPE_CHECKING:
    from reach.reports.reading import Reading

cli = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=MARKUP,
    help="What mail servers and providers say of emails after they were sent.",
)

STDIN = "-"
#: Larger ones are read so far, as those that come in are.
FILE_BYTES = 64 << 20
OF_VERDICT = (
    *("kind", "category", "recipient", "original_recipient"),
    *("smtp_code", "enhanced_code", "text"),
)
COLUMNS = (
    Column("file", "File"),
    Column("sort", "Sort", is_whole=True),
    Column("kind", "Kind", is_whole=True),
    Column("category", "Category", is_whole=True),
    Column("recipient", "Recipient", 90),
    Column("original_recipient", "Before", 160),
    Column("smtp_code", "Code", 100),
    Column("enhanced_code", "Enhanced", 100, is_whole=True),
    Column("clues", "Clues", 120),
    Column("text", "Text", 140),
)


@cli.callback()
def reports() -> None:
    """What mail servers and providers say of emails after they were sent."""


@cli.command("read")
def read_files(
    files: Annotated[
        list[str],
        typer.Argument(help="Emails as they came; `-` is the standard input.", metavar="FILE..."),
    ],
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON: an item for each verdict.")
    ] = False,
) -> None:
    """Show what Reach makes of emails: bounces, complaints, or none of these.

    A line for each verdict, or for an email that has none. No database is needed, and nothing is
    recorded.
    """
    configured(sys.stderr)
    from reach.reports.reading import read

    contents = [(name, _content(name)) for name in files]
    found = [row for name, content in contents for row in _rows(name, read(content))]
    pages = Pages(lambda limit, after: _page(found, limit, after or 0), None)
    show_list(pages, lambda row: row, COLUMNS, Form.chosen(as_json=as_json, quiet=False))


def _content(name: str) -> bytes:
    try:
        if name == STDIN:
            with open(0, "rb", closefd=False) as stdin:
                return stdin.read(FILE_BYTES)
        with Path(name).open("rb") as file:
            return file.read(FILE_BYTES)
    except OSError as error:
        end(f"{name} cannot be read: {error.strerror}.", MISUSED)


def _rows(name: str, reading: "Reading") -> Iterator[dict[str, Any]]:
    """Make a row for each verdict; one without a kind, if there is no report."""
    from reach.reports.ids import kinds

    file = "(standard input)" if name == STDIN else name
    report = reading.report
    clues = [] if report is None else list(kinds(report.clues))
    for verdict in [None] if report is None else report.verdicts:
        said = {one: getattr(verdict, one, None) or None for one in OF_VERDICT}
        yield {"file": file, "sort": reading.sort, **said, "clues": clues}


def _page(
    rows: Sequence[dict[str, Any]], limit: int, begin: int
) -> tuple[Sequence[dict[str, Any]], int | None]:
    until = begin + limit
    return rows[begin:until], until if until < len(rows) else None
