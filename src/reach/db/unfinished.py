"""A file that is not finished: in a folder that is locked by who writes it, and else removed.

A process that is killed removes nothing, and what it leaves holds people: the next one removes it.
Of a folder that has such a name nothing else is removed, nor anything where a link leads to.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

SUFFIX = ".reach-unfinished"
NEW = "new"
#: Not the file itself: on NFS, SQLite's locks would meet ours there.
LOCK = "lock"
#: All that we make there, what SQLite keeps beside a file included. The lock goes last: until
#: then the folder is ours.
OURS = (NEW, *(f"{NEW}-{kind}" for kind in ("journal", "wal", "shm")), LOCK)


class UnderWay(Exception):  # noqa: N818 - an expected failure
    """Somebody else writes it now; ``args[0]`` is the folder."""


class InTheWay(Exception):  # noqa: N818 - an expected failure
    """What has the folder's name is not ours to remove; ``args[0]`` is its path."""


@contextmanager
def unfinished(file: Path) -> Iterator[Path]:
    """Make an empty file, its owner's alone, to be renamed to ``file``; if not, it is gone.

    All that killed processes have left in that place is, too. Raises UnderWay, InTheWay, OSError.
    """
    for left in file.parent.glob(f".*{SUFFIX}"):
        with suppress(OSError):  # somebody writes it, or it is not ours
            _remove_left(left)
    folder = file.with_name(f".{file.name}{SUFFIX}")
    with ExitStack() as held:
        place = _made(folder, held)
        try:
            os.close(os.open(NEW, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=place))
            yield folder / NEW
        finally:
            _empty(place)
            with suppress(OSError):  # somebody has put something there, which is not ours
                folder.rmdir()


def _made(folder: Path, held: ExitStack) -> int:
    """Make the folder and lock it; again, if it was taken for one that was left, before that."""
    while True:
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            _remove_or_refuse(folder)
            continue
        try:
            return held.enter_context(_locked(folder))
        except (BlockingIOError, FileNotFoundError):
            continue
        except OSError:
            with suppress(OSError), _opened(folder) as place:
                _empty(place)
                folder.rmdir()
            raise


def _remove_or_refuse(folder: Path) -> None:
    try:
        _remove_left(folder)
    except BlockingIOError:
        raise UnderWay(folder) from None
    except FileNotFoundError:
        pass  # it is gone
    except OSError:
        raise InTheWay(folder) from None


def _remove_left(folder: Path) -> None:
    """Raises OSError: BlockingIOError if somebody is at it."""
    with _locked(folder, is_left=True) as place:
        _empty(place)
        folder.rmdir()  # no link, and nothing that is not empty


@contextmanager
def _locked(folder: Path, *, is_left: bool = False) -> Iterator[int]:
    """Lock it, as what its descriptor is. BlockingIOError: somebody has it, or had until now."""
    with _opened(folder) as place:
        if is_left and os.fstat(place).st_uid != os.geteuid():
            raise PermissionError
        made = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(LOCK, made, 0o600, dir_fd=place)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = os.stat(LOCK, dir_fd=place, follow_symlinks=False)
            if not os.path.samestat(os.fstat(lock), there):
                raise BlockingIOError
            yield place
        finally:
            os.close(lock)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Open a folder, and not where a link leads: whatever has its name later, this stays it."""
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield place
    finally:
        os.close(place)


def _empty(place: int) -> None:
    for name in OURS:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=place)
