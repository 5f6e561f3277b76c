"""New files: named once they are whole, and only if nobody else has the name."""

import errno
import os
from contextlib import suppress
from pathlib import Path

#: How file systems without hard links refuse one: FAT, some network and FUSE ones.
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


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
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
