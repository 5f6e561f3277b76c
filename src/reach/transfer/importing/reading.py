"""Reading a list: CSV in the dialects of spreadsheets and mailing services, or NDJSON.

It is read a little at a time, so its size does not matter.
"""

import codecs
import csv
import errno
import io
import json
import os
import select
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import orjson

Format = Literal["csv", "ndjson"]
#: Those that tables are written with; of several in the first line, the most frequent one.
DELIMITERS = (",", ";", "\t", "|")
#: How Excel's users say which delimiter is meant: in a line of its own.
SAID = "sep="
#: No line of a list of people is longer; a quotation mark that is not closed makes one.
LONGEST_LINE, LONGEST_CELL = 1 << 20, 1 << 17
ENCODINGS = ("utf-8", "utf-16", "cp1252", "latin-1")
UTF_16 = "This file is in UTF-16, as Excel writes “Unicode text”: say --encoding utf-16."
NOT_UTF_8 = (
    "This file is not in UTF-8 (near byte {:,}). If it is a CSV file of Excel for Windows, say "
    "--encoding cp1252; or save it as “CSV UTF-8”."
)


MISQUOTED = "a quotation mark within a cell must be doubled"
UNCLOSED = (
    "The row that begins on line {:,} cannot be read: {}. Is a quotation mark there not closed?"
)


class _Misquoted(Exception):
    """A row cannot be told apart from the next one; the one after the line can."""


