"""Which people an operator means: what they are found by, in which order, and how many they are.

A page costs the same however many people there are, and whatever it is asked for: see ``page`` and
docs/decisions/0068-search.md.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, func, literal, literal_column, or_, select

from reach.db.transaction import Transaction
from reach.db.types import CLOCKS_SECONDS, OrderedText, among, beside, earliest_id, encode, rows
from reach.messages.model import State, messages
from reach.people import queries, search, search_index
from reach.people.model import Person, name_key, people
from reach.people.search_index import Found
from reach.problems import Unprocessable
from reach.shapes import Shape

Sort = Literal["newest", "oldest", "address", "name"]
SORTS: tuple[Sort, ...] = get_args(Sort)
#: Up to so many who may fit are all looked at, and sorted.
FEW = 1500
#: They are read so many at a time.
STEP = 500
#: Where more may fit, so many are gone through for a page, in the order that is asked for.
MOST_LOOKED_AT = 3000
MOST_COUNTED = 10_000
#: The orders of people's ids, which are those of their sign-ups.
BY_ID = ("newest", "oldest")
#: An id, in base64 for addresses; and before it an order that is not the usual one, and behind it
#: what that sorts by.
ID_CHARACTERS = 22
CURSOR = Shape(
    r"(?:oldest\.)?[A-Za-z0-9_-]{21}[AQgw]"
    r"|(?:address|name)\.[A-Za-z0-9_-]{21}[AQgw](?:[A-Za-z0-9_-]{4})*",
    "Take it from next_cursor, unchanged, and ask with the same sort.",
    4000,
)


@dataclass(frozen=True, slots=True)
class Filter:
    """What people are found by; None finds any.

    ``search`` is part of an address or a name (see ``search``); ``prefix`` how an address's key
    begins; ``welcome`` what became of their newest one. ``since`` and ``until`` are about when they
    signed up: from the one on, and before the other.
    """

    search: str | None = field(default=None, repr=False)
    prefix: str | None = field(default=None, repr=False)
    confirmed: bool | None = None
    language: str | None = None
    welcome: State | None = None
    since: datetime | None = None
    until: datetime | None = None


class _Row(NamedTuple):
    """What is read of those who may fit; ``key`` is what they are sorted by, before their id."""

    id: UUID
    email: str
    email_key: str
    name: str
    key: str


class _Position(NamedTuple):
    """A place in a list: after the person of this id, whose key is the sort's."""

    key: str
    id: UUID


class _Part(NamedTuple):
    """Part of a list, and where the next one begins; None: this is the last."""

    rows: Sequence[_Row]
    end: _Position | None


def page(
    tx: Transaction, chosen_by: Filter, *, sort: Sort = "newest", limit: int, after: str | None
) -> tuple[Sequence[Person], str | None]:
    """List up to ``limit`` people, and give the cursor that continues the list; None at its end.

    A part may have fewer people, even none, and go on all the same: where many may fit and few do,
    so many are looked at, and no more. Raises Unprocessable for a cursor of another sort.
    """
    start = _read_cursor(after, sort)
    list_, few = _List(tx, chosen_by, sort), _few(tx, chosen_by, sort)
    if isinstance(few, Found):
        found, end = list_.walk_found(few, start, limit)
    elif few is None:
        found, end = list_.walk(start, limit)
    else:
        found, end = list_.part(list_.sorted(few), start, limit)
    known = queries.find_all(tx, [row.id for row in found])
    shown = [known[row.id] for row in found]
    return shown, None if end is None else _write_cursor(end, sort)


def count(tx: Transaction, chosen_by: Filter, *, most: int = MOST_COUNTED) -> int:
    """Count those who fit, up to ``most`` + 1: that stands for all that are more."""
    list_ = _List(tx, chosen_by, "newest")
    few = _few(tx, chosen_by, "newest")
    if isinstance(few, Found):
        return len(list_.walk_found(few, None, most + 1, most=most * 2).rows)
    if few is not None:
        return min(len(list_.sorted(few)), most + 1)
    return list_.count(most + 1)


