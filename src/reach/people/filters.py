"""Which people an operator means: what they are found by, in which order, and how many they are.

A page costs the same however many people there are, and whatever it is asked for: see ``page`` and
docs/decisions/0068-search.md.
"""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Text,
    func,
    literal,
    literal_column,
    select,
)

from reach.db.effort import Effort
from reach.db.keyset import MOST_COUNTED, Count
from reach.db.transaction import Transaction
from reach.db.types import CLOCKS_SECONDS, OrderedText, among, beside, earliest_id, encode, rows
from reach.messages.model import State, messages
from reach.people import finding, queries, search
from reach.people.cursors import Position, read_cursor, write_cursor
from reach.people.finding import Found
from reach.people.model import Person, people

Sort = Literal["newest", "oldest", "address"]
SORTS: tuple[Sort, ...] = get_args(Sort)
#: Up to so many who may fit are all looked at, and sorted.
FEW = 1500
#: They are read so many at a time.
STEP = 500
#: Where more may fit, so many are gone through for a page, in the order that is asked for; and no
#: further step is made after so long, on a machine that has much to do.
MOST_LOOKED_AT, PAGE_SECONDS = 2200, 0.03
#: After the first step, so many at a time.
FURTHER = 1000
#: They are counted so many at a time, and no more are looked at after so long.
COUNTED_STEP, COUNT_SECONDS = 5000, 0.04
#: The orders of people's ids, which are those of their sign-ups.
BY_ID = ("newest", "oldest")


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

    @property
    def is_plain(self) -> bool:
        """Whether one index has all of them, in the order of their ids."""
        return self == Filter(confirmed=self.confirmed)


class _Row(NamedTuple):
    """What is read of those who may fit; ``key`` is what they are sorted by, before their id."""

    id: UUID
    email: str
    email_key: str
    name: str
    key: str


class _Part(NamedTuple):
    """Part of a list, and where the next one begins; None: this is the last."""

    rows: Sequence[_Row]
    end: Position | None


def page(
    tx: Transaction, chosen_by: Filter, *, sort: Sort = "newest", limit: int, after: str | None
) -> tuple[Sequence[Person], str | None]:
    """List up to ``limit`` people, and give the cursor that continues the list; None at its end.

    A part may have fewer people, even none, and go on all the same: where many may fit and few do,
    so many are looked at, and no more. Raises Unprocessable for a cursor of another sort.
    """
    start = read_cursor(after, sort)
    if sort == "newest" and chosen_by.is_plain:
        before, confirmed = start and start.id, chosen_by.confirmed
        listed = queries.page(tx, limit=limit + 1, before=before, confirmed=confirmed)
        on = Position("", listed[limit - 1].id) if len(listed) > limit else None
        return listed[:limit], on and write_cursor(on, sort)
    list_, few = _List(tx, chosen_by, sort), _few(tx, chosen_by, sort)
    if isinstance(few, Found):
        found, end = list_.walk_found(few, start, limit, Effort(FEW, PAGE_SECONDS))
    elif few is None:
        found, end = list_.walk(start, limit)
    else:
        found, end = list_.part(list_.sorted(few), start, limit)
    known = queries.find_all(tx, [row.id for row in found])
    shown = [known[row.id] for row in found]
    return shown, None if end is None else write_cursor(end, sort)


def count(tx: Transaction, chosen_by: Filter, *, most: int = MOST_COUNTED) -> Count:
    """Count those who fit, up to ``most`` + 1; where many may fit and few do, for a moment only."""
    list_, few = _List(tx, chosen_by, "newest"), _few(tx, chosen_by, "newest")
    if few is None or isinstance(few, Found):
        found, is_all = list_.count(few, most + 1)
    else:
        found, is_all = len(list_.sorted(few)), True
    return Count(min(found, most + 1), is_all and found <= most)


