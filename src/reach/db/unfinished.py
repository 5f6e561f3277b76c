"""A file that is not finished: in a folder that is locked by who writes it, and else removed.

A process that is killed removes nothing, and what it leaves holds people: the next one removes it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SUFFIX = ".reach-unfinished"
#: Not the file itself: on NFS, SQLite's locks would meet ours there.
LOCK = "lock"


class UnderWay(Exception):  # noqa: N818 - an expected failure
    """Somebody else writes it now; ``args[0]`` names the folder."""


@contextmanager
def unfinished(file: Path) -> Iterator[Path]:
    """Make an empty file, its owner's alone, to be renamed to ``file``; if not, it is gone.

    All that killed processes have left in that place is, too. Raises UnderWay, OSError.
    """
    for left in file.parent.glob(f".*{SUFFIX}"):
        with suppress(OSError):  # somebody writes it, or it is another user's
            _remove_if_left(left)
    folder = file.with_name(f".{file.name}{SUFFIX}")
    lock = _made(folder)
    try:
        new = folder / "new"
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        yield new
    finally:
        _remove(folder)
        os.close(lock)


def _made(folder: Path) -> int:
    """Make the folder and lock it; again, if it was taken for one that was left, before that."""
    while True:
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            raise UnderWay(folder.name) from None
        try:
            return _locked(folder)
        except (BlockingIOError, FileNotFoundError):
            continue
        except OSError:
            _remove(folder)
            raise


def _remove_if_left(folder: Path) -> None:
    lock = _locked(folder)
    try:
        _remove(folder)
    finally:
        os.close(lock)


def _locked(folder: Path) -> int:
    """Raises OSError if somebody else has it, or had it until now."""
    path = folder / LOCK
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(lock), path.stat()):
            raise BlockingIOError
    except OSError:
        os.close(lock)
        raise
    return lock


def _remove(folder: Path) -> None:
    """The lock goes last: until then it is ours."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name == LOCK):
        path.unlink(missing_ok=True)
    folder.rmdir()
