"""A key at the door tells nobody that somebody is there, or was: one answer, in one way, for all."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from itertools import product
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from reach.access.answers import Answer, idempotency_keys
from reach.access.idempotency import Onces
from reach.db.engine import Database, Transaction
from reach.people import record
from reach.people.address import parse_address
from reach.people.model import people
from reach.people.signup import Knock, SignUp, knock_all
from reach.settings import Settings
from tests.access.test_once import statements
from tests.people.test_door import shape
from tests.promises.stored import confirm_everybody, opened, people_in, sign_up
from tests.servers.reach import Reach, running_reach

KEY = {"Idempotency-Key": "9f0c1f0e-6c1d-4b6e-9d7e-0a1b2c3d4e5f"}
CALLS = 3
#: Who was there before the first call, and before which calls whoever is there is erased.
WORLDS: dict[str, tuple[bool, tuple[int, ...]]] = {
    "unknown": (False, ()),
    "known": (True, ()),
    "erased at first": (True, (0,)),
    "erased later": (True, (1,)),
    "erased last": (True, (2,)),
    "came and went": (False, (1,)),
    "came and went later": (False, (2,)),
    "erased always": (True, (0, 1, 2)),
}
ANSWER = Answer(202, "yes")


def sequences() -> list[tuple[tuple[str, int], ...]]:
    """Every way to make three calls: which route, and the first body or another.

    The first call of a route has its first body: which one that is makes no difference.
    """
    every = product(product(("/v1/signups", "/v1/links"), (0, 1)), repeat=CALLS)
    return [
        calls
        for calls in every
        if all(calls[0 : n + 1].count((route, 1)) == 0 or (route, 0) in calls[:n] for n, (route, _) in enumerate(calls))
    ]


def body(route: str, which: int, name: str) -> dict[str, str]:
    """The first body of somebody, or another: of a request for a link, in another spelling."""
    if route == "/v1/links":
        return {"email": f"{name}@example.com" if not which else f"{name.upper()}@example.com"}
    return {"email": f"{name}@example.com", "name": "Ada" if not which else "Eve"}


async def erase(database: Database, names: Collection[str]) -> None:
    """Erase whoever of these is there."""
    keys = [f"{name}@example.com" for name in names]

    def execute(tx: Transaction) -> None:
        found = tx.execute(select(people.c.id).where(people.c.email_key.in_(keys)))
        for person_id in found.scalars().all():
            record.erase(tx, person_id)

    await database.write(execute)


async def test_one_answer_for_all_whatever_comes_after_what(reach: Reach) -> None:
    """Signed up, erased, asked again with one body or another: status, headers and body, byte
    for byte, are those of an address that nobody ever had.
    """
    tries = {
        f"{world.replace(' ', '-')}.{number}": (world, calls)
        for (number, calls), world in product(enumerate(sequences()), WORLDS)
    }
    known = [name for name, (world, _) in tries.items() if WORLDS[world][0]]
    await sign_up(reach.database, reach.settings, *(f"{name}@example.com" for name in known))
    await confirm_everybody(reach.database)
    seen: dict[str, list[Any]] = {name: [] for name in tries}

    async def call(name: str, route: str, which: int) -> None:
        answer = await reach.http.post(route, json=body(route, which, name), headers=KEY)
        seen[name].append(shape(answer))

    for n in range(CALLS):
        erased = [name for name, (world, _) in tries.items() if n in WORLDS[world][1]]
        await erase(reach.database, erased)
        await asyncio.gather(*(call(name, *calls[n]) for name, (_, calls) in tries.items()))
    for number, calls in enumerate(sequences()):
        (one,) = {str(seen[f"{world.replace(' ', '-')}.{number}"]) for world in WORLDS}
        statuses = [status for status, _, _ in seen[f"unknown.{number}"]]
        assert statuses == [422 if which else 202 for _, which in calls], (calls, one)


def knocks(settings: Settings, name: str) -> list[Knock[SignUp]]:
    """The first body of somebody, and another, with one key."""
    onces, made = Onces(settings), []
    for which in (0, 1):
        data = body("/v1/signups", which, name)
        email = parse_address(data["email"])
        request = SignUp.model_construct(email=email, name=data["name"], description=None)
        once = onces.at_door(list(KEY.values()), email.key, "/v1/signups", data)
        made.append(Knock(request, once))
    return made


async def test_it_takes_the_same_work(settings: Settings) -> None:
    """The same statements, and as many rows: the time of an answer tells no more than its bytes."""
    async with opened(settings) as database:
        work = []
        for is_erased in (False, True):
            name = f"ada{is_erased}"
            first, other = knocks(settings, name)
            await database.write(knock_all, [first], settings, ANSWER)
            if is_erased:
                await erase(database, [name])
            for one in (first, other):
                with statements() as done:
                    await database.write(knock_all, [one], settings, ANSWER)
                work.append(done)
        present, erased = work[:2], work[2:]
        assert present == erased
        # What was done once is not done again: a late repetition brings nobody back.
        assert await people_in(database) == ["adafalse@example.com"]


async def test_whose_a_row_is_only_its_key_tells(reach: Reach) -> None:
    """Two rows of one person have nothing in common that two people's have not; so one may stay."""
    for name in ("ada", "bob"):
        for key in ("one", "two"):
            data = body("/v1/signups", 0, name)
            headers = {"Idempotency-Key": key}
            assert (await reach.http.post("/v1/signups", json=data, headers=headers)).is_success
    columns = idempotency_keys.c
    shown = select(columns.caller, columns.route, columns.person_id, columns.status, columns.body)
    digests = select(columns.key, columns.fingerprint)
    rows = await reach.database.read(lambda tx: tx.execute(shown.distinct()).all())
    assert len(rows) == 1
    signed = await reach.database.read(lambda tx: tx.execute(digests).all())
    assert len({text for row in signed for text in row}) == 8


@pytest.fixture
async def with_old_forms(
    make_settings: Callable[..., Settings], sqlite: str
) -> AsyncIterator[Reach]:
    """Reach, which takes only forms that say when they were begun."""
    settings = make_settings(database_url=sqlite, form_timestamp="required", form_min_seconds=0)
    async with running_reach(settings) as reach:
        yield reach


async def test_a_form_that_has_grown_old(
    with_old_forms: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was answered while it was new; whoever sends it again gets that answer, erased or not."""
    reach, answers = with_old_forms, []
    robots = reach.app.state.robots
    started = robots.stamp(0.0 + __import__("time").time())
    for name in ("here", "gone"):
        data = {**body("/v1/signups", 0, name), "started": started}
        first = await reach.http.post("/v1/signups", json=data, headers=KEY)
        assert first.status_code == httpx.codes.ACCEPTED
    await erase(reach.database, ["gone"])
    monkeypatch.setattr("reach.people.robots.LONGEST_SECONDS", -1, raising=True)
    for name in ("here", "gone"):
        data = {**body("/v1/signups", 0, name), "started": started}
        answers.append(shape(await reach.http.post("/v1/signups", json=data, headers=KEY)))
    assert answers[0] == answers[1]
