"""A row on its way: alike from whichever database it comes, so that both can be compared."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Literal

from sqlalchemy import JSON, Column, Integer, String, Table

from reach.db.types import Instant, Key

Kind = Literal["key", "time", "document", "text", "number"]
#: A key as its 36 characters, a time as microseconds since 1970, a document as its text.
Row = tuple[str | int | None, ...]

DIGEST_BYTES = 16
MODULUS = 1 << 8 * DIGEST_BYTES
#: Enough for any number that JSON can write and Postgres's numeric can hold.
_EXACT = Context(prec=200_000, Emax=10**9, Emin=-(10**9))


@dataclass(frozen=True, slots=True)
class Shape:
    """What a table's rows look like, and in which order they are read."""

    name: str
    columns: tuple[str, ...]
    kinds: tuple[Kind, ...]
    key: tuple[str, ...]

    @classmethod
    def of(cls, table: Table) -> "Shape":
        """Take it from the table. Raises TypeError for a type that nobody has thought of here."""
        return cls(
            name=table.name,
            columns=tuple(column.name for column in table.columns),
            kinds=tuple(map(_kind, table.columns)),
            key=tuple(column.name for column in table.primary_key),
        )

    def key_of(self, row: Row) -> Row:
        """That by which rows are sorted."""
        return tuple(row[self.columns.index(name)] for name in self.key)


def _kind(column: Column[Any]) -> Kind:
    kinds: tuple[tuple[type, Kind], ...] = (
        (Key, "key"),
        (Instant, "time"),
        (JSON, "document"),
        (String, "text"),
        (Integer, "number"),
    )
    for type_, kind in kinds:
        if isinstance(column.type, type_):
            return kind
    raise TypeError(f"{column.table.name}.{column.name} is of a type that cannot be copied yet")


class Digest:
    """How many rows there are, and a sum over them that no order changes.

    The databases sort text differently, and a copy that goes on adds to what it had.
    """

    def __init__(self, rows: int = 0, total: int = 0) -> None:
        """Begin with what there was."""
        self.rows = rows
        self._total = total

    def add(self, shape: Shape, rows: Sequence[Row]) -> None:
        """Add rows."""
        documents = [n for n, kind in enumerate(shape.kinds) if kind == "document"]
        written: Iterable[Row] = rows
        if documents:
            written = (_with_canonical(row, documents) for row in rows)
        self._total += sum(map(_digest, written))
        self._total %= MODULUS
        self.rows += len(rows)

    def __str__(self) -> str:
        """Write the sum down, in 32 hexadecimal digits."""
        return f"{self._total:0{2 * DIGEST_BYTES}x}"

    def __eq__(self, other: object) -> bool:
        """Whether the same rows were added."""
        return isinstance(other, Digest) and (self.rows, str(self)) == (other.rows, str(other))

    __hash__ = None  # type: ignore[assignment]  # it changes

    @classmethod
    def written(cls, rows: int, text: str) -> "Digest":
        """Read what was written down."""
        return cls(rows, int(text, 16))


def _digest(row: Row) -> int:
    return int.from_bytes(blake2b(repr(row).encode(), digest_size=DIGEST_BYTES).digest(), "big")


def _with_canonical(row: Row, documents: Sequence[int]) -> Row:
    values = list(row)
    for n in documents:
        text = values[n]
        values[n] = canonical(text) if isinstance(text, str) else text
    return tuple(values)


@lru_cache(maxsize=1024)
def canonical(text: str) -> str:
    """Write a JSON document in the one way in which both databases' forms of it agree.

    Postgres keeps neither the order of members, nor blanks, nor how a number was written.
    """
    value = json.loads(text, parse_float=_number, parse_int=_number, object_pairs_hook=_members)
    return repr(value)  # not JSON again, in which a Decimal would have to be a float or a string


def _members(pairs: Sequence[tuple[str, object]]) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(dict(pairs).items()))


def _number(text: str) -> Decimal:
    """Not as a float, which would round. Zero has a sign in JSON, and none in Postgres."""
    return _EXACT.create_decimal(text).normalize(_EXACT) or Decimal(0)
