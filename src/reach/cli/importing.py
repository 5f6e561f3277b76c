"""`reach people import`: a list from elsewhere."""

import asyncio
import errno
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, NamedTuple

import typer

from reach.cli.forms import as_json
from reach.cli.output import (
    FAILED,
    INTERRUPTED,
    MISUSED,
    answer,
    by_command,
    configured,
    database_of,
    end,
)
from reach.cli.progress import progress

if TYPE_CHECKING:
    from reach.settings import Settings
    from reach.transfer.importing.adding import Counts
    from reach.transfer.importing.checking import Checker
    from reach.transfer.importing.reading import Reader
    from reach.transfer.importing.rejects import Rejects

#: A transaction of many rows may have to wait for others, and nobody waits for an answer here.
PATIENCE_SECONDS = 30.0
GO_ON = "Run the same command again: it goes on, and nobody is added or written to twice."
MEND = "Mend the list, and run the command again: nobody is added or written to twice."
#: What only writing fails with: the file of what is not taken, not the list.
IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_SOURCE = (
    "--confirmed says that they all agreed: say by what, with --consent-source (“newsletter form, "
    "double opt-in, until 2026”). It is kept with each of them."
)


class Done(NamedTuple):
    """What became of a list, and where its rows are that were not taken.

    ``stopped``: why it was not read to its end; ``code``: how the command ends then. ``hint``: what
    to do if part of it was added.
    """

    counts: "Counts"
    rejects: Path | None = None
    stopped: str | None = None
    code: int = FAILED
    hint: str = GO_ON


