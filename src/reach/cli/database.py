"""`reach db`: what is done with the database as a whole."""

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from reach.cli.forms import as_json
from reach.cli.options import AsJson, read_text
from reach.cli.output import (
    FAILED,
    MARKUP,
    MISUSED,
    answer,
    configured,
    database_of,
    end,
    is_terminal,
    say,
)
from reach.cli.progress import progress
from reach.settings import Settings
from reach.settings.database_url import DatabaseUrl
from reach.transfer import Watcher

cli = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=MARKUP,
    help="The database as a whole: copy it, back it up.",
)

From = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="[the SQLite file in the data directory] Without a password: in a process's "
        "arguments all can see it, in PGPASSWORD or ~/.pgpass nobody.",
        metavar="URL",
    ),
]
To = Annotated[
    str | None,
    typer.Option(help="[REACH_DATABASE_URL] Without a password, too.", metavar="URL"),
]

NO_TARGET = "Name the target: REACH_DATABASE_URL (or REACH_DATABASE_URL_FILE), or --to."
SEEN = (
    "Warning: everybody who lists this machine's processes sees the password in {}. "
    "Leave it out, and set PGPASSWORD, or write it into ~/.pgpass."
)
INTERRUPTED = "Interrupted: nothing was copied. Run the same command again."
SAME_KEY = (
    "Give Reach the same secret key there: links in emails, and what their holders are known by, "
    "depend on it. It is "
)
KEEP_KEY = (
    "It does not hold the secret key, without which links in emails die. Keep that, elsewhere: "
    "it is "
)
POSTGRES_BACKUP = (
    "This is a Postgres database, which has its own tools: `pg_dump --format=custom`, or base "
    "backups and an archive of its log (CloudNativePG: Backup and ScheduledBackup). "
    "See docs/guides/backup-and-migration.md."
)


@cli.command()
def copy(from_: From = None, to: To = None, *, json: AsJson = False) -> None:
    """Copy everything into an empty database, and verify it: all of it, or nothing."""
    settings = configured(sys.stderr)
    file = f"sqlite:///{settings.data_dir / 'reach.sqlite3'}"
    source = _database(from_ or file, "--from")
    target = _target(settings, to)
    from reach.transfer.copy import copy as run
    from reach.transfer.databases import CannotCopy, NotThere

    say(f"From {source}\nto   {target}", sys.stderr)
    try:
        with _watched() as watcher:
            rows = asyncio.run(run(source, target, watcher))
    except NotThere as reason:
        end(str(reason), MISUSED)
    except CannotCopy as reason:
        end(str(reason), FAILED)
    except KeyboardInterrupt:
        say(INTERRUPTED, sys.stderr)
        raise
    counts = ", ".join(f"{count:,} {name}" for name, count in rows.items())
    said = f"Copied, and verified by count and checksum: {counts}."
    plain = {"rows": dict(rows)} if json else None
    _conclude(said, SAME_KEY + _key_of_source(source, settings), plain)


class _Bars(Watcher):
    """Draws a bar for each thing that is done, on a terminal."""

    def __init__(self) -> None:
        super().__init__(partial(say, stream=sys.stderr))
        self._stack = ExitStack()
        self._advance: Callable[[int, float | None], None] = lambda _rows, _done: None
        self._sum = 0

    def begin(self, what: str, rows: int) -> None:
        """Draw another one; what the last one was about stays as a line."""
        self.close()
        self.note(f"{what}: {rows:,}")
        self._sum, self._advance = 0, self._stack.enter_context(progress(what, rows))

    def advance(self, rows: int) -> None:
        """Draw it longer."""
        self._sum += rows
        self._advance(self._sum, self._sum)

    def close(self) -> None:
        """Take it off the terminal."""
        self._stack.close()


@contextmanager
def _watched() -> Iterator[Watcher]:
    """Say how far it is: by bars on a terminal, else by lines."""
    if not is_terminal(sys.stderr):
        yield Watcher(partial(say, stream=sys.stderr))
        return
    with closing(_Bars()) as bars:
        yield bars


def _target(settings: Settings, to: str | None) -> DatabaseUrl:
    if to is not None:
        return _database(to, "--to")
    if not settings.database_url.get_secret_value():
        end(NO_TARGET, MISUSED)
    return settings.direct_database


def _database(text: str, option: str) -> DatabaseUrl:
    try:
        database = DatabaseUrl.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
    if database.url.password:
        say(SEEN.format(option), sys.stderr)
    return database


def _key_of_source(source: DatabaseUrl, settings: Settings) -> str:
    """Say where the secret key is that signed what the source holds, and never what it is.

    Not what is set here: that, like ``REACH_DATABASE_URL``, may be the target's already.
    """
    file = Path(source.url.database or "").absolute().parent / "secret-key"
    if not source.is_sqlite or not file.exists():
        return (
            "what REACH_SECRET_KEY was where the source ran, "
            "or what `secret-key` in its data directory holds."
        )
    said = f"in {file}."
    if not settings.secret_keys:
        return said
    if _held_in(file) in settings.secret_keys:
        return f"{said} REACH_SECRET_KEY has it here."
    return (
        f"{said} REACH_SECRET_KEY is another one here: if the source ran with that, keep both; "
        "several are separated by commas."
    )


def _held_in(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except (OSError, ValueError):  # it may be somebody else's to read
        return None


def _place_of_key(settings: Settings) -> str:
    """Say where the secret key is that is used here, and never what it is."""
    file = settings.data_dir / "secret-key"
    if settings.secret_keys:
        return "what REACH_SECRET_KEY is here."
    return f"in {file}." if file.exists() else "REACH_SECRET_KEY, which is not set here."


@cli.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Where to write it; a new file.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace the file, once whole.")] = False,
    json: AsJson = False,
) -> None:
    """Write a SQLite database into a file, as it is now, while Reach goes on."""
    settings = configured(sys.stderr)
    read_text(str(file))  # SQLite itself opens it, by its name
    if not settings.database.is_sqlite:
        end(POSTGRES_BACKUP, MISUSED)
    from reach.transfer.backup import CannotBackUp, back_up

    database = Path(settings.database.url.database or "")
    try:
        with database_of(settings), _watched() as watcher:
            size_bytes = back_up(
                database, file, watcher, replaces=force, data_dir=settings.data_dir
            )
    except CannotBackUp as reason:
        end(str(reason), FAILED)
    said = f"Backed up into {file} ({size_bytes / 1e6:,.1f} MB): whole, and checked."
    plain = {"file": str(file), "bytes": size_bytes} if json else None
    _conclude(said, KEEP_KEY + _place_of_key(settings), plain)


def _conclude(said: str, advice: str, plain: Mapping[str, Any] | None) -> None:
    """Say what was done, and what to do: that is for people, and so beside ``plain`` JSON."""
    answer(said if plain is None else as_json(plain, indent=2))
    if plain is None:
        answer(advice)
    else:
        say(advice, sys.stderr)
