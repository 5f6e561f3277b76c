"""Columns, the clock and sets of rows: the same on both databases."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Integer,
    MetaData,
    Table,
    Text,
    insert,
    select,
    type_coerce,
)
from sqlalchemy.exc import StatementError

from reach.db.connect import open_database
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import Document, Instant, Key, encode, new_id, now, rows
from reach.settings import Settings

AT = datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)
samples = Table(
    "samples",
    MetaData(),
    Column("id", Key, primary_key=True),
    Column("at", Instant),
    Column("words", Text),
    Column("data", Document),
    Column("number", Integer),
    Column("seconds", Float),
    Column("flag", Boolean),
)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """A database with a table of every type."""
    database = open_database(settings)

    def make(tx: Transaction) -> None:
        samples.drop(tx, checkfirst=True)
        samples.create(tx)

    await database.write(make)
    yield database
    await database.write(samples.drop)
    await database.close()


def sample(**changes: Any) -> dict[str, Any]:
    """A row, with values that get lost easily."""
    return {
        "id": new_id(),
        "at": AT,
        "words": "Zoë 'O''Neill' \"x\" \\n \u2028 😀 $1 :rows %s",
        "data": {"a": [1, None, {"b": "é"}], "quote": '"'},
        "number": -(2**31),
        "seconds": 0.1,
        "flag": True,
        **changes,
    }


def add(tx: Transaction, given: list[dict[str, Any]]) -> None:
    """Insert rows from one parameter."""
    dialect = tx.dialect.name
    source = rows(dialect, *samples.c)
    names = [column.name for column in samples.c]
    statement = insert(samples).from_select(names, select(*(source.c[name] for name in names)))
    tx.execute(statement, {"rows": encode(dialect, given)})


def stored(tx: Transaction) -> list[dict[str, Any]]:
    """Read every row."""
    return [dict(row) for row in tx.execute(select(samples).order_by(samples.c.id)).mappings()]


@pytest.mark.parametrize("count", [0, 1, 1000])
async def test_any_number_of_rows(database: Database, count: int) -> None:
    """Given as one parameter, they come back as they were."""
    given = [sample(number=number) for number in range(count)]
    await database.write(add, given)
    assert await database.read(stored) == given


async def test_nothing_is_null(database: Database) -> None:
    """None in any column is NULL, not a JSON null, nor the text."""
    given = [sample(**dict.fromkeys(("at", "words", "data", "number", "seconds", "flag")))]
    await database.write(add, given)
    assert await database.read(stored) == given
    columns = [column for column in samples.c if column.name != "id"]
    empty = select(samples.c.id).where(*(type_coerce(c, Text).is_(None) for c in columns))
    assert len(await database.read(lambda tx: tx.execute(empty).all())) == 1


@pytest.mark.parametrize(
    "at",
    [
        datetime(1582, 10, 15, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        AT,
        datetime(9999, 12, 31, tzinfo=UTC),
        datetime(2026, 7, 1, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    ],
)
async def test_times_are_exact(database: Database, at: datetime) -> None:
    """To the microsecond, before 1970 too, and in UTC when they are read."""
    one, many = sample(at=at), sample(at=at)
    await database.write(lambda tx: tx.execute(insert(samples).values(**one)))
    await database.write(add, [many])
    for row in await database.read(stored):
        assert row["at"] == at
        assert row["at"].tzinfo is UTC
    found = select(samples.c.id).where(samples.c.at == at)
    assert len(await database.read(lambda tx: tx.execute(found).all())) == 2


async def test_a_naive_time_is_refused(database: Database) -> None:
    """Nobody knows when it was meant to be."""
    naive = sample(at=AT.replace(tzinfo=None))
    with pytest.raises(ValueError, match="aware"):
        await database.write(add, [naive])
    with pytest.raises(StatementError, match="aware"):
        await database.write(lambda tx: tx.execute(insert(samples).values(**naive)))
    assert await database.read(stored) == []


async def test_the_databases_clock(database: Database) -> None:
    """It is the real one, of the statement's time, and its offset is in seconds."""

    def look(tx: Transaction) -> Any:
        return tx.execute(
            select(
                *(type_coerce(now(seconds), Instant) for seconds in (0, 0.25, -3600)),
                type_coerce(now(), Instant) < type_coerce(now(0.001), Instant),
            )
        ).one()

    before = datetime.now(UTC)
    present, later, earlier, grows = await database.read(look)
    slack = timedelta(seconds=1)
    assert before - slack < present < datetime.now(UTC) + slack
    assert abs(later - present - timedelta(seconds=0.25)) < timedelta(milliseconds=2)
    assert abs(present - earlier - timedelta(hours=1)) < timedelta(milliseconds=2)
    assert grows


async def test_the_clock_does_not_stand_still_in_a_transaction(database: Database) -> None:
    """A transaction may have waited long for a lock: what counts is when its statement began."""

    def look(tx: Transaction) -> bool:
        clock = select(type_coerce(now(), Instant))
        first = tx.execute(clock).scalar_one()
        return any(tx.execute(clock).scalar_one() > first for _ in range(10_000))

    assert await database.read(look)


def test_ids_sort_by_the_time_they_were_made() -> None:
    """Over threads too, never two the same; version 7, and the clock's milliseconds (RFC 9562)."""

    def make() -> list[UUID]:
        return [new_id() for _ in range(2000)]

    async def from_threads() -> list[list[UUID]]:
        return await asyncio.gather(*(asyncio.to_thread(make) for _ in range(4)))

    before = datetime.now(UTC)
    made = asyncio.run(from_threads())
    for ids in made:
        assert ids == sorted(ids)
        assert {(one.version, one.variant) for one in ids} == {(7, "specified in RFC 4122")}
    every = [one for ids in made for one in ids]
    assert len(set(every)) == len(every)
    milliseconds = max(every).int >> 80
    made_at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    assert abs(made_at - before) < timedelta(seconds=5)
