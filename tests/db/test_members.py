"""Group commit's members: who shares what, and who gets which answer."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy import text

from reach.db.connect import open_database
from reach.db.database import Database
from reach.db.transaction import Transaction, notify
from reach.problems import Conflict, Problem, ServiceUnavailable
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import held, is_awaited

LOCK = "LOCK TABLE numbers IN ACCESS EXCLUSIVE MODE"
INSERT = "INSERT INTO numbers"


class Odd(Problem):
    """A problem whose class takes other arguments than Problem's."""

    status, type, title = 409, "odd", "An odd one"

    def __init__(self, number: int, *, why: str) -> None:
        """Take what only this class knows."""
        super().__init__(f"{number} is odd", headers={"Why": why}, number=number)


class Numbers:
    """A function for groups; it notes who rode together, and runs nothing but statements."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self.rides: list[list[str]] = []

    def add_all(self, tx: Transaction, names: Sequence[str]) -> Sequence[str]:
        """Insert a row each; ``unavailable`` and ``odd`` are refused as problems."""
        self.rides.append(list(names))
        for name in names:
            tx.execute(text(f"{INSERT} (name) VALUES (:name)"), {"name": name})
            notify(tx, name)
        if "unavailable" in names:
            raise ServiceUnavailable("Not this one.", retry_after_seconds=7)
        if "odd" in names:
            raise Odd(3, why="because")
        return [f"added {name}" for name in names]


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """A database with a table of the test's own."""
    database = open_database(settings)

    def make(tx: Transaction) -> None:
        tx.execute(text("DROP TABLE IF EXISTS numbers"))
        tx.execute(text("CREATE TABLE numbers (name varchar(20) PRIMARY KEY)"))

    await database.write(make)
    yield database
    await database.close()


async def stored(database: Database) -> set[str]:
    """Every name in the table."""
    found = await database.read(lambda tx: tx.execute(text("SELECT name FROM numbers")).all())
    return {row.name for row in found}


async def test_who_comes_during_a_commit_rides_in_one_next(
    database: Database, settings: Settings
) -> None:
    """One is under way; all who come meanwhile, of whatever function, share the next."""
    first, second = Numbers(), Numbers()
    add, add_too = database.group(first.add_all), database.group(second.add_all)
    async with held(settings, LOCK):
        alone = asyncio.ensure_future(add("alone"))
        await eventually(lambda: is_awaited(settings, INSERT))
        others = [asyncio.ensure_future(add(f"n{n}")) for n in range(20)]
        others += [asyncio.ensure_future(add_too(f"m{n}")) for n in range(20)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in (alone, *others))
    assert await alone == "added alone"
    assert await asyncio.gather(*others) == [f"added {c}{n}" for c in "nm" for n in range(20)]
    assert first.rides == [["alone"], [f"n{n}" for n in range(20)]]
    assert second.rides == [[f"m{n}" for n in range(20)]]
    assert len(await stored(database)) == 41


async def test_who_gives_up_during_a_commit_disturbs_nobody(
    database: Database, settings: Settings
) -> None:
    """A caller that is cancelled while its commit runs: the neighbour has its answer."""
    numbers = Numbers()
    add = database.group(numbers.add_all)
    async with held(settings, LOCK):
        one, other = asyncio.ensure_future(add("one")), asyncio.ensure_future(add("other"))
        await eventually(lambda: is_awaited(settings, INSERT))
        waiting = asyncio.ensure_future(add("waiting"))
        await asyncio.sleep(0)
        one.cancel()
        waiting.cancel()
    assert await other == "added other"
    assert one.cancelled()
    assert await add("later") == "added later"
    assert numbers.rides == [["one", "other"], ["later"]]
    assert await stored(database) - {"one"} == {"other", "later"}


@pytest.mark.parametrize("bad", ["unavailable", "odd"])
async def test_a_problem_is_its_own_members(database: Database, bad: str) -> None:
    """A problem that one raises, even a 503, is not its neighbours', who are committed."""
    numbers = Numbers()
    add = database.group(numbers.add_all)
    event = database.subscribe(bad)
    names = ["one", bad, "three"]
    one, refused, three = await asyncio.gather(*map(add, names), return_exceptions=True)
    assert (one, three) == ("added one", "added three")
    assert isinstance(refused, Problem)
    assert (refused.type, refused.detail, refused.members, refused.headers) == (
        ("unavailable", "Not this one.", {}, {"Retry-After": "7"})
        if bad == "unavailable"
        else ("odd", "3 is odd", {"number": 3}, {"Why": "because"})
    )
    assert numbers.rides == [names, ["one"], [bad], ["three"]]
    assert await stored(database) == {"one", "three"}
    assert not event.is_set()


async def test_the_answers_are_the_callers_own(database: Database, settings: Settings) -> None:
    """A database that is unavailable answers all: with exceptions that they do not share."""
    impatient = open_database(settings.model_copy(update={"database_seconds": 0.4}))
    add = impatient.group(Numbers().add_all)
    async with held(settings, LOCK):
        answers = await asyncio.gather(add("one"), add("two"), return_exceptions=True)
    one, two = answers
    assert isinstance(one, ServiceUnavailable)
    assert isinstance(two, ServiceUnavailable)
    assert one is not two
    assert one.headers["Retry-After"]
    await impatient.close()
    assert await stored(database) <= {"one", "two"}


async def test_too_few_answers_are_an_error(database: Database) -> None:
    """A function that forgets a member fails, loudly and for all; nothing is stored."""

    def forget_all(tx: Transaction, names: Sequence[str]) -> Sequence[str]:
        tx.execute(text(f"{INSERT} (name) VALUES ('x')"))
        return names[1:]

    forget = database.group(forget_all)
    answers = await asyncio.gather(forget("one"), forget("two"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ValueError, ValueError]
    assert await stored(database) == set()
    assert await database.group(Numbers().add_all)("three") == "added three"


async def test_closing_finishes_what_is_under_way(settings: Settings, database: Database) -> None:
    """A process that stops has answered whom it let in."""
    closing = open_database(settings)
    add = closing.group(Numbers().add_all)
    tasks = [asyncio.ensure_future(add(f"n{n}")) for n in range(5)]
    await asyncio.sleep(0)
    await closing.close()
    assert await asyncio.gather(*tasks) == [f"added n{n}" for n in range(5)]
    assert len(await stored(database)) == 5


async def test_a_problem_that_fits_no_state_reaches_its_caller(database: Database) -> None:
    """Outside a group too: `write` raises what its function raises, with nothing changed."""

    def refuse(tx: Transaction) -> None:
        tx.execute(text(f"{INSERT} (name) VALUES ('x')"))
        raise Conflict("No.")

    with pytest.raises(Conflict, match=r"^No\.$"):
        await database.write(refuse)
    assert await stored(database) == set()
