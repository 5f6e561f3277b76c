"""A key at a sign-up tells nobody that somebody is there, or was: one answer for all."""

import asyncio
from collections.abc import Collection
from itertools import product
from typing import Any

from sqlalchemy import select

from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.idempotency.keys import IdempotencyKeys
from reach.idempotency.stored import idempotency_keys
from reach.people import record
from reach.people.address import parse_address
from reach.people.model import people
from reach.people.schemas import SignUp, Submission
from reach.people.signup import sign_up_all
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.database.stored import confirm_everybody, people_in, sign_up, statements
from tests.support.forms import shape
from tests.support.processes.reach import Reach, running_reach

KEY = {"Idempotency-Key": "9f0c1f0e-6c1d-4b6e-9d7e-0a1b2c3d4e5f"}
CALLS = 3
#: Who was there before the first call, and before which calls who is there is erased.
WORLDS: dict[str, tuple[bool, tuple[int, ...]]] = {
    "unknown": (False, ()),
    "known": (True, ()),
    "erased at first": (True, (0,)),
    "erased later": (True, (1,)),
    "erased last": (True, (2,)),
    "came and went": (False, (1, 2)),
}


def sequences() -> list[tuple[tuple[str, int], ...]]:
    """Every way to make three calls: which route, and the first body or another.

    The first call of a route has its first body: which one that is makes no difference.
    """
    every = product(product(("/v1/signups", "/v1/links"), (0, 1)), repeat=CALLS)
    # The last of its entries counts in a dict: from behind, that is the first one.
    return [calls for calls in every if not any(dict(reversed(calls)).values())]


def body(route: str, which: int, name: str) -> dict[str, str]:
    """The first body of somebody, or another: of a request for a link, in another spelling."""
    if route == "/v1/links":
        return {"email": f"{name}@example.com" if not which else f"{name.upper()}@example.com"}
    return {"email": f"{name}@example.com", "name": "Ada" if not which else "Eve"}


async def erase(database: Database, names: Collection[str]) -> None:
    """Erase those of these people who are there."""
    keys = [f"{name}@example.com" for name in names]

    def execute(tx: Transaction) -> None:
        found = tx.execute(select(people.c.id).where(people.c.email_key.in_(keys)))
        for person_id in found.scalars().all():
            record.erase(tx, person_id)

    await database.write(execute)


async def test_one_answer_for_all_whatever_comes_after_what(reach: Reach) -> None:
    """Status, headers and body are, byte for byte, those of an address that nobody ever had.

    Who is there is erased between any two calls; each comes with one body or another.
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


def submissions(settings: Settings, name: str) -> list[Submission[SignUp]]:
    """The first body of somebody, and another, with one key."""
    keys, made = IdempotencyKeys(settings), []
    for which in (0, 1):
        data = body("/v1/signups", which, name)
        email = parse_address(data["email"])
        form = SignUp.model_construct(email=email, name=data["name"], description=None)
        key = keys.of_public(list(KEY.values()), email.key, "/v1/signups", data)
        made.append(Submission(form, key))
    return made


async def test_it_takes_the_same_work(settings: Settings) -> None:
    """The same statements, and as many rows: the time of an answer tells no more than its bytes."""
    async with opened(settings) as database:
        work = []
        for name in ("here", "gone"):
            first, other = submissions(settings, name)
            await database.write(sign_up_all, [first], settings)
            if name == "gone":
                await erase(database, [name])
            for one in (first, other):
                with statements() as done:
                    await database.write(sign_up_all, [one], settings)
                work.append(done)
        assert work[:2] == work[2:]
        # What was done once is not done again: a late repetition brings nobody back.
        assert await people_in(database) == ["here@example.com"]


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


async def test_what_is_refused_now_was_answered_once(reach: Reach) -> None:
    """A form that has grown old, say: it gets its answer again, be its person here or gone."""
    names = ("here", "gone")
    forms = [body("/v1/signups", 0, name) for name in names]
    first = [await reach.http.post("/v1/signups", json=form, headers=KEY) for form in forms]
    await erase(reach.database, ["gone"])
    stricter = reach.settings.model_copy(update={"form_timestamp": "required"})
    async with running_reach(stricter) as later:
        again = [await later.http.post("/v1/signups", json=form, headers=KEY) for form in forms]
        new = await later.http.post("/v1/signups", json=body("/v1/signups", 0, "new"), headers=KEY)
        others = [
            await later.http.post("/v1/signups", json=body("/v1/signups", 1, name), headers=KEY)
            for name in names
        ]
    assert [shape(answer) for answer in first] == [shape(answer) for answer in again]
    assert shape(again[0]) == shape(again[1])
    assert shape(others[0]) == shape(others[1])
    assert new.json()["type"].endswith("/problems/send-again")
