"""Files for what several processes count, whose place on the disk is taken when they are made.

prometheus_client maps files into memory that are longer than what is written in them. Once the disk
is full, counting one more thing would end the process (SIGBUS).
"""

import os
from pathlib import Path

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

#: Bytes, by how a file's name begins; more than ten times what there can be to count.
ROOM = {"histogram": 4 << 20}
ROOM_OTHERWISE = 1 << 18


class SolidDict(MmapedDict):
    """A file with room for all that this process will ever count.

    Where there is no room it is in memory instead, where nobody else can add it up: ``unkept``
    lists such files.
    """

    unkept: list[str] = []  # noqa: RUF012 - of the process, as the files are

    def __init__(self, filename: str, read_mode: bool = False) -> None:  # noqa: FBT001, FBT002 - the library's
        """Take the room, then do what the library does."""
        path = filename if read_mode else with_room(filename)
        super().__init__(path, read_mode)  # type: ignore[no-untyped-call]  # it has no types


def with_room(filename: str) -> str:
    """Make a file of zeros, or one in memory; returns under which name it can be opened."""
    file = Path(filename)
    if file.exists():
        return filename
    zeros = bytes(ROOM.get(file.name.partition("_")[0], ROOM_OTHERWISE))
    # Under another name until it is whole: whoever adds up reads what ends in .db.
    new = file.with_suffix(".new")
    try:
        new.write_bytes(zeros)
        new.rename(file)
    except OSError:
        new.unlink(missing_ok=True)
        SolidDict.unkept.append(filename)
        descriptor = os.memfd_create(file.name)
        os.truncate(descriptor, len(zeros))
        return f"/proc/self/fd/{descriptor}"
    return filename


def use() -> None:
    """Have prometheus_client make such files, if it makes any. Call it before there is a metric."""
    values.MmapedDict = SolidDict  # type: ignore[attr-defined]  # it is there for itself