class BadFile(Exception):
    """The list cannot be read: nothing after this place of it was."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row, by the line on which it begins. ``cells`` are by column, as they were written.

    ``fault``: it could not be read, and why.
    """

    line: int
    cells: Mapping[str, object]
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a list is written; what is None is to be found out."""

    format: Format | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"


class Reader:
    """The rows of a list, in order. ``names`` are the columns of a CSV file."""

    def __init__(self, stream: BinaryIO, dialect: Dialect, name: str) -> None:
        """Read as far as the header. Raises BadFile."""
        self._stream = stream
        self._encoding = _encoding(stream, dialect.encoding)
        # Kept: where nobody refers to it, it closes the stream.
        self._text = io.TextIOWrapper(stream, encoding=self._encoding, newline="")
        self._lines = self._decoded(self._text)
        first = next(self._lines, "")
        self.format = dialect.format or _format(first, name)
        self.names: Sequence[str] = ()
        self.delimiter = dialect.delimiter
        self._first, self._begun, self._row_length, self._line = first, 0, 0, 1
        if self.format == "csv":
            self._begin_csv(dialect.delimiter)

    def __iter__(self) -> Iterator[Row]:
        """Read the rows. Raises BadFile."""
        return self._rows_of_csv() if self.format == "csv" else self._rows_of_json()

    @property
    def position(self) -> int:
        """How many bytes are read; of a pipe nobody knows, and it says 0."""
        return self._stream.tell() if self._stream.seekable() else 0

    def _decoded(self, text: io.TextIOWrapper) -> Iterator[str]:
        try:
            while line := text.readline(LONGEST_LINE + 1):
                if len(line) > LONGEST_LINE:
                    raise BadFile(
                        f"A line of this file is longer than {LONGEST_LINE:,} characters."
                    )
                yield line
        except UnicodeDecodeError as error:
            place = self._stream.tell() if self._stream.seekable() else error.start
            said = NOT_UTF_8.format(place) if "utf-8" in self._encoding else ""
            raise BadFile(said or f"This file is not in {self._encoding}.") from None

    def _begin_csv(self, delimiter: str | None) -> None:
        """Read the header, and before it which delimiter is meant."""
        first = self._first
        if first.lower().startswith(SAID) and len(first.rstrip("\r\n")) == len(SAID) + 1:
            delimiter = delimiter or first[len(SAID)]
            first = next(self._lines, "")
            self._begun = 1
        self.delimiter = delimiter or _delimiter(first)
        # Strict: what follows a quotation mark, or is never closed, would take rows with it unseen.
        self._csv = csv.reader(self._lines_of_rows(first), delimiter=self.delimiter, strict=True)
        csv.field_size_limit(LONGEST_CELL)
        try:
            while (names := self._next_of_csv()) == []:  # blank lines before it
                pass
            self.names = _unique(names or [])
        except _Misquoted:
            raise BadFile(f"The first line cannot be read: {MISQUOTED}.") from None
        if not any(name.strip() for name in self.names):
            raise BadFile("This file is empty: its first line must name the columns.")

    def _lines_of_rows(self, first: str) -> Iterator[str]:
        """Give the lines, as long as no row has too many: each may have cells that go on."""
        for line in _with(first, self._lines):
            self._row_length += len(line)
            if self._row_length > LONGEST_LINE:
                raise BadFile(
                    UNCLOSED.format(self._line, f"it is over {LONGEST_LINE:,} characters")
                )
            yield line

    def _next_of_csv(self) -> list[str] | None:
        """Read a row; None at the end. Raises BadFile, _Misquoted."""
        self._row_length, self._line = 0, self._csv.line_num + self._begun + 1
        try:
            return next(self._csv, None)
        except csv.Error as error:
            if "expected after" in str(error):
                raise _Misquoted from None
            raise BadFile(UNCLOSED.format(self._line, error)) from None

    def _rows_of_csv(self) -> Iterator[Row]:
        names, width = self.names, len(self.names)
        while True:
            try:
                cells = self._next_of_csv()
            except _Misquoted:
                yield Row(self._line, {}, MISQUOTED)
                continue
            if cells is None:
                return
            beyond = cells[width:]
            if any(cells):
                fault = "more cells than columns" if any(beyond) else None
                yield Row(self._line, dict(zip(names, cells, strict=False)), fault)

    def _rows_of_json(self) -> Iterator[Row]:
        for line, text in enumerate(_with(self._first, self._lines), 1):
            if not text.strip():
                continue
            try:
                value = orjson.loads(text)
            except orjson.JSONDecodeError:
                yield Row(line, {}, "not JSON")
                continue
            if isinstance(value, dict):
                yield Row(line, value)
            else:
                yield Row(line, {}, "not a JSON object")


class _Awaited(io.FileIO):
    """What another program, or a person, writes: the wait for them can be ended."""

    def __init__(self, file: int | Path, *, closefd: bool) -> None:
        """Open it."""
        super().__init__(file, closefd=closefd)
        self._ended, self._end = os.pipe()

    def readinto(self, buffer: Any) -> int | None:
        """Wait for some of it, and read that. Raises OSError once the wait has been ended."""
        ready, _, _ = select.select([self.fileno(), self._ended], [], [])
        if self._ended in ready:
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
        return super().readinto(buffer)

    def end_wait(self) -> None:
        """Let nobody wait for it any more."""
        os.write(self._end, b"x")


def opened(file: str) -> BinaryIO:
    """Open a list; ``-`` is the standard input. Raises OSError."""
    place: int | Path = 0 if file == "-" else Path(file)
    is_own = file != "-"
    mode = (Path(file).stat() if is_own else os.fstat(0)).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return open(place, "rb", closefd=is_own)
    return io.BufferedReader(_Awaited(place, closefd=is_own))


def end_wait(stream: BinaryIO) -> None:
    """End the wait of another thread for what has not been written: it is read by nobody."""
    if isinstance(stream, io.BufferedReader) and isinstance(stream.raw, _Awaited):
        stream.raw.end_wait()


def written(cells: Mapping[str, object]) -> str:
    """Write a row as JSON again, for the file of what was not taken.

    Without what is nested too deeply to be written: nothing nested is read, either.
    """
    try:
        return json.dumps(cells, ensure_ascii=False)
    except RecursionError:
        flat = {name: value for name, value in cells.items() if not isinstance(value, list | dict)}
        return json.dumps(flat, ensure_ascii=False)


def _unique(names: Sequence[str]) -> list[str]:
    """Tell columns of one name apart: the first one keeps it."""
    found: dict[str, None] = {}
    numbers: dict[str, int] = {}  # else many of one name would take time by their square
    for name in names:
        new, number = name, numbers.get(name, 1)
        while new in found:
            number += 1
            new = f"{name} ({number})"
        found[new] = None
        numbers[name] = number
    return list(found)


def _with(first: str, lines: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from lines


def _encoding(stream: BinaryIO, wanted: str) -> str:
    """Choose the codec: with or without a byte order mark. Raises BadFile for another one's."""
    begin = stream.peek(4)[:4] if isinstance(stream, io.BufferedReader) else b""
    is_utf_16 = begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in begin
    if wanted != "utf-8":
        return wanted
    if is_utf_16:
        raise BadFile(UTF_16)
    return "utf-8-sig"


def _format(first: str, name: str) -> Format:
    """Tell by the file's name, or else by how it begins."""
    if name.lower().endswith((".ndjson", ".jsonl")):
        return "ndjson"
    if name.lower().endswith((".csv", ".tsv", ".txt")):
        return "csv"
    return "ndjson" if first.lstrip().startswith("{") else "csv"


def _delimiter(header: str) -> str:
    """Choose what stands between the names of columns most often, outside of quotation marks."""
    unquoted = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=unquoted.count)
