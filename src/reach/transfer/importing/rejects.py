"""The file of the rows that were not taken: each with its line, its field and the reason.

It holds personal data, so it is for its owner alone; it is there once it is whole. Its rows can be
mended, and imported as they are.
"""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from reach.files import new_file
from reach.people.cells import guarded, unguarded
from reach.transfer.importing.checking import Fault
from reach.transfer.importing.reading import Format, Row, written

SAID = ("line", "field", "reason")


class Rejects:
    """Writes the rows that were not taken, as the list has them."""

    def __init__(self, stream: TextIO, form: Format, names: Sequence[str]) -> None:
        """Take the list's columns."""
        self.count = 0
        self._stream, self._format = stream, form
        self._names = [name for name in names if name not in SAID]
        self._csv = csv.writer(stream, lineterminator="\n")
        if form == "csv":
            self._csv.writerow([*SAID, *map(guarded, self._names)])

    def add(self, row: Row, fault: Fault) -> None:
        """Write a row."""
        self.count += 1
        said = (row.line, fault.field, fault.reason)
        if self._format == "csv":
            cells = (str(row.cells.get(name, "")) for name in self._names)
            self._csv.writerow([*said, *(guarded(unguarded(cell)) for cell in cells)])
        else:
            others = {name: value for name, value in row.cells.items() if name not in SAID}
            told = {**dict(zip(SAID, said, strict=True)), **others}
            self._stream.write(f"{written(told)}\n")


class NothingRejected(Exception):
    """There was nothing to be written: no file is left."""


@contextmanager
def rejects_file(
    file: Path, form: Format, names: Sequence[str], *, replaces: bool
) -> Iterator[Rejects]:
    """Write the file, if there is anything to write. Raises FileExistsError, OSError."""
    try:
        with new_file(file, replaces=replaces) as new:
            with new.open("w", encoding="utf-8", newline="") as stream:
                rejects = Rejects(stream, form, names)
                yield rejects
            _require_any(rejects)
    except NothingRejected:
        if replaces:
            file.unlink(missing_ok=True)


def _require_any(rejects: Rejects) -> None:
    if not rejects.count:
        raise NothingRejected
