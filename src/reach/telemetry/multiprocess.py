"""What several processes have counted: a share each, in files, and the sum of them all.

prometheus_client writes a process's numbers to files in a folder if it finds the folder's name in
the environment when it is first imported. A file outlives its process, so nothing that was counted
is lost, however it ended; the shares of the dead are folded into one, so that they do not pile up.

It maps files into memory that are longer than what is written in them. Once the disk is full,
counting one more thing would end the process (SIGBUS): so the room that a file may ever need is
taken when it is made.
"""

import fcntl
import math
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import ClassVar

from prometheus_client import REGISTRY, Metric, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

#: prometheus_client's own name for it.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
#: What a folder is called, and what it is called until it is locked.
PREFIX, NEW_PREFIX = "reach-metrics-", "reach-new-metrics-"
#: In place of a process id, in the names of the files of those that have ended.
ENDED = "ended"
#: What only grows, and so must not be forgotten with the process that counted it.
GROWING = ("counter", "histogram")
#: Bytes, by how a file's name begins; more than ten times what there can be to count.
ROOM, ROOM_OTHERWISE = {"histogram": 4 << 20}, 1 << 18


def known(found: Iterable[Metric]) -> Iterator[Metric]:
    """Leave out what is not known (NaN), as if it had never been: ``absent()`` tells."""
    for metric in found:
        metric.samples = [sample for sample in metric.samples if not math.isnan(sample.value)]
        yield metric


class SolidDict(MmapedDict):
    """A file with room for all that this process will ever count.

    Where there is no room it is in memory instead, where nobody else can add it up: ``unkept``
    lists such files.
    """

    unkept: ClassVar[list[str]] = []  # of the process, as the files are

    def __init__(self, filename: str) -> None:
        """Take the room, then do what the library does."""
        super().__init__(_with_room(filename))  # type: ignore[no-untyped-call]  # it has no types

    @staticmethod
    def use() -> None:
        """Have prometheus_client make such files, if it makes any, for all metrics to come."""
        values.MmapedDict = SolidDict  # type: ignore[assignment, attr-defined]


def _with_room(filename: str) -> str:
    """Make a file of zeros, or one in memory; returns under which name it can be opened."""
    file = Path(filename)
    if file.exists():
        return filename
    zeros = bytes(ROOM.get(file.name.partition("_")[0], ROOM_OTHERWISE))
    # Under another name until it is whole: who adds up reads what ends in .db.
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


class Shares(Collector):
    """The shares of the processes that one parent starts, and their sum.

    ``own`` are the metrics that the parent has the numbers of, whatever the shares say.
    """

    def __init__(self, folder: Path, own: Collection[str] = ()) -> None:
        """Take an empty folder."""
        self.folder = folder
        self._own = frozenset(own)
        # Between a share's folding and its removal it would be counted twice.
        self._folding = Lock()
        self._ended: dict[str, MmapedDict] = {
            kind: SolidDict(str(folder / f"{kind}_{ENDED}.db")) for kind in GROWING
        }

    def collect(self) -> Iterable[Metric]:
        """Add the shares up."""
        with self._folding:
            found = MultiProcessCollector.merge([str(file) for file in self._files()])
        yield from known(metric for metric in found if metric.name not in self._own)
        for metric in REGISTRY.collect():
            if metric.name in self._own:
                yield metric

    def fold(self, alive: Collection[int]) -> None:
        """Fold the shares of all processes but these, before another may get such a number.

        What they were just doing (their gauges) has ended with them.
        """
        kept = {ENDED, *map(str, alive)}
        gone = [file for file in self._files() if _process_of(file) not in kept]
        if not gone:
            return
        with self._folding:
            for file in gone:
                kind = file.name.partition("_")[0]
                if kind in GROWING:
                    self._add(self._ended[kind], file)
                file.unlink()

    def close(self) -> None:
        """Let go of the files."""
        for ended in self._ended.values():
            ended.close()

    def _files(self) -> list[Path]:
        """List the shares. One that is just being made is still empty, and no library reads it."""
        return [file for file in self.folder.glob("*.db") if file.stat().st_size]

    @staticmethod
    def _add(ended: MmapedDict, file: Path) -> None:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
            so_far, _ = ended.read_value(key)
            ended.write_value(key, so_far + value, 0.0)


@contextmanager
def shared(own: Collection[str] = ()) -> Iterator[Shares]:
    """Make a folder for shares, which is removed at the end. Raises OSError.

    What an earlier parent left behind that could not do so (a power cut, SIGKILL) is removed too.
    """
    place = Path(tempfile.gettempdir())
    _remove_left_behind(place)
    new = Path(tempfile.mkdtemp(prefix=NEW_PREFIX))  # 0700
    lock = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = new.rename(place / new.name.replace(NEW_PREFIX, PREFIX))
        shares = Shares(folder, own)
        try:
            yield shares
        finally:
            shares.close()
            shutil.rmtree(folder)
    finally:
        os.close(lock)


@contextmanager
def told(shares: Shares | None) -> Iterator[None]:
    """Have processes that are started within the block write shares, and this one none."""
    if shares is None:
        yield
        return
    os.environ[VARIABLE] = str(shares.folder)
    try:
        yield
    finally:
        del os.environ[VARIABLE]


def _remove_left_behind(place: Path) -> None:
    """Remove our own folders that nobody has locked: their parent lives no more."""
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # somebody else's, or in use, or gone meanwhile
            lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.geteuid():
                    shutil.rmtree(folder)
            finally:
                os.close(lock)


def _process_of(file: Path) -> str:
    return file.stem.rpartition("_")[2]