class _List:
    """People in an order, as one transaction sees them."""

    def __init__(self, tx: Transaction, chosen_by: Filter, sort: Sort) -> None:
        self._tx = tx
        self._chosen_by = chosen_by
        self._sort = sort
        self._words = search.words_of(chosen_by.search or "")
        self._key = _key(sort, tx.dialect.name)
        self._columns = (*(people.c[name] for name in _Row._fields[:-1]), self._key.label("key"))

    def sorted(self, ids: Collection[UUID]) -> list[_Row]:
        """Give those of some people who fit, all of them, in order."""
        dialect = self._tx.dialect.name
        given = rows(dialect, people.c.id)
        is_given = among(people.c.id, select(given.c.id))
        statement = select(*self._columns).where(is_given, *_conditions(people.c, self._chosen_by))
        encoded = encode(dialect, [{"id": id_} for id_ in ids])
        found = self._fitting(self._tx.execute(statement, {"rows": encoded}).all())
        return sorted(found, key=_position, reverse=self._sort == "newest")

    def part(self, few: Sequence[_Row], start: _Position | None, limit: int) -> _Part:
        """Cut a part out of those who fit, in order."""
        if start is not None:
            is_descending = self._sort == "newest"
            few = [
                r for r in few if (_position(r) < start if is_descending else _position(r) > start)
            ]
        return _Part(few[:limit], _position(few[limit - 1]) if len(few) > limit else None)

    def walk(self, start: _Position | None, limit: int, most: int = MOST_LOOKED_AT) -> _Part:
        """Go through people in order, more at a time, until there are enough."""
        found: list[_Row] = []
        looked_at, step = 0, max(4 * limit, 200)
        while looked_at < most:
            step = min(step, most - looked_at)
            found += self._fitting(self._some(start, step, limit + 1 - len(found)))
            if len(found) > limit:
                return _Part(found[:limit], _position(found[limit - 1]))
            last = self._after(start).offset(step - 1).limit(1)
            end = self._tx.execute(last).one_or_none()
            if end is None:
                return _Part(found, None)
            start = _Position(end.key, end.id)
            looked_at, step = looked_at + step, 4 * step
        return _Part(found, start)

    def walk_found(
        self, found: Found, start: _Position | None, limit: int, most: int = FEW
    ) -> _Part:
        """Go through those whom the search's index has found, in the order of their ids."""
        fitting: list[_Row] = []
        is_descending, looked_at = self._sort == "newest", 0
        first, beyond = _id_bounds(self._chosen_by)
        end = first if is_descending else beyond
        after = start.id if start is not None else beyond if is_descending else first
        for ids in found.ids(self._tx, descending=is_descending, after=after):
            if ids and end is not None and (ids[0] < end if is_descending else ids[0] > end):
                break
            for part in _batched(ids, STEP):
                fitting += self.sorted(part)
                looked_at += len(part)
                if len(fitting) > limit:
                    return _Part(fitting[:limit], _position(fitting[limit - 1]))
                if looked_at >= most:
                    return _Part(fitting, _Position("", part[-1]))
        return _Part(fitting, None)

    def count(self, most: int) -> int:
        """Count up to ``most`` of those who fit."""
        if not self._words:
            fitting = select(people.c.id).where(*_conditions(people.c, self._chosen_by))
            counted = select(func.count()).select_from(fitting.limit(most).subquery())
            return int(self._tx.execute(counted).scalar_one())
        found, start = 0, None
        while found < most:
            part, start = self.walk(start, MOST_LOOKED_AT)
            found += len(part)
            if start is None:
                break
        return min(found, most)

    def _some(self, start: _Position | None, step: int, enough: int) -> Sequence[Any]:
        """Of the next ``step`` people, give those who fit as far as the database can tell."""
        chosen = self._after(start).limit(step).subquery("chosen")
        conditions = _conditions(
            chosen.c, self._chosen_by, but=_inside(self._chosen_by, self._sort)
        )
        statement = select(*(chosen.c[name] for name in _Row._fields)).where(*conditions)
        if not self._words:
            statement = statement.limit(enough)
        return self._tx.execute(statement.order_by(*self._order(chosen.c.key, chosen.c.id))).all()

    def _order(self, key: ColumnElement[Any], id_: ColumnElement[Any]) -> Sequence[Any]:
        orders: Mapping[Sort, Sequence[Any]] = {
            "newest": [id_.desc()],
            "oldest": [id_],
            "address": [key],
            "name": [key, id_],
        }
        return orders[self._sort]

    def _after(self, start: _Position | None) -> Select[Any]:
        """Choose everybody after ``start`` who fits what the order's own index knows."""
        inside = _inside(self._chosen_by, self._sort)
        others = {field.name for field in fields(Filter)} - inside
        told = (people.c[name] for name in ("language", "confirmed_at", "created_at"))
        statement = select(*self._columns, *told)
        statement = statement.where(*_conditions(people.c, self._chosen_by, but=others))
        if self._sort in BY_ID:
            statement = statement.where(*_id_range(self._chosen_by))
        if start is not None:
            statement = statement.where(*self._is_after(start))
        return statement.order_by(*self._order(self._key, people.c.id))

    def _is_after(self, start: _Position) -> Sequence[ColumnElement[bool]]:
        key = literal(start.key, OrderedText)
        if self._sort == "newest":
            return [people.c.id < start.id]
        if self._sort == "oldest":
            return [people.c.id > start.id]
        if self._sort == "address":  # nobody has the same
            return [self._key > key]
        return [self._key >= key, or_(self._key > key, people.c.id > start.id)]

    def _fitting(self, found: Sequence[Any]) -> list[_Row]:
        known = [_Row(*row) for row in found]
        if not self._words:
            return known
        return [
            row
            for row in known
            if search.is_match(self._words, search.text_of(row.email, row.email_key, row.name))
        ]


