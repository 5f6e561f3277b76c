"""Counters: numbers that the database itself keeps as rows change, so that nobody has to count.

Which there are, and what changes them, is said by migrations 0008, 0012, 0015, 0018 and 0019. A
*counter* is how many there are now; an *hourly count* how many there were in an hour.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Executable,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal_column,
    select,
    tuple_,
    type_coerce,
    union_all,
)

from reach.db.transaction import Transaction
from reach.db.types import EPOCH, Instant, metadata, now

#: On Postgres a counter is the sum of its rows, of which each statement that changes it adds one.
counters = Table(
    "counters",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True),
    Column("name", Text, nullable=False),
    Column("hour", Instant, nullable=False),
    Column("count", BigInteger, nullable=False),
)
Index("ix_counters_hour", counters.c.hour, counters.c.name)

#: Hourly counts: of everybody who came, and of those among them whom an operator added.
SIGN_UPS, ADDED = "sign_ups", "added"
#: Of messages that were sent, and of those that failed.
DELIVERIES, FAILURES = "deliveries", "failures"
#: Of messages that were reported as bounced, and as complained about: by when that was reported.
BOUNCES, COMPLAINTS = "bounces", "complaints"
#: The hour of what counts for now, and not for an hour.
CURRENT = EPOCH
#: How many rows a transaction folds at most.
FOLD_ROWS = 5000
#: How long hourly counts are kept: for 90 whole days, and the one that has begun.
KEPT_DAYS = 91
DAY_MICROSECONDS = 86_400_000_000

_SUM = cast(func.sum(counters.c["count"]), BigInteger)
_SUMS = select(counters.c.name, counters.c.hour, _SUM).group_by(counters.c.hour, counters.c.name)
_READ = union_all(
    _SUMS.where(counters.c.hour == CURRENT),
    _SUMS.where(counters.c.hour >= bindparam("since", type_=Instant)),
)

_oldest = (
    select(counters.c.hour, counters.c.name).order_by(counters.c.id).limit(FOLD_ROWS).subquery()
)
#: How many rows the next fold would take, and how many it would leave.
_LOOK = select(
    func.count(), func.count(func.distinct(tuple_(_oldest.c.hour, _oldest.c.name)))
).select_from(_oldest)
#: The oldest: what is folded is new. Two who fold at the same time take different rows, and wait
#: for nobody.
_taken = (
    select(counters.c.id)
    .order_by(counters.c.id)
    .limit(FOLD_ROWS)
    .with_for_update(skip_locked=True)
    .cte("taken")
    .prefix_with("MATERIALIZED")
)
_gone = (
    delete(counters)
    .where(counters.c.id.in_(select(_taken.c.id)))
    .returning(counters.c.name, counters.c.hour, counters.c["count"])
    .cte("gone")
)
_sum = cast(func.sum(_gone.c["count"]), BigInteger)
_summed = (
    insert(counters)
    .from_select(
        ["name", "hour", "count"],
        select(_gone.c.name, _gone.c.hour, _sum)
        .group_by(_gone.c.name, _gone.c.hour)
        .having(_sum != 0),
    )
    .cte("summed")
)
_FOLD = select(func.count()).select_from(_gone).add_cte(_summed)


def read(tx: Transaction, since: datetime) -> Mapping[tuple[str, datetime], int]:
    """Read every counter (its hour is ``CURRENT``), and the hourly counts from ``since`` on.

    What is not there is 0.
    """
    return {(name, hour): count for name, hour, count in tx.execute(_READ, {"since": since})}


def read_days(
    tx: Transaction, since: datetime, since_day: datetime
) -> tuple[Mapping[tuple[str, datetime], int], Mapping[tuple[str, datetime], int]]:
    """Read as ``read`` does; and by day (UTC), from ``since_day`` on, what was counted by hour."""
    given = {"since": since, "since_day": since_day}
    found = tx.execute(_read_days(tx.dialect.name), given).all()
    hours, days = (
        {(row.name, row.hour): row.count_ for row in found if row.is_day == is_day}
        for is_day in (0, 1)
    )
    return hours, days


@cache
def _read_days(dialect: str) -> Executable:
    day: ColumnElement[Any]
    if dialect == "sqlite":
        hour = type_coerce(counters.c.hour, BigInteger)
        day = type_coerce(hour - hour % literal_column(str(DAY_MICROSECONDS)), Instant)
    else:
        day = func.date_trunc("day", counters.c.hour, "UTC", type_=Instant)
    by_day = select(counters.c.name, day.label("day"), counters.c["count"])
    hours = by_day.where(counters.c.hour >= bindparam("since_day", type_=Instant)).subquery("hours")
    summed = cast(func.sum(hours.c["count"]), BigInteger)
    days = select(hours.c.name, hours.c.day, summed, literal_column("1"))
    sums = select(counters.c.name, counters.c.hour, _SUM.label("count_"))
    sums = sums.add_columns(literal_column("0").label("is_day"))
    sums = sums.group_by(counters.c.hour, counters.c.name)
    return union_all(
        sums.where(counters.c.hour == CURRENT),
        sums.where(counters.c.hour >= bindparam("since", type_=Instant)),
        days.group_by(hours.c.day, hours.c.name),
    )


def is_foldable(tx: Transaction) -> bool:
    """Whether there is something to fold: that is read, so who is idle writes nothing."""
    rows, sums = tx.execute(_LOOK).one()
    return bool(rows > sums)


def fold(tx: Transaction) -> bool:
    """Add many rows of a counter up into one, 5,000 at most; whether there may be more.

    Postgres alone has such rows.
    """
    if tx.dialect.name == "sqlite":
        return False
    return is_foldable(tx) and tx.execute(_FOLD).scalar_one() == FOLD_ROWS


def sweep(tx: Transaction) -> int:
    """Delete the hourly counts of more than 91 days ago; returns how many rows."""
    is_old = (counters.c.hour > CURRENT) & (counters.c.hour < now(-KEPT_DAYS * 86_400))
    return tx.execute(delete(counters).where(is_old)).rowcount
