"""Operators find people by any part of an address or a name, as quickly as ever and for certain."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import Executable, delete, func, select, update

from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import earliest_id
from reach.people import filters, finding, queries, search, search_index
from reach.people.filters import Filter, Sort
from reach.people.indexing import Indexing
from reach.people.model import people
from reach.people.search_index import BLOCK, blocks, changed, grams
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import held
from tests.support.database.stored import add_old_people
from tests.support.people import add, everybody, operator
from tests.support.processes.reach import Reach, running_worker

NAMES = ["Ada Lovelace", "José García", "Eva Weiß", "ЮЛИЯ Чехова", "\uff21da Wide", "Li"]
#: What is looked for, and who is found.
FOUND = {
    "LOVE": ["Ada Lovelace"],
    "ovel": ["Ada Lovelace"],
    "lace ada": ["Ada Lovelace"],
    "ada l": ["Ada Lovelace", "Li"],
    "jose garcia": ["José García"],
    "weiss": ["Eva Weiß"],
    "WEIß": ["Eva Weiß"],
    "чехов": ["ЮЛИЯ Чехова"],
    "юлия": ["ЮЛИЯ Чехова"],
    "ada": ["Ada Lovelace", "\uff21da Wide", "Li"],
    "li": ["Li"],
    "l": ["Ada Lovelace", "Li"],
    "an@bücher": ["Li"],
    "@xn--bcher": ["Li"],
    "user1@": ["José García"],
    "ser1": ["José García"],
    **{text: [] for text in ("a_a", "%", "ser9", "\\", "ve", "lovelacey", "' OR 1=1")},
}


async def test_any_part_finds(reach: Reach) -> None:
    """Whatever its case and accents, and each word of several; two characters begin a word."""
    http = await operator(reach)
    for n, name in enumerate(NAMES):
        email = "adan@bücher.example" if name == "Li" else f"user{n}@example.com"
        assert (await add(http, email=email, name=name)).status_code == 201
    for text, names in FOUND.items():
        found = await everybody(http, search=text, sort="oldest")
        assert [one["name"] for one in found] == names, text


async def test_what_finds_everybody_is_refused(reach: Reach) -> None:
    """Nobody asked for everybody; and a cursor goes on in its own order alone."""
    http = await operator(reach)
    for n in range(3):
        await add(http, email=f"user{n}@example.com")
    for text in ("", " ", "\t", "\u3000", "a\x02b", "a" * 255):
        assert (await http.get("/v1/people", params={"search": text})).status_code == 422, text
    for sort in filters.SORTS:
        page = await http.get("/v1/people", params={"sort": sort, "limit": "2"})
        cursor = page.json()["next_cursor"]
        for other in filters.SORTS:
            params = {"sort": other, "cursor": cursor}
            answer = await http.get("/v1/people", params=params)
            assert answer.status_code == (200 if other == sort else 422), (sort, other)


WORDS = ["anna", "ann", "nan", "lovelace", "love", "lace", "Zoë", "Ada", "Ödön", "li", "x"]


def at(n: int) -> datetime:
    """When the n-th signed up."""
    return datetime(2026, 2, 1, tzinfo=UTC) + timedelta(seconds=n)


def made_up(count: int) -> list[dict[str, Any]]:
    """People whose names and addresses share their parts; one signed up each second."""
    some, confirmed = random.Random(1), datetime(2026, 1, 1, tzinfo=UTC)
    return [
        {
            "id": UUID(int=earliest_id(at(n).timestamp()).int | 7 << 76 | 2 << 62 | n),
            "created_at": at(n),
            "email": f"{some.choice(WORDS).encode('ascii', 'ignore').decode()}{n}@example.com",
            "name": f"{some.choice(WORDS)} {some.choice(WORDS)}{'é' * (n % 50 == 0)}",
            "language": some.choice((None, None, None, "de", "fr")),
            "confirmed_at": some.choice((None, confirmed)),
        }
        for n in range(count)
    ]


@pytest.fixture
async def indexed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A database with a block of people that is indexed, and some who are in none.

    There is time to count all of them, however busy the machine is.
    """
    monkeypatch.setattr(filters, "COUNT_SECONDS", 60.0)
    async with opened(settings) as database:
        await add_old_people(database, *made_up(BLOCK + 100))
        await Indexing(database).keep()
        assert await database.read(count_of, blocks) == 1
        yield database


def run(tx: Transaction, statement: Executable) -> None:
    """Change something as another program would."""
    tx.execute(statement)


def oldest(tx: Transaction, count: int) -> Sequence[UUID]:
    """Name so many who are in the block."""
    return tx.execute(select(people.c.id).order_by(people.c.id).limit(count)).scalars().all()


def count_of(tx: Transaction, table: Any) -> int:
    """How many rows there are."""
    return tx.execute(select(func.count()).select_from(table)).scalar_one()


