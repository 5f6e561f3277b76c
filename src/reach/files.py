"""Files that are written whole or not at all, for their owner alone.

Each is written beside its place under another name, and is on the disk before it gets its own. A
process that is killed leaves what it had written under that other name: the next one removes it.
"""

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SUFFIX = ".reach-unfinished"
#: What may be left behind: the file itself; beside it, what SQLite writes meanwhile.
KINDS = ("", "-journal")
#: How file systems without hard links refuse one: FAT, some network and FUSE ones.
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def new_file(file: Path, *, replaces: bool = False) -> Iterator[Path]:
    """Give an empty file (0600) to write into; when the ``with`` ends well, it is ``file``.

    Raises FileExistsError if ``file`` is there and is not to be replaced; OSError.
    """
    with _at_work_in(file.parent):
        new = file.with_name(f".{file.name}.{secrets.token_hex(4)}{SUFFIX}")
        try:
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            yield new
            _sync(new)
            if replaces:
                new.replace(file)
            else:
                give_name(new, file)
            sync_folder(file.parent)
        finally:
            new.unlink(missing_ok=True)


def write(file: Path, text: str) -> None:
    """Write a small file that is not there yet. Raises FileExistsError, OSError."""
    with new_file(file) as new:
        new.write_text(text, encoding="utf-8")


def give_name(new: Path, file: Path) -> None:
    """Let ``new``, in the same file system, be ``file``, which must not be there; ``new`` may stay.

    Raises FileExistsError, OSError. Without hard links an empty file has the name for a moment.
    """
    try:
        os.link(new, file)  # unlike renaming, it replaces nothing that has come meanwhile
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    else:
        return
    os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        new.replace(file)
    except OSError:
        with suppress(OSError):
            file.unlink()
        raise


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk. Raises OSError."""
    _sync(folder, os.O_DIRECTORY)


def _sync(path: Path, flags: int = 0) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _at_work_in(folder: Path) -> Iterator[None]:
    """Tell others that files are being written there; first remove what nobody is writing.

    All who write in a folder share a lock of it: who gets it alone sees what was left behind.
    """
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # others are at work, or the file system has no such locks
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for kind in KINDS:
                for left in folder.glob(f".*{SUFFIX}{kind}"):
                    with suppress(OSError):  # it is a folder, or another user's
                        left.unlink()
        with suppress(OSError):  # the file system has no such locks
            fcntl.flock(place, fcntl.LOCK_SH)
        yield
    finally:
        os.close(place)
