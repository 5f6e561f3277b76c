"""Long lists, newest first, a part at a time, by the rows' ids (keyset pagination).

A part costs the same however long the list is, and whatever is asked for: one index chooses rows in
order, and of these so many are looked at, and no more.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, Select, func, select

from reach.db.effort import Effort
from reach.db.transaction import Transaction
from reach.db.types import CLOCKS_SECONDS, among, beside, earliest_id

#: So many rows are looked at for a part where few of them may fit: a page's worth first, then more
#: at a time; and no further step is made after so long.
MOST_LOOKED_AT, FIRST, FURTHER, PAGE_SECONDS = 5000, 200, 1200, 0.03
#: Up to so many rows are counted, of so many at a time; and no more are looked at after so long.
MOST_COUNTED, COUNTED_STEP, COUNT_SECONDS = 10_000, 1000, 0.04

#: Part of a list, and the id that the next part comes before; None: this is the last.
Part = tuple[Sequence[RowMapping], UUID | None]


class Count(NamedTuple):
    """How many are found: so many, or at least so many if these are not all of them."""

    found: int
    is_all: bool


@dataclass(frozen=True, slots=True)
class Conditions:
    """What rows are found by.

    ``along`` is what an index with the ids in order knows: it gives no row in vain. ``fitting`` is
    what else they must be.
    """

    along: Sequence[ColumnElement[bool]] = ()
    fitting: Sequence[ColumnElement[bool]] = ()

    def between(
        self,
        at: ColumnElement[datetime],
        id_: ColumnElement[UUID],
        since: datetime | None,
        until: datetime | None,
    ) -> "Conditions":
        """Add that a row is of some time: from ``since`` on, and before ``until``.

        An id holds the time it was made at, so it is a range of ids, which the index knows; ``at``
        is looked up for those at its ends, whose clock was another one.
        """
        ids: list[ColumnElement[bool]] = []
        times: list[ColumnElement[bool]] = []
        if since is not None:
            ids.append(id_ >= earliest_id(since.timestamp() - CLOCKS_SECONDS))
            times.append(at >= since)
        if until is not None:
            ids.append(id_ < earliest_id(until.timestamp() + CLOCKS_SECONDS))
            times.append(at < until)
        if self.fitting:
            return Conditions([*self.along, *ids], [*self.fitting, *times])
        return Conditions([*self.along, *ids, *map(beside, times)])

    @property
    def all(self) -> Sequence[ColumnElement[bool]]:
        """All of it, for one statement, which begins by the index all the same."""
        return [*self.along, *map(beside, self.fitting)]


#: What finds everything.
ANY = Conditions()


def page(
    tx: Transaction, rows: Select[Any], by: Conditions = ANY, *, limit: int, before: UUID | None
) -> Part:
    """List up to ``limit`` of a table's ``rows``, newest first, from after ``before`` on.

    A part may have fewer rows, even none, and go on all the same.
    """
    if not by.fitting:
        listed = _onwards(rows.where(*by.along), before).limit(limit + 1)
        return _cut(tx.execute(listed).mappings().all(), limit, None)
    found: list[RowMapping] = []
    effort, step = Effort(MOST_LOOKED_AT, PAGE_SECONDS), max(4 * limit, FIRST)
    while True:
        size = effort.take(step)
        fitting = _onwards(_fitting(rows, by, before, size)).limit(limit + 1 - len(found))
        found += tx.execute(fitting).mappings()
        before = None if len(found) > limit else _last(tx, rows, by, before, size)
        if before is None or effort.is_over:
            return _cut(found, limit, before)
        step = FURTHER


def count(
    tx: Transaction, rows: Select[Any], by: Conditions = ANY, *, most: int = MOST_COUNTED
) -> Count:
    """Count a table's ``rows``, up to ``most`` + 1; where few of many fit, for a moment only."""
    if not by.fitting:
        some = rows.with_only_columns(_id(rows)).where(*by.along).limit(most + 1)
        counted = tx.execute(select(func.count()).select_from(some.subquery())).scalar_one()
        return Count(counted, counted <= most)
    found, before, effort = 0, None, Effort(sys.maxsize, COUNT_SECONDS)
    while True:
        fitting = _fitting(rows, by, before, COUNTED_STEP).with_only_columns(func.count())
        found += tx.execute(fitting).scalar_one()
        before = _last(tx, rows, by, before, COUNTED_STEP)
        if before is None or found > most or effort.is_over:
            return Count(min(found, most + 1), before is None and found <= most)


def _id(rows: Select[Any]) -> ColumnElement[UUID]:
    return rows.selected_columns["id"]


def _onwards(rows: Select[Any], before: UUID | None = None) -> Select[Any]:
    ordered = rows.order_by(_id(rows).desc())
    return ordered if before is None else ordered.where(_id(rows) < before)


def _chosen(rows: Select[Any], by: Conditions, before: UUID | None) -> Select[Any]:
    """Choose the ids of all that the index gives, in order."""
    return _onwards(rows.with_only_columns(_id(rows)).where(*by.along), before)


def _fitting(rows: Select[Any], by: Conditions, before: UUID | None, size: int) -> Select[Any]:
    """Of the next ``size`` rows that the index gives, take those that fit."""
    chosen = among(_id(rows), _chosen(rows, by, before).limit(size))
    return rows.where(chosen, *map(beside, by.fitting))


def _last(
    tx: Transaction, rows: Select[Any], by: Conditions, before: UUID | None, size: int
) -> UUID | None:
    """Find the last one of the next ``size`` rows; None if there are not so many."""
    last = _chosen(rows, by, before).offset(size - 1).limit(1)
    return tx.execute(last).scalar_one_or_none()


def _cut(found: Sequence[RowMapping], limit: int, onwards: UUID | None) -> Part:
    """Give up to ``limit`` rows; what was found beyond them is why the list goes on."""
    return found[:limit], found[limit - 1]["id"] if len(found) > limit else onwards