async def listed(database: Database, chosen_by: Filter, sort: Sort, limit: int = 700) -> list[Any]:
    """Everybody on the pages of a list."""
    found: list[Any] = []
    after: str | None = None
    while True:
        part, after = await database.read(
            filters.page, chosen_by, sort=sort, limit=limit, after=after
        )
        found += [one.id for one in part]
        if after is None:
            return found


def expected(rows: Sequence[Any], chosen_by: Filter, sort: Sort) -> list[UUID]:
    """Look at everybody, without any index."""
    words = search.words_of(chosen_by.search or "")
    keys: Mapping[str, Any] = {
        "newest": lambda row: -row.id.int,
        "oldest": lambda row: row.id.int,
        "address": lambda row: row.email_key,
    }
    found = [
        row
        for row in rows
        if search.is_match(words, search.text_of(row.email, row.email_key, row.name))
        and chosen_by.language in (None, row.language)
        and chosen_by.confirmed in (None, row.confirmed_at is not None)
        and row.email_key.startswith(chosen_by.prefix or "")
        and (chosen_by.since or row.created_at) <= row.created_at
        and (chosen_by.until is None or row.created_at < chosen_by.until)
    ]
    return [row.id for row in sorted(found, key=keys[sort])]


async def test_the_index_finds_whom_a_look_at_everybody_finds(indexed: Database) -> None:
    """In each order, with other filters beside; nobody twice, and nobody left out."""
    rows = await indexed.read(lambda tx: tx.execute(select(people)).all())
    some = random.Random(2)
    texts = [
        None,
        "anna",
        "love",
        "zoe",
        "odon",
        "nna1",
        "lace lov",
        "example.com",
        "an",
        "é",
        "zz",
    ]
    for n, text in enumerate(texts):
        for sort in (filters.SORTS[n % 3], filters.SORTS[(n + 1 + n // 3) % 3]):
            chosen_by = Filter(
                search=text,
                prefix=some.choice((None, None, "ann", "love")),
                language=some.choice((None, None, "de")),
                confirmed=some.choice((None, True, False)),
                since=some.choice((None, at(50), at(BLOCK - 50), at(BLOCK + 50))),
                until=some.choice((None, at(BLOCK - 90), at(BLOCK + 90))),
            )
            wanted = expected(rows, chosen_by, sort)
            assert await listed(indexed, chosen_by, sort) == wanted, (chosen_by, sort)
            assert await indexed.read(filters.count, chosen_by) == (len(wanted), True)
            few = await indexed.read(filters.count, chosen_by, most=2)
            assert few == (min(len(wanted), 3), len(wanted) < 3)
    assert await listed(indexed, Filter(), "address") == expected(rows, Filter(), "address")


async def test_a_list_goes_on_where_there_was_no_time_for_more(
    indexed: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page ends early on a machine that is busy, and a count says so; nobody is left out."""
    monkeypatch.setattr(filters, "PAGE_SECONDS", 0.0)
    monkeypatch.setattr(filters, "COUNT_SECONDS", 0.0)
    rows = await indexed.read(lambda tx: tx.execute(select(people)).all())
    chosen_by = Filter(search="example.com", confirmed=True)
    for sort in filters.SORTS:
        wanted = expected(rows, chosen_by, sort)
        assert await listed(indexed, chosen_by, sort, limit=400) == wanted, sort
    count = await indexed.read(filters.count, chosen_by)
    assert 0 < count.found < len(expected(rows, chosen_by, "newest"))
    assert not count.is_all


async def test_who_changes_is_found_by_what_they_are_called_now(indexed: Database) -> None:
    """At once, and after a worker has set the index right; by the former name no longer."""

    async def found(text: str) -> int:
        return (await indexed.read(filters.count, Filter(search=text))).found

    ids = await indexed.read(oldest, 300)

    await indexed.write(run, update(people).where(people.c.id.in_(ids)).values(name="Qwxyz"))
    assert await found("qwxyz") == 300
    assert await indexed.read(count_of, changed) == 300
    await Indexing(indexed).keep()
    assert await indexed.read(count_of, changed) == 0
    assert await found("qwxyz") == 300
    found_now = await indexed.read(finding.find, ("qwxyz",))
    assert found_now is not None
    assert found_now.count == 300
    await indexed.write(run, update(people).where(people.c.id.in_(ids)).values(name="Ada"))
    await Indexing(indexed).keep()
    assert await indexed.read(rows_of, "qwx") == 0


def rows_of(tx: Transaction, gram: str) -> int:
    """How many rows of the index tell of somebody who has this."""
    return tx.execute(select(func.count()).where(grams.c.gram == gram)).scalar_one()


async def test_who_is_erased_leaves_the_index_with_it(indexed: Database) -> None:
    """In the same transaction; whom another program deletes, soon afterwards."""
    ids = await indexed.read(oldest, 9)
    await indexed.write(run, update(people).where(people.c.id.in_(ids)).values(name="Qwxyz"))
    await Indexing(indexed).keep()
    assert await indexed.read(rows_of, "qwx") == 1
    for id_ in ids[:5]:
        assert await indexed.write(queries.erase, id_)
    assert await indexed.read(count_of, changed) == 0
    found = await indexed.read(finding.find, ("qwxyz",))
    assert found is not None
    assert found.count == 4
    await indexed.write(run, delete(people).where(people.c.id.in_(ids[5:])))
    await Indexing(indexed).keep()
    assert await indexed.read(rows_of, "qwx") == 0
    stored = await indexed.read(lambda tx: tx.execute(select(blocks.c.ids)).scalar_one())
    assert not [id_ for id_ in ids if id_.bytes in stored]


async def test_a_block_of_what_was_true_before_is_not_written(settings: Settings) -> None:
    """Somebody is renamed, or goes, between the look and the writing: it is made again."""
    async with opened(settings) as database:
        ids = await add_old_people(database, *made_up(BLOCK + 1))
        for change in (
            update(people).where(people.c.id == ids[7]).values(name="Qwxyz", version=2),
            delete(people).where(people.c.id == ids[8]),
        ):
            block = await database.read(search_index.next_block)
            assert block is not None
            await database.write(run, change)
            assert not await database.write(search_index.add, search_index.with_bits(block))
            assert await database.read(count_of, blocks) == 0
        block = await database.read(search_index.next_block)
        assert block is not None
        ready = search_index.with_bits(block)
        assert await database.write(search_index.add, ready)
        assert not await database.write(search_index.add, ready), "another worker was first"
        assert await database.read(filters.count, Filter(search="qwx")) == (1, True)


async def test_whose_id_is_of_a_wrong_clock_comes_into_the_index(indexed: Database) -> None:
    """Among those of a block that was made before: it is made again."""
    ids = await indexed.read(oldest, 9)
    late = {"id": UUID(int=ids[5].int + 1), "email": "late@example.com", "name": "Qwxyz"}
    await add_old_people(indexed, late)
    await Indexing(indexed).keep()
    assert await indexed.read(filters.count, Filter(search="qwxyz")) == (1, True)
    assert await indexed.read(filters.count, Filter(search="example.com")) == (BLOCK + 101, True)


async def test_a_worker_makes_the_index(reach: Reach) -> None:
    """Of those whom it is worth it for: the newest are looked at one by one."""
    await add_old_people(reach.database, *made_up(BLOCK))
    async with running_worker(reach.settings):

        async def is_made() -> bool:
            return await reach.database.read(count_of, blocks) == 1

        await eventually(is_made)
    http = await operator(reach)
    await add(http, email="new@example.com", name="Qwxyz New")
    assert [one["email"] for one in await everybody(http, search="wxy")] == ["new@example.com"]


async def test_accents_alone_find_everybody(indexed: Database) -> None:
    """Nothing is left to be looked for: who is in the index is found as who is not."""
    assert await indexed.read(filters.count, Filter(search="\u0301")) == (BLOCK + 100, True)


@asynccontextmanager
async def held_until_committed(settings: Settings, change: str) -> AsyncIterator[None]:
    """Change something by a transaction of Postgres that is over when this is."""
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        async with connection.transaction():
            await connection.execute(change)
            yield
    finally:
        connection.terminate()


async def test_a_change_under_way_is_noted_whatever_a_worker_does(
    postgres: str, make_settings: Callable[..., Settings]
) -> None:
    """Somebody is renamed twice; the worker takes up the first while the second is not over."""
    settings = make_settings(database_url=postgres)
    async with opened(settings) as database:
        ids = await add_old_people(database, *made_up(BLOCK))
        await Indexing(database).keep()
        await database.write(run, update(people).where(people.c.id == ids[7]).values(name="Abcde"))
        change = f"UPDATE people SET name = 'Qwxyz' WHERE id = '{ids[7]}'"
        async with held_until_committed(settings, change):
            await asyncio.wait_for(Indexing(database).keep(), 5)
        await Indexing(database).keep()
        assert await database.read(rows_of, "qwx") == 1
        assert await database.read(rows_of, "bcd") == 0


async def test_a_block_waits_for_nobody(
    postgres: str, make_settings: Callable[..., Settings]
) -> None:
    """Who has locked one of its people may wait for another of them: that would be a circle."""
    settings = make_settings(database_url=postgres)
    async with opened(settings) as database:
        ids = await add_old_people(database, *made_up(BLOCK))
        async with held(settings, f"SELECT id FROM people WHERE id = '{ids[7]}' FOR UPDATE"):
            await asyncio.wait_for(Indexing(database).keep(), 5)
            assert await database.read(count_of, blocks) == 0
        await Indexing(database).keep()
        assert await database.read(count_of, blocks) == 1