class _List:
    """People in an order, as one transaction sees them."""

    def __init__(self, tx: Transaction, chosen_by: Filter, sort: Sort) -> None:
        self._tx = tx
        self._chosen_by = chosen_by
        self._sort = sort
        self._words = search.words_of(chosen_by.search or "")
        self._key = _key(sort)
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

    def part(self, few: Sequence[_Row], start: Position | None, limit: int) -> _Part:
        """Cut a part out of those who fit, in order."""
        if start is not None:
            is_descending = self._sort == "newest"
            few = [
                r for r in few if (_position(r) < start if is_descending else _position(r) > start)
            ]
        return _Part(few[:limit], _position(few[limit - 1]) if len(few) > limit else None)

    def walk(self, start: Position | None, limit: int) -> _Part:
        """Go through people in order, more at a time, until there are enough."""
        found: list[_Row] = []
        effort, step = Effort(MOST_LOOKED_AT, PAGE_SECONDS), max(4 * limit, 200)
        while True:
            size = effort.take(step)
            found += self._fitting(self._some(start, size, limit + 1 - len(found)))
            if len(found) > limit:
                return _Part(found[:limit], _position(found[limit - 1]))
            start = self._end(start, size)
            if start is None or effort.is_over:
                return _Part(found, start)
            step = FURTHER

    def walk_found(self, found: Found, start: Position | None, limit: int, effort: Effort) -> _Part:
        """Go through those whom the search's index has found, in the order of their ids."""
        fitting: list[_Row] = []
        is_descending = self._sort == "newest"
        first, beyond = _id_bounds(self._chosen_by)
        end = first if is_descending else beyond
        after = start.id if start is not None else beyond if is_descending else first
        for ids in found.ids(self._tx, descending=is_descending, after=after, step=STEP):
            if ids and end is not None and (ids[0] < end if is_descending else ids[0] > end):
                break
            for part in _batched(ids, STEP):
                fitting += self.sorted(part)
                effort.take(len(part))
                if len(fitting) > limit:
                    return _Part(fitting[:limit], _position(fitting[limit - 1]))
                if effort.is_over:
                    return _Part(fitting, Position("", part[-1]))
        return _Part(fitting, None)

    def count(self, found: Found | None, most: int) -> tuple[int, bool]:
        """Count up to ``most`` of those who fit, and say whether these are all."""
        effort = Effort(sys.maxsize, COUNT_SECONDS)
        if found is not None:
            part = self.walk_found(found, None, most, effort)
            return len(part.rows), part.end is None
        is_slow = bool(self._words) or self._chosen_by.welcome is not None
        step, counted, start = STEP if is_slow else COUNTED_STEP, 0, None
        while True:
            counted += self._count_some(start, step)
            start = self._end(start, step)
            if start is None or counted >= most or effort.is_over:
                return counted, start is None

    def _end(self, start: Position | None, step: int) -> Position | None:
        """Find the last one of the next ``step`` people; None if there are not so many."""
        last = self._tx.execute(self._after(start).offset(step - 1).limit(1)).one_or_none()
        return None if last is None else Position(last.key, last.id)

    def _some(self, start: Position | None, step: int, enough: int) -> Sequence[Any]:
        """Of the next ``step`` people, give those who fit as far as the database can tell."""
        chosen = self._after(start).limit(step).subquery("chosen")
        statement = select(*(chosen.c[name] for name in _Row._fields)).where(*self._others(chosen))
        if not self._words:
            statement = statement.limit(enough)
        return self._tx.execute(statement.order_by(*self._order(chosen.c.key, chosen.c.id))).all()

    def _count_some(self, start: Position | None, step: int) -> int:
        """Count those of the next ``step`` people who fit."""
        if self._words:
            return len(self._fitting(self._some(start, step, step)))
        chosen = self._after(start).limit(step).subquery("chosen")
        counted = select(func.count()).select_from(chosen).where(*self._others(chosen))
        return int(self._tx.execute(counted).scalar_one())

    def _others(self, chosen: FromClause) -> Sequence[ColumnElement[bool]]:
        """Say what those have to fit as well whom ``_after`` chooses."""
        inside = _inside(self._chosen_by, self._sort)
        return _conditions(chosen.c, self._chosen_by, but=inside)

    def _order(self, key: ColumnElement[Any], id_: ColumnElement[Any]) -> Sequence[Any]:
        orders: Mapping[Sort, Sequence[Any]] = {
            "newest": [id_.desc()],
            "oldest": [id_],
            "address": [key],
        }
        return orders[self._sort]

    def _after(self, start: Position | None) -> Select[Any]:
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

    def _is_after(self, start: Position) -> Sequence[ColumnElement[bool]]:
        key = literal(start.key, OrderedText)
        if self._sort == "newest":
            return [people.c.id < start.id]
        if self._sort == "oldest":
            return [people.c.id > start.id]
        return [self._key > key]  # nobody has the same

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
        by_search = finding.find(tx, words)
        if by_search is not None:
            by_search = by_search.between(*_id_bounds(chosen_by))
        if by_search is not None and by_search.count <= FEW:
            return [id_ for ids in by_search.ids(tx, step=FEW + 1) for id_ in ids]
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
        # In an index's order, or Postgres may begin with those who do not fit, and find very many.
        order = people.c.email_key if names == ("prefix",) else people.c.id
        may_fit = select(people.c.id).where(*_conditions(people.c, asked)).order_by(order)
        found = tx.execute(may_fit.limit(FEW + 1)).scalars().all()
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


def _key(sort: Sort) -> ColumnElement[str]:
    return people.c.email_key if sort == "address" else literal_column("''", Text)


def _position(row: _Row) -> Position:
    return Position(row.key, row.id)


def _batched(ids: Sequence[UUID], size: int) -> Iterator[Sequence[UUID]]:
    """Cut a list into parts."""
    return (ids[n : n + size] for n in range(0, len(ids), size))