def _few(tx: Transaction, chosen_by: Filter, sort: Sort) -> Collection[UUID] | Found | None:
    """Find all who may fit, if one of the things asked for leaves few; None if none of them does.

    What the order's own index knows is left to that. Many that the search's index has found are
    given as they are, if they are in the order that is asked for.
    """
    by_search: Found | None = None
    # Of accents alone nothing is left: that finds everybody, as if nothing were searched for.
    if words := search.words_of(chosen_by.search or ""):
        by_search = search_index.find(tx, words)
        if by_search is not None and by_search.count <= FEW:
            return [id_ for ids in by_search.ids(tx) for id_ in ids]
    if (
        chosen_by.welcome is not None
        and (found := _few_welcomes(tx, chosen_by.welcome)) is not None
    ):
        return found
    inside = _inside(chosen_by, sort) if by_search is None else set()
    for names in (("prefix",), ("language",), ("confirmed",), ("since", "until")):
        if inside.issuperset(names) or (sort in BY_ID and "since" in names):
            continue
        asked = replace(Filter(), **{name: getattr(chosen_by, name) for name in names})
        if asked == Filter():
            continue
        may_fit = select(people.c.id).where(*_conditions(people.c, asked)).limit(FEW + 1)
        found = tx.execute(may_fit).scalars().all()
        if len(found) <= FEW:
            return found
    return by_search if sort in BY_ID else None


def _few_welcomes(tx: Transaction, state: State) -> Collection[UUID] | None:
    """Find who has a welcome in a state, the newest or not, if few messages are in it."""
    # Written so, and in this order, only the index of states will do: however few or many Postgres
    # takes to be in that state.
    in_state = messages.c.state.between(state, state)
    chosen = select(messages.c.person_id, messages.c.template).where(in_state)
    newest = chosen.order_by(messages.c.state.desc(), messages.c.id.desc()).limit(FEW + 1)
    found = tx.execute(newest).all()
    if len(found) > FEW:
        return None
    return {row.person_id for row in found if row.template == "welcome"}


