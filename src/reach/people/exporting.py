"""People as a file: CSV that is safe in spreadsheets, or NDJSON; a page at a time.

Each page is a transaction of its own, newest first from where the one before ended: none is open
for as long as the caller takes. So it is not what there was at one moment: who is changed or
removed meanwhile may be in it as they were, or as they are; who signs up meanwhile is not in it;
and nobody is in it twice.
"""

import csv
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args
from uuid import UUID

import orjson
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    type_coerce,
)

from reach.auth import audit
from reach.auth.audit import Actor
from reach.db.database import Database
from reach.db.prepared import Prepared
from reach.db.transaction import Transaction
from reach.db.types import Instant, Key, among, encode, rows
from reach.messages.model import messages
from reach.people import filters
from reach.people.cells import guarded
from reach.people.consent import consent_wordings
from reach.people.filters import Filter
from reach.people.model import IS_CONFIRMED, people
from reach.people.queries import WELCOME_ID

Format = Literal["csv", "ndjson"]
FORMATS: tuple[Format, ...] = get_args(Format)
MEDIA_TYPES: Mapping[Format, str] = {"csv": "text/csv", "ndjson": "application/x-ndjson"}
#: Each choice and order of columns has a statement of its own; so many are remembered.
MOST_SHAPES = 100
#: Rows of a page where all that is asked for is in the order of ids; and where it is looked for.
PAGE_ROWS, FOUND_ROWS = 2000, 500

#: In a second, of which SQLite's times are a number.
MICROSECONDS = literal_column("1000000", BigInteger)

_c = people.c


def _kept(name: str) -> ColumnElement[Any]:
    kept: ColumnElement[Any] = _c.consent[name].as_string()
    return kept


#: What can be had of each person, in the order in which it is written.
_COLUMNS: Mapping[str, ColumnElement[Any]] = {
    "id": _c.id,
    "email": _c.email,
    "name": _c.name,
    "description": _c.description,
    "language": _c.language,
    "confirmed_at": _c.confirmed_at,
    "created_at": _c.created_at,
    "updated_at": _c.updated_at,
    "welcome": messages.c.state,
    "consented_at": func.coalesce(_c.consented_at, _c.created_at, type_=Instant()),
    "consent_form": _kept("form"),
    "consent_language": _kept("language"),
    "consent_origin": _kept("origin"),
    "consent_source": _kept("source"),
    "consent_network": _kept("network"),
    "consent_wording": consent_wordings.c.text,
    "unsubscribed_at": _c.unsubscribed_at,
}
COLUMNS = tuple(_COLUMNS)
#: Those that are written if nobody says which: of what costs a look elsewhere, none.
USUAL = COLUMNS[: COLUMNS.index("welcome")]


