"""Group commit: one commit for many, and each member gets its own answer."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

import pytest
from sqlalchemy import Engine, event, text

from reach.db.connect import open_database
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.people import queries
from reach.people.address import parse_address
from reach.people.schemas import SignUp, Submission
from reach.people.signup import sign_up_all
from reach.problems import ServiceUnavailable
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import held
from tests.support.database.stored import people_in


def add_all(tx: Transaction, names: Sequence[str]) -> Sequence[str]:
    """Insert rows; a bad name is a constraint's, a statement's or Python's failure."""
    for name in names:
        if name == "python":
            raise ZeroDivisionError
        if name == "statement":
            tx.execute(text("SELECT no_such_column FROM numbers"))
        tx.execute(text("INSERT INTO numbers (name) VALUES (:name)"), {"name": name})
    return [f"added {name}" for name in names]


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """A database with a table of the test's own, and little patience."""
    database = open_database(settings.model_copy(update={"database_seconds": 2}))

    def make(tx: Transaction) -> None:
        tx.execute(text("DROP TABLE IF EXISTS numbers"))
        tx.execute(text("CREATE TABLE numbers (name varchar(20) PRIMARY KEY)"))

    await database.write(make)
    yield database
    await database.close()


async def stored(database: Database) -> set[str]:
    """Every name in the table."""
    rows = await database.read(lambda tx: tx.execute(text("SELECT name FROM numbers")).all())
    return {row.name for row in rows}


@pytest.mark.parametrize("bad", ["python", "statement", "taken"])
async def test_one_members_failure_is_its_own(database: Database, bad: str) -> None:
    """A failure in Python, in a statement, of a constraint: the neighbours are committed."""
    add = database.group(add_all)
    await add("taken")
    names = [f"n{number}" for number in range(10)]
    names.insert(5, bad)
    answers = await asyncio.gather(*map(add, names), return_exceptions=True)
    assert isinstance(answers.pop(5), Exception)
    assert answers == [f"added n{number}" for number in range(10)]
    assert await stored(database) == {"taken", *(f"n{number}" for number in range(10))}


async def test_callers_share_commits(database: Database) -> None:
    """A hundred callers at once: the first starts alone and at once, the others ride together.

    Two parts of one process ask for the same function (`reach up`: the API and what takes mail in).
    It answers each caller once all the same.
    """
    sizes: list[int] = []

    def count_all(tx: Transaction, names: Sequence[str]) -> Sequence[str]:
        sizes.append(len(names))
        return add_all(tx, names)

    adds = [database.group(count_all), database.group(count_all)]
    await asyncio.gather(*(adds[number % 2](f"n{number}") for number in range(100)))
    assert sum(sizes) == 100
    assert len(sizes) <= 2


async def test_who_gives_up_before_the_commit_is_not_in_it(database: Database) -> None:
    """A cancelled caller's item never runs once it has not begun; the others' do."""
    add = database.group(add_all)
    first = asyncio.ensure_future(add("first"))
    await asyncio.sleep(0)
    second, third = asyncio.ensure_future(add("second")), asyncio.ensure_future(add("third"))
    await asyncio.sleep(0)
    second.cancel()
    assert await first == "added first"
    assert await third == "added third"
    assert await stored(database) == {"first", "third"}


async def test_groups_in_opposite_order_both_commit(database: Database, settings: Settings) -> None:
    """Two processes sign up the same people the other way round: nobody waits in a circle."""
    other = open_database(settings)
    requests = [
        Submission(SignUp.model_construct(email=parse_address(f"p{n:02}@example.com"), name="Ada"))
        for n in range(40)
    ]
    up = database.group(partial(sign_up_all, settings=settings))
    down = other.group(partial(sign_up_all, settings=settings))
    for _ in range(5):
        await asyncio.gather(*map(up, requests), *map(down, reversed(requests)))
    await other.close()
    assert len(await people_in(database)) == 40


async def test_one_sign_up_is_one_commit(database: Database, settings: Settings) -> None:
    """Counted where commits are made."""
    sign_up = database.group(partial(sign_up_all, settings=settings))
    request = Submission(SignUp.model_construct(email=parse_address("ada@example.com"), name="Ada"))
    commits: list[object] = []

    def count(connection: object) -> None:
        commits.append(connection)

    event.listen(Engine, "commit", count)
    try:
        for known in (False, True):
            commits.clear()
            await sign_up(request)
            assert len(commits) == 1, known
    finally:
        event.remove(Engine, "commit", count)


async def test_a_lock_that_is_not_let_go_is_a_503_and_heals(
    database: Database, settings: Settings
) -> None:
    """Somebody else holds the lock: an answer in time, and no connection spoilt."""
    add = database.group(add_all)
    async with held(settings, "LOCK TABLE numbers IN ACCESS EXCLUSIVE MODE"):
        names = [f"n{number}" for number in range(30)]
        answers = await asyncio.gather(*map(add, names), return_exceptions=True)
        assert all(isinstance(answer, ServiceUnavailable) for answer in answers)

    async def heals() -> bool:
        try:
            await add("later")
        except ServiceUnavailable:
            return False
        return True

    await eventually(heals)
    await asyncio.gather(*(add(f"m{number}") for number in range(30)))
    assert await stored(database) == {"later", *(f"m{number}" for number in range(30))}