def import_list(  # noqa: PLR0913 - how lists differ
    file: Annotated[
        str, typer.Argument(help="CSV or NDJSON; `-` is the standard input.", metavar="FILE")
    ],
    *,
    format: Annotated[
        Literal["csv", "ndjson"] | None, typer.Option(help="[by its name, or how it begins]")
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="[found out] Of CSV: `;`, say, or `tab`.", metavar="CHAR")
    ] = None,
    encoding: Annotated[
        Literal["utf-8", "utf-16", "cp1252", "latin-1"],
        typer.Option(help="Excel for Windows writes `cp1252`, and `utf-16` as “Unicode text”."),
    ] = "utf-8",
    map: Annotated[  # noqa: A002 - the option's name
        list[str] | None,
        typer.Option(
            help="Which column is a field: `email=Address`, `name=First+Last`, `status=` for none; "
            "again for others.",
            metavar="FIELD=COLUMN",
        ),
    ] = None,
    welcome: Annotated[
        bool, typer.Option("--welcome/--no-welcome", help="Send those who are new the welcome.")
    ] = False,
    confirmed: Annotated[
        bool,
        typer.Option(
            "--confirmed",
            help="They have confirmed their addresses; not those of whom "
            "the list says otherwise. Needs --consent-source.",
        ),
    ] = False,
    consent_source: Annotated[
        str | None,
        typer.Option(help="Where they agreed, and to what; kept with each.", metavar="TEXT"),
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option(
            help="[FILE.rejected.csv] A new file for the rows that are not taken.",
            metavar="FILE",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look at all of it, add nobody.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="The counts, as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Add the people of a list from elsewhere: a table, or what another service exports.

    The names that Excel, Google Contacts, Mailchimp and listmonk give their columns are known. Who
    is here already stays as they are, so the same list can be imported again. Rows that are not
    taken, with the reasons, are in a file of their own; then the exit code is 1.
    """
    settings = configured(sys.stderr)
    source = _source(consent_source, confirmed=confirmed)
    from reach.transfer.importing.columns import parse_map
    from reach.transfer.importing.reading import Dialect

    try:
        chosen = parse_map(map or [])
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--map") from None
    dialect = Dialect(format, _delimiter(delimiter), encoding)
    asked = _Asked(settings, file, dialect, chosen, source, rejects, welcome, confirmed, dry_run)
    with database_of(settings), _opened(file) as stream:
        done = asked.run(stream, quiet=quiet)
    asked.tell(done, json=json, quiet=quiet)


def _source(text: str | None, *, confirmed: bool) -> str | None:
    """Give what is kept as the source of consent; end with 2 where it is needed, or bad."""
    from reach.people.consent import SOURCE_LENGTH

    source = (text or "").strip() or None
    if confirmed and source is None:
        end(NO_SOURCE, MISUSED)
    if source and (len(source) > SOURCE_LENGTH or not source.isprintable()):
        end(f"--consent-source: one line of at most {SOURCE_LENGTH} characters.", MISUSED)
    return source


def _delimiter(text: str | None) -> str | None:
    given = {"tab": "\t", "\\t": "\t"}.get(text or "", text)
    if given is not None and (len(given) != 1 or given in '"\r\n'):
        raise typer.BadParameter("It is one character.", param_hint="--delimiter")
    return given


def _opened(file: str) -> BinaryIO:
    from reach.transfer.importing.reading import opened

    try:
        return opened(file)
    except OSError as error:
        end(f"{file} cannot be read: {error.strerror}.", MISUSED)


class _Asked(NamedTuple):
    """An import, as it was asked for."""

    settings: "Settings"
    file: str
    dialect: Any
    chosen: Any
    source: str | None
    rejects: Path | None
    welcome: bool
    confirmed: bool
    dry_run: bool

    def rejects_path(self, form: str) -> Path:
        """Choose where the rows go that are not taken."""
        if self.rejects is not None:
            if self.rejects.exists():
                end(f"{self.rejects} is there already: name a new file.", MISUSED)
            return self.rejects
        return Path(f"{'import' if self.file == '-' else self.file}.rejected.{form}")

    def run(self, stream: BinaryIO, *, quiet: bool) -> Done:
        """Import it; end where it is misused."""
        from reach.db.errors import DatabaseUnavailable, NoDatabase
        from reach.transfer.importing.adding import Counts
        from reach.transfer.importing.checking import Checker
        from reach.transfer.importing.columns import BadColumns
        from reach.transfer.importing.reading import BadFile, Reader
        from reach.transfer.importing.rejects import rejects_file

        counts, path = Counts(), None
        try:
            reader = Reader(stream, self.dialect, self.file)
            checker = Checker(
                self.settings,
                self.chosen,
                confirmed=self.confirmed,
                guarded=reader.format == "csv",
            )
            path = self.rejects_path(reader.format)
            with rejects_file(
                path, reader.format, reader.names, replaces=self.rejects is None
            ) as rejects:
                asyncio.run(self._add(stream, reader, checker, rejects, counts, quiet=quiet))
        except BadColumns as error:
            end(str(error), MISUSED)
        except OSError as error:
            place = error.filename or (path if error.errno in IS_FULL else self.file)
            return Done(counts, path, f"{place}: {error.strerror}.")
        except BadFile as error:
            return Done(counts, path, str(error), hint=MEND)
        except NoDatabase:
            raise
        except DatabaseUnavailable as problem:
            return Done(counts, path, f"{problem.title}. {problem.detail or ''}".strip())
        except KeyboardInterrupt:
            return Done(counts, path, "Interrupted.", INTERRUPTED)
        return Done(counts, path)

    async def _add(  # noqa: PLR0913 - the parts of an import
        self,
        stream: BinaryIO,
        reader: "Reader",
        checker: "Checker",
        rejects: "Rejects",
        counts: "Counts",
        *,
        quiet: bool,
    ) -> None:
        from reach.db.connect import open_database
        from reach.db.schema import require_database
        from reach.people.actions import Import
        from reach.transfer.importing.adding import add_list
        from reach.transfer.importing.reading import end_wait

        details = {"format": reader.format, "confirmed": self.confirmed}
        seconds = max(self.settings.database_seconds, PATIENCE_SECONDS)
        patient = self.settings.model_copy(update={"database_seconds": seconds})
        whole = Import(by_command(), patient, self.source, details, welcome=self.welcome)
        size = os.fstat(stream.fileno()).st_size or None  # a pipe has none
        database = None if self.dry_run else open_database(patient)
        try:
            if database is not None:
                await database.read(require_database)
            with progress("importing", size, quiet=quiet) as advance:
                await add_list(
                    database,
                    reader,
                    checker,
                    rejects,
                    whole,
                    counts,
                    lambda place: advance(counts.rows, place if size else None),
                )
        except asyncio.CancelledError:  # Ctrl-C: it ends once no thread reads any more
            end_wait(stream)
            raise
        finally:
            if database is not None:
                await database.close()

    def tell(self, done: Done, *, json: bool, quiet: bool) -> None:
        """Say what became of it, and end with 1 if that is not all that was asked for."""
        counts = done.counts
        if json:
            answer(as_json({**asdict(counts), "dry_run": self.dry_run}, indent=2))
        elif not quiet:
            said = "would be looked up" if self.dry_run else "were here already"
            first = "Nobody was added (--dry-run)" if self.dry_run else f"{counts.added:,} added"
            known = "" if self.dry_run else f", {counts.known:,} {said}"
            answer(
                f"{counts.rows:,} rows: {first}{known}, {counts.repeated:,} repeated an address, "
                f"{counts.rejected:,} not taken."
            )
        if done.stopped is not None:
            goes_on = bool(counts.rows) and not self.dry_run
            end(f"{done.stopped} {done.hint if goes_on else ''}".strip(), done.code)
        if counts.rejected:
            end(f"The rows that were not taken, and why: {done.rejects}", FAILED)
