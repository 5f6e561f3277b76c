"""Group commit: one commit for many, and each member gets its own answer."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import event, text

from reach.db.engine import Database, Transaction, open_database
from reach.problems import Unavailable
from reach.settings import Settings
from tests.eventually import eventually


def add_all(tx: Transaction, names: Sequence[str]) -> Sequence[str]:
    """Insert rows; a bad name is a constraint's, a statement's or Python's failure."""
    for name in names:
        if name == "python":
            raise ZeroDivisionError
        if name == "statement":
            tx.execute(text("SELECT no_such_column FROM numbers"))
        tx.execute(text("INSERT INTO numbers (name) VALUES (:name)"), {"name": name})
    return [f"added {name}" for name in names]


async def table(database: Database) -> None:
    """Make a table of the test's own."""

    def make(tx: Transaction) -> None:
        tx.execute(text("DROP TABLE IF EXISTS numbers"))
        tx.execute(text("CREATE TABLE numbers (name varchar(20) PRIMARY KEY)"))

    await database.write(make)


async def stored(database: Database) -> set[str]:
    """Every name in the table."""
    rows = await database.read(lambda tx: tx.execute(text("SELECT name FROM numbers")).all())
    return {row.name for row in rows}


@pytest.mark.parametrize("bad", ["python", "statement", "taken"])
async def test_one_members_failure_is_its_own(settings: Settings, bad: str) -> None:
    """A failure in Python, in a statement, of a constraint: the neighbours are committed."""
    database = open_database(settings)
    await table(database)
    add = database.group(add_all)
    await add("taken")
    names = [f"n{number}" for number in range(10)]
    names.insert(5, bad)
    answers = await asyncio.gather(*map(add, names), return_exceptions=True)
    assert isinstance(answers.pop(5), Exception)
    assert answers == [f"added n{number}" for number in range(10)]
    assert await stored(database) == {"taken", *(f"n{number}" for number in range(10))}
    await database.close()


async def test_callers_share_commits(settings: Settings) -> None:
    """A hundred callers at once: the first starts alone and at once, the others ride together."""
    database = open_database(settings)
    await table(database)
    sizes: list[int] = []

    def count_all(tx: Transaction, names: Sequence[str]) -> Sequence[str]:
        sizes.append(len(names))
        return add_all(tx, names)

    add = database.group(count_all)
    await asyncio.gather(*(add(f"n{number}") for number in range(100)))
    assert sum(sizes) == 100
    assert len(sizes) <= 2
    await database.close()


async def test_who_gives_up_before_the_commit_is_not_in_it(settings: Settings) -> None:
    """A cancelled caller's item never runs once it has not begun; the others' do."""
    database = open_database(settings)
    await table(database)
    add = database.group(add_all)
    first = asyncio.create_task(add("first"))
    await asyncio.sleep(0)
    second, third = asyncio.create_task(add("second")), asyncio.create_task(add("third"))
    await asyncio.sleep(0)
    second.cancel()
    assert await first == "added first"
    assert await third == "added third"
    assert await stored(database) == {"first", "third"}
    await database.close()


async def test_groups_in_opposite_order_both_commit(settings: Settings) -> None:
    """Two processes' groups lock the same rows the other way round: a deadlock is tried again."""
    one, other = open_database(settings), open_database(settings)
    await table(one)
    meet = asyncio.Barrier(2)
    del meet  # both simply run many times; on Postgres they do collide

    def bump_all(tx: Transaction, names: Sequence[str]) -> Sequence[None]:
        upsert = "INSERT INTO numbers (name) VALUES (:name) ON CONFLICT (name) DO UPDATE SET name = excluded.name"
        for name in names:
            tx.execute(text(upsert), {"name": name})
        return [None] * len(names)

    up, down = one.group(bump_all), other.group(bump_all)
    for _ in range(15):
        await asyncio.gather(
            *(up(f"n{n:02}") for n in range(20)), *(down(f"n{n:02}") for n in reversed(range(20)))
        )
    assert len(await stored(one)) == 20
    await one.close()
    await other.close()


async def test_one_sign_up_is_one_commit(settings: Settings) -> None:
    """Counted where commits are made."""
    from functools import partial

    from reach.people.address import parse_address
    from reach.people.signup import SignUp, sign_up_all

    database = open_database(settings)
    sign_up = database.group(partial(sign_up_all, settings=settings))
    request = SignUp.model_construct(email=parse_address("ada@example.com"), name="Ada")
    commits: list[object] = []
    from sqlalchemy import Engine

    event.listen(Engine, "commit", commits.append)
    try:
        for known in (False, True):
            commits.clear()
            await sign_up(request)
            assert len(commits) == 1, known
    finally:
        event.remove(Engine, "commit", commits.append)
    await database.close()


async def test_a_lock_that_is_not_let_go_is_a_503_and_heals(settings: Settings) -> None:
    """Somebody else holds the lock: an answer in time, and no connection spoilt."""
    from tests.promises.test_crashes import held_rows

    database = open_database(settings.model_copy(update={"database_seconds": 1}))
    await table(database)
    add = database.group(add_all)
    async with held_rows(settings, "LOCK TABLE numbers IN ACCESS EXCLUSIVE MODE"):
        names = [f"n{number}" for number in range(30)]
        answers = await asyncio.gather(*map(add, names), return_exceptions=True)
        assert all(isinstance(answer, Unavailable) for answer in answers)

    async def heals() -> bool:
        try:
            await add("later")
        except Unavailable:
            return False
        return True

    await eventually(heals)
    await asyncio.gather(*(add(f"m{number}") for number in range(30)))
    assert await stored(database) == {"later", *(f"m{number}" for number in range(30))}
    await database.close()