#: Those that hold what people, or others, wrote.
_FREE = (
    frozenset(COLUMNS) - {"id"} - {n for n, c in _COLUMNS.items() if isinstance(c.type, Instant)}
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whom an export is of, and how it is written: the columns in their order."""

    chosen_by: Filter
    form: Format = "csv"
    columns: Sequence[str] = USUAL


class Export:
    """People who are handed out: noted in the audit trail before the first of them.

    How many they are is noted before each page: so it is true whatever ends it, a kill too.
    ``rows`` are written so far.
    """

    def __init__(self, database: Database, wanted: Wanted, entry_id: UUID) -> None:
        """Go on from the entry in the audit trail: see ``begin``."""
        self._database = database
        self._wanted = wanted
        self._entry_id = entry_id
        self.rows = 0

    @classmethod
    async def begin(cls, database: Database, actor: Actor, wanted: Wanted) -> "Export":
        """Note it. Raises DatabaseUnavailable."""
        return cls(database, wanted, await database.write(_note, actor, wanted))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Write everybody who is chosen, a page at a time. Raises DatabaseUnavailable.

        The header of CSV comes first, even if there is nobody.
        """
        form, columns = self._wanted.form, self._wanted.columns
        write = _csv_writer(columns) if form == "csv" else _json_writer(columns)
        if form == "csv":
            yield (",".join(columns) + "\r\n").encode()
        async for found in _pages(self._database, self._wanted.chosen_by, tuple(columns)):
            await self._database.write(audit.count_more, self._entry_id, len(found))
            self.rows += len(found)
            yield write(found)


def _note(tx: Transaction, actor: Actor, wanted: Wanted) -> UUID:
    """Note that people are handed out. What is searched for is not said: it may be a name."""
    chosen_by = wanted.chosen_by
    given = {name: getattr(chosen_by, name) for name in ("confirmed", "language", "welcome")}
    others = ("search", "prefix", "since", "until")
    return audit.note(
        *(tx, actor, "people.export"),
        count=0,
        format=wanted.form,
        columns=list(wanted.columns),
        filters={name: value for name, value in given.items() if value is not None},
        searched_by=[name for name in others if getattr(chosen_by, name) is not None],
    )


async def _pages(
    database: Database, chosen_by: Filter, columns: tuple[str, ...]
) -> AsyncIterator[Sequence[Sequence[Any]]]:
    if chosen_by.is_plain:
        before: UUID | None = None
        while True:
            found = await database.read(_walk, columns, chosen_by, before)
            if found:
                yield [row[1:] for row in found]
            if len(found) < PAGE_ROWS:
                return
            before = UUID(found[-1][0])
    after: str | None = None
    while True:
        some, after = await database.read(_find, columns, chosen_by, after)
        if some:
            yield some
        if after is None:
            return


def _walk(
    tx: Transaction, columns: tuple[str, ...], chosen_by: Filter, before: UUID | None
) -> Sequence[Sequence[Any]]:
    """Read the next page of all; each row has its id before it."""
    statement = _walking(columns, chosen_by, is_after=before is not None)
    return statement.rows(tx, {"most": PAGE_ROWS, "before": before})


@lru_cache(MOST_SHAPES)
def _walking(columns: tuple[str, ...], chosen_by: Filter, *, is_after: bool) -> Prepared:
    ids = select(_c.id).order_by(_c.id.desc()).limit(bindparam("most", type_=Integer))
    if is_after:
        ids = ids.where(_c.id < bindparam("before", type_=Key))
    if chosen_by.confirmed is not None:
        ids = ids.where(IS_CONFIRMED if chosen_by.confirmed else ~IS_CONFIRMED)
    return Prepared(
        lambda dialect: _selected(dialect, columns).where(_c.id.in_(ids)).order_by(_c.id.desc())
    )


def _find(
    tx: Transaction, columns: tuple[str, ...], chosen_by: Filter, after: str | None
) -> tuple[Sequence[Sequence[Any]], str | None]:
    """Read the next page of those who fit a filter."""
    found, next_ = filters.page(tx, chosen_by, limit=FOUND_ROWS, after=after)
    if not found:
        return [], next_
    given = encode(tx.dialect.name, [{"id": person.id} for person in found])
    rows_ = _finding(columns).rows(tx, {"rows": given})
    by_id = {row[0]: row[1:] for row in rows_}
    return [by_id[id_] for id_ in (str(person.id) for person in found) if id_ in by_id], next_


@lru_cache(MOST_SHAPES)
def _finding(columns: tuple[str, ...]) -> Prepared:
    def make(dialect: str) -> Any:
        given = rows(dialect, _c.id)
        return _selected(dialect, columns).where(among(_c.id, select(given.c.id)))

    return Prepared(make)


def _selected(dialect: str, columns: tuple[str, ...]) -> Any:
    """Select the columns, the id before them, joining only what they need."""
    write = _sqlite_text if dialect == "sqlite" else _postgres_text
    chosen = [write(_COLUMNS[name]).label(name) for name in columns]
    source: Any = people
    if "welcome" in columns:
        source = source.outerjoin(messages, messages.c.id == WELCOME_ID)
    if "consent_wording" in columns:
        source = source.outerjoin(consent_wordings, consent_wordings.c.id == _kept("wording"))
    return select(write(_c.id).label("key"), *chosen).select_from(source)


def _sqlite_text(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Have the database write ids and times: in Python that takes longer than all the rest."""
    if isinstance(value.type, Key):
        return type_coerce(value, Text)
    if not isinstance(value.type, Instant):
        return value
    number = type_coerce(value, BigInteger)
    whole = func.strftime(
        "%Y-%m-%dT%H:%M:%S", number.op("/")(MICROSECONDS), "unixepoch", type_=Text
    )
    return whole.concat(func.printf(".%06dZ", number.op("%")(MICROSECONDS)))


def _postgres_text(value: ColumnElement[Any]) -> ColumnElement[Any]:
    if isinstance(value.type, Key):
        return cast(value, Text)
    if not isinstance(value.type, Instant):
        return value
    return func.to_char(func.timezone("UTC", value), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')


_Writer = Callable[[Sequence[Sequence[Any]]], bytes]


def _csv_writer(columns: Sequence[str]) -> _Writer:
    free = [n for n, name in enumerate(columns) if name in _FREE]

    def cells(row: Sequence[Any]) -> Sequence[Any]:
        written = list(row)
        for n in free:
            if written[n]:
                written[n] = guarded(written[n])
        return written

    def write(found: Sequence[Sequence[Any]]) -> bytes:
        text = io.StringIO()
        csv.writer(text).writerows(map(cells, found))
        return text.getvalue().encode()

    return write


def _json_writer(columns: Sequence[str]) -> _Writer:
    def line(row: Sequence[Any]) -> bytes:
        return orjson.dumps(dict(zip(columns, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE)

    return lambda found: b"".join(map(line, found))
