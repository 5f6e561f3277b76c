"""A backup of the SQLite file as it is at one moment, while Reach goes on writing to it."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from reach.db.errors import EMPTY, DatabaseUnavailable, NoDatabase
from reach.db.sqlite_connection import opened, require_ours, revision_of
from reach.db.sqlite_errors import no_database, unavailable_reason
from reach.db.sqlite_files import Place
from reach.files import new_file
from reach.transfer import Watcher

#: How many steps of SQLite's machine lie between two looks at how far it is (some 200 KB apart).
LOOK_STEPS = 20_000
BUSY_SECONDS = 5
#: What SQLite keeps beside a file.
SQLITE_FILES = ("-journal", "-wal", "-shm")
#: What a data directory holds besides the database.
OWN_FILES = ("secret-key", "operator-key", "up-lock")


class CannotBackUp(Exception):
    """Something is in the way; ``args[0]`` says what, and what to do."""


def back_up(
    database: Path,
    file: Path,
    watcher: Watcher,
    *,
    replaces: bool = False,
    data_dir: Path | None = None,
) -> int:
    """Write all that is committed when it begins into ``file`` (0600); how many bytes that is.

    The file has its name once it is whole, checked and on the disk; it is none of Reach's own,
    beside the database or in ``data_dir``. Raises CannotBackUp, DatabaseUnavailable, NoDatabase.
    """
    with _explained("The backup cannot be written. ", CannotBackUp, file):
        _require_place(database, file, _names_taken(database, data_dir), replaces=replaces)
    with _explained("", DatabaseUnavailable, database), closing(_opened(database)) as source:
        if revision_of(source) is None:
            raise NoDatabase(EMPTY)  # another program's tables would have been refused
        with (
            _explained("The backup cannot be written. ", CannotBackUp, file),
            new_file(file, replaces=replaces) as new,
        ):
            _fill(source, new, watcher)
            _check(new)
    return file.stat().st_size


def _require_place(
    database: Path, file: Path, names_taken: Iterable[Path], *, replaces: bool
) -> None:
    """Refuse what must not be written over. Raises CannotBackUp."""
    if not file.parent.is_dir():
        raise CannotBackUp("The folder for the backup does not exist.")
    if file.is_dir():
        raise CannotBackUp("That is a folder: name a file in it.")
    for taken in names_taken:
        if file.resolve() == taken.resolve() or _are_one(file, taken):
            what = "the database itself" if taken.name == database.name else "a file of Reach's own"
            raise CannotBackUp(f"That is {what}.")
    if file.exists() and not replaces:
        raise CannotBackUp("There is such a file: name another, or say --force.")


def _names_taken(database: Path, data_dir: Path | None) -> Iterator[Path]:
    """Name what belongs to a database beside it, or to Reach, whether it is there or not.

    SQLite's own files are beside the file that a link leads to; ours are beside the link.
    """
    for file in dict.fromkeys((database, database.resolve())):
        yield from (Path(f"{file}{suffix}") for suffix in ("", *SQLITE_FILES, "-turn"))
        yield from (file.parent / name for name in OWN_FILES)
    if data_dir is not None:
        yield from (data_dir / name for name in OWN_FILES)


def _are_one(file: Path, other: Path) -> bool:
    return file.exists() and other.exists() and file.samefile(other)


def _opened(database: Path) -> sqlite3.Connection:
    """Open the database. Raises NoDatabase, Replaced."""
    require_ours(database)
    try:
        return opened(Place(database), timeout=BUSY_SECONDS)
    except sqlite3.Error as error:
        if (reason := no_database(error, database)) is not None:
            raise NoDatabase(reason) from error
        raise


def _fill(source: sqlite3.Connection, new: Path, watcher: Watcher) -> None:
    """Have SQLite write all of one moment into ``new``; nobody who writes waits for it."""
    pages, unused, page_bytes = (
        source.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    total, done = pages - unused, 0
    watcher.begin("copying pages", total)

    def look() -> None:
        """Move the bar; Ctrl-C comes here."""
        nonlocal done
        written = min(new.stat().st_size // page_bytes, total)
        watcher.advance(written - done)
        done = written

    source.set_progress_handler(look, LOOK_STEPS)
    try:
        source.execute("VACUUM INTO ?", (str(new),))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:  # SQLite keeps the cause to itself
            raise KeyboardInterrupt from None
        raise
    watcher.advance(total - done)


def _check(new: Path) -> None:
    """Have SQLite read all of the backup. Raises CannotBackUp."""
    with closing(sqlite3.connect(f"{new.absolute().as_uri()}?mode=ro", uri=True)) as target:
        if target.execute("PRAGMA integrity_check(1)").fetchall() != [("ok",)]:
            raise CannotBackUp("The backup is damaged: most likely its disk is failing.")
        if target.execute("PRAGMA foreign_key_check").fetchone() is not None:
            raise CannotBackUp("The database holds rows that refer to nothing.")


@contextmanager
def _explained(
    words: str, kind: type[DatabaseUnavailable] | type[CannotBackUp], file: Path
) -> Iterator[None]:
    """Say in words what SQLite or the system has failed with."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT:
            raise CannotBackUp("The database is damaged, and was not backed up.") from error
        reason = unavailable_reason(error, file)
        if reason is None:
            raise
        raise kind(f"{words}{reason}") from error
    except FileExistsError:
        raise CannotBackUp("There is such a file now: name another.") from None
    except OSError as error:
        raise kind(f"{words}{error.strerror}.") from error
