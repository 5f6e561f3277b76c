"""Whose circuit breaker is open: what workers tell operators of it, in a table.

A worker with several mail servers has a row for each that is open.

A breaker is in its worker's memory. Its row is written when it opens, renewed with each probe, and
deleted when a probe is answered: a worker that sends, or has nothing to do, writes nothing. A row
that is not renewed in time is a dead worker's, and counts for nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache

from sqlalchemy import (
    Column,
    Executable,
    Float,
    Integer,
    Table,
    Text,
    bindparam,
    case,
    delete,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from reach.db.transaction import Transaction
from reach.db.types import Instant, metadata, now
from reach.messages.outcome import Unavailable

#: How long a probe may take, beyond the wait before it, until its worker is taken for dead.
PROBE_SECONDS = 120.0

open_breakers = Table(
    "open_breakers",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("opened_at", Instant, nullable=False),
    Column("fresh_until", Instant, nullable=False),
    Column("smtp_code", Integer),
    Column("enhanced_code", Text),
)
_columns = open_breakers.c


@dataclass(frozen=True, slots=True)
class OpenBreaker:
    """A mail server that a worker gives nothing since ``opened_at``, and its last code, if any.

    Not its words: they may name an address, which would stay here when its person is erased.
    ``server`` is its host, empty if the worker has only one; ``number`` its place among ``count``.
    """

    worker: str
    opened_at: datetime
    smtp_code: int | None
    enhanced_code: str | None
    server: str = ""
    number: int = 1
    count: int = 1


def name_of(worker: str, number: int, count: int, server: str) -> str:
    """Write whose breaker it is, where a worker has several: what stands for the worker then."""
    return f"{worker} {number}/{count} {server}"


def _read(
    name: str, opened_at: datetime, smtp_code: int | None, enhanced_code: str | None
) -> OpenBreaker:
    """Read what ``name_of`` wrote; a worker's name has no blanks."""
    worker, _, told = name.partition(" ")
    place, _, server = told.partition(" ")
    number, _, count = place.partition("/")
    found = OpenBreaker(worker, opened_at, smtp_code, enhanced_code)
    if not told:
        return found
    return replace(found, server=server, number=int(number), count=int(count))


def stopped(breakers: Sequence[OpenBreaker]) -> Sequence[OpenBreaker]:
    """Of workers that send nothing, by whatever server: the breaker that opened last."""
    of_worker: dict[str, list[OpenBreaker]] = {}
    for one in breakers:
        of_worker.setdefault(one.worker, []).append(one)
    return [of[-1] for of in of_worker.values() if len(of) >= of[-1].count]


def note(tx: Transaction, worker: str, reason: Unavailable | None, wait_seconds: float) -> None:
    """Write down that a worker's breaker is open, and is probed again after ``wait_seconds``."""
    given = {
        "worker": worker,
        "fresh_seconds": wait_seconds + PROBE_SECONDS,
        "smtp_code": reason.code if reason else None,
        "enhanced_code": reason.enhanced if reason else None,
    }
    tx.execute(_note(tx.dialect.name), given)


def forget(tx: Transaction, worker: str) -> None:
    """Delete a worker's row; and those of workers that are dead."""
    is_over = _columns.fresh_until < now()
    tx.execute(delete(open_breakers).where((_columns.worker == worker) | is_over))


def read(tx: Transaction) -> Sequence[OpenBreaker]:
    """List the breakers that are open now, the one first that has been open for longest."""
    is_fresh = _columns.fresh_until >= now()
    shown = select(_columns.worker, _columns.opened_at, _columns.smtp_code, _columns.enhanced_code)
    found = tx.execute(shown.where(is_fresh).order_by(_columns.opened_at, _columns.worker))
    return [_read(*row) for row in found]


@cache
def _note(dialect: str) -> Executable:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    said = {
        "fresh_until": now(bindparam("fresh_seconds", type_=Float)),
        "smtp_code": bindparam("smtp_code", type_=Integer),
        "enhanced_code": bindparam("enhanced_code", type_=Text),
    }
    made = insert(open_breakers).values(
        worker=bindparam("worker", type_=Text), opened_at=now(), **said
    )
    # A dead worker's name may come again: then it has been open since now.
    since = case((_columns.fresh_until < now(), now()), else_=_columns.opened_at)
    return made.on_conflict_do_update(index_elements=["worker"], set_={**said, "opened_at": since})