def _inside(chosen_by: Filter, sort: Sort) -> set[str]:
    """Name what an index in this order knows as well: all that it gives fits it."""
    if sort == "address":
        return {"prefix"}
    if sort == "name":
        return set()
    return {"confirmed" if chosen_by.language is None else "language"}


def _conditions(c: Any, chosen_by: Filter, but: Collection[str] = ()) -> list[ColumnElement[bool]]:
    """Say in SQL what people are found by, but for some of it and ``search``."""
    found: list[ColumnElement[bool]] = []
    if chosen_by.prefix and "prefix" not in but:
        first, beyond = (
            literal(end, OrderedText) for end in (chosen_by.prefix, f"{chosen_by.prefix}\U0010ffff")
        )
        found += [c.email_key >= first, c.email_key < beyond]
    if chosen_by.confirmed is not None and "confirmed" not in but:
        is_confirmed = c.confirmed_at.is_not(None)
        found.append(is_confirmed if chosen_by.confirmed else ~is_confirmed)
    if chosen_by.language is not None and "language" not in but:
        found.append(c.language == chosen_by.language)
    if chosen_by.since is not None and "since" not in but:
        found.append(c.created_at >= chosen_by.since)
    if chosen_by.until is not None and "until" not in but:
        found.append(c.created_at < chosen_by.until)
    if chosen_by.welcome is not None and "welcome" not in but:
        newest = select(messages.c.state).where(
            messages.c.person_id == c.id, beside(messages.c.template == "welcome")
        )
        newest = newest.order_by(messages.c.id.desc()).limit(1)
        found.append(newest.scalar_subquery() == chosen_by.welcome)
    return found + (_id_range(chosen_by, c) if {"since", "until"}.isdisjoint(but) else [])


def _id_bounds(chosen_by: Filter) -> tuple[UUID | None, UUID | None]:
    """Say between which ids lie those who signed up between two times: an id holds its time."""
    first = beyond = None
    if chosen_by.since is not None:
        first = earliest_id(chosen_by.since.timestamp() - CLOCKS_SECONDS)
    if chosen_by.until is not None:
        beyond = earliest_id(chosen_by.until.timestamp() + CLOCKS_SECONDS)
    return first, beyond


def _id_range(chosen_by: Filter, c: Any = people.c) -> list[ColumnElement[bool]]:
    """Say in SQL that an id is one of those."""
    first, beyond = _id_bounds(chosen_by)
    found = [] if first is None else [c.id >= first]
    return found if beyond is None else [*found, c.id < beyond]


def _key(sort: Sort, dialect: str) -> ColumnElement[str]:
    if sort == "address":
        return people.c.email_key
    return name_key(dialect) if sort == "name" else literal_column("''", Text)


def _position(row: _Row) -> _Position:
    return _Position(row.key, row.id)


def _write_cursor(position: _Position, sort: Sort) -> str:
    """Make the cursor that continues a list: opaque, and of one order."""
    id_ = _base64(position.id.bytes).rstrip("=")
    if sort == "newest":
        return id_
    key = position.key.encode()
    return f"{sort}.{id_}{_base64(key + bytes(-len(key) % 3))}"


def _read_cursor(cursor: str | None, sort: Sort) -> _Position | None:
    """Read what ``_write_cursor`` made. Raises Unprocessable."""
    if cursor is None:
        return None
    named, _, rest = cursor.rpartition(".")
    if (named or "newest") != sort or not CURSOR.fits(cursor):
        raise Unprocessable(errors=[{"parameter": "cursor", "detail": CURSOR.said}])
    id_, key = rest[:ID_CHARACTERS], rest[ID_CHARACTERS:]
    written = urlsafe_b64decode(key).rstrip(b"\0").decode(errors="replace").replace("\0", "\ufffd")
    return _Position(written, UUID(bytes=urlsafe_b64decode(f"{id_}==")))


def _batched(ids: Sequence[UUID], size: int) -> Iterator[Sequence[UUID]]:
    """Cut a list into parts."""
    return (ids[n : n + size] for n in range(0, len(ids), size))


def _base64(given: bytes) -> str:
    return urlsafe_b64encode(given).decode()
