"""A copy of the SQLite file as it is at one moment, while Reach goes on writing to it."""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from reach.db.errors import COPYING, EMPTY, DatabaseUnavailable, HalfCopied, NoDatabase
from reach.db.sqlite_connection import opened, require_ours, revision_of
from reach.db.sqlite_errors import no_database, unavailable_reason
from reach.db.sqlite_files import Place
from reach.db.unfinished import InTheWay, UnderWay, unfinished
from reach.newfiles import give_name, sync_folder

#: 4 MiB: the steps between which Ctrl-C is heard, and a bar moves.
STEP_PAGES = 1024
BUSY_SECONDS = 5
#: What SQLite keeps beside a file.
SQLITE_FILES = ("-journal", "-wal", "-shm")
#: What a data directory holds besides the database.
OWN_FILES = ("secret-key", "operator-key", "up-lock")


class CannotBackUp(Exception):  # noqa: N818 - an expected failure
    """Something is in the way; ``args[0]`` says what, and what to do."""


def back_up(
    database: Path,
    file: Path,
    watch: Callable[[int, int], None],
    *,
    replaces: bool = False,
    data_dir: Path | None = None,
) -> int:
    """Write all that is committed when it begins into ``file`` (0600); how many bytes that is.

    The file has its name once it is whole, checked and on the disk; it is none of Reach's own,
    beside the database or in ``data_dir``. ``watch`` is told how many pages there are, and how
    many are left. Raises CannotBackUp, DatabaseUnavailable, NoDatabase,
    HalfCopied.
    """
    _require_place(database, file, _names_taken(database, data_dir), replaces=replaces)
    with _away("", DatabaseUnavailable, database), closing(_opened(database)) as source:
        _pin(source)
        return _write(source, file, watch, replaces=replaces)


def _write(
    source: sqlite3.Connection, file: Path, watch: Callable[[int, int], None], *, replaces: bool
) -> int:
    with _away("The backup cannot be written. ", CannotBackUp, file), _beside(file) as new:
        _fill(source, new, watch)
        _check(new)
        _publish(new, file, replaces=replaces)
        return file.stat().st_size


@contextmanager
def _beside(file: Path) -> Iterator[Path]:
    """Make the file that will be the backup. Raises CannotBackUp."""
    try:
        with unfinished(file) as new:
            yield new
    except UnderWay as found:
        raise CannotBackUp(
            f"Another backup into that file is under way. If none is, remove {found}."
        ) from None
    except InTheWay as found:
        raise CannotBackUp(
            f"{found} is in the way: not all in it is a backup's, or it is no folder of yours. "
            "Look what it is, then remove it."
        ) from None


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
    """Open it. Raises NoDatabase, Replaced."""
    require_ours(database)
    try:
        return opened(Place(database), timeout=BUSY_SECONDS)
    except sqlite3.Error as error:
        if (reason := no_database(error, database)) is not None:
            raise NoDatabase(reason) from error
        raise


def _pin(source: sqlite3.Connection) -> None:
    """Read the database as it is now, whatever is written to it meanwhile: its log keeps it.

    Without a transaction of our own, the copying would begin anew at each commit of others.
    """
    source.execute("PRAGMA query_only=ON")
    source.execute("BEGIN")
    found = revision_of(source)
    if found is None:
        raise NoDatabase(EMPTY)  # it would have been refused if it held another program's tables
    if found == COPYING:
        raise HalfCopied


def _fill(source: sqlite3.Connection, new: Path, watch: Callable[[int, int], None]) -> None:
    with closing(sqlite3.connect(new, isolation_level=None)) as target:
        target.execute("PRAGMA synchronous=OFF")  # it is made sure of at the end, at once
        source.backup(target, pages=STEP_PAGES, progress=lambda _, left, total: watch(total, left))
        # One file, with no log beside it; who opens it to write turns that on again.
        target.execute("PRAGMA journal_mode=DELETE")


def _check(new: Path) -> None:
    """Have SQLite read all of it. Raises CannotBackUp."""
    with closing(sqlite3.connect(new, isolation_level=None)) as target:
        if target.execute("PRAGMA integrity_check(1)").fetchall() != [("ok",)]:
            raise CannotBackUp("The backup is damaged, and so, most likely, is the database.")
        if target.execute("PRAGMA foreign_key_check").fetchone() is not None:
            raise CannotBackUp("The database holds rows that refer to nothing.")


def _publish(new: Path, file: Path, *, replaces: bool) -> None:
    """Give it its name, once it is on the disk."""
    _sync(new)
    if replaces:
        new.replace(file)
    else:
        try:
            give_name(new, file)
        except FileExistsError:
            raise CannotBackUp("There is such a file now: name another.") from None
    sync_folder(file.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _away(
    words: str, kind: type[DatabaseUnavailable] | type[CannotBackUp], file: Path
) -> Iterator[None]:
    """Say in what way ``file`` is away."""
    try:
        yield
    except sqlite3.Error as error:
        reason = unavailable_reason(error, file)
        if reason is None:
            raise
        raise kind(f"{words}{reason}") from error
    except OSError as error:
        raise kind(f"{words}{error.strerror}.") from error
