"""Counters: numbers that the database itself keeps as rows change, so that nobody has to count.

Which there are, and what changes them, is said by migrations 0008 and 0012. A *counter* is how many
there are now; an *hourly count* how many there were in an hour.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Column,
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
    select,
    tuple_,
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
#: The hour of what counts for now, and not for an hour.
CURRENT = EPOCH
#: How many rows a transaction folds at most.
FOLD_ROWS = 5000
#: How long hourly counts are kept.
KEPT_DAYS = 14

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
    """Delete the hourly counts of more than 14 days ago; returns how many rows."""
    is_old = (counters.c.hour > CURRENT) & (counters.c.hour < now(-KEPT_DAYS * 86_400))
    return tx.execute(delete(counters).where(is_old)).rowcount
