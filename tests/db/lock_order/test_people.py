"""Postgres alone: all who write the same people lock them in one order, so nobody deadlocks.

A lost deadlock is tried again, so callers never see one: these tests count the errors below that.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import delete, select, update

from reach.auth.audit import Actor
from reach.auth.links import Link
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import now
from reach.idempotency.stored import idempotency_keys
from reach.messages.model import messages
from reach.people import actions, address_changes, link_requests, links, move, record
from reach.people.actions import Import
from reach.people.address import parse_address
from reach.people.link_requests import Asked
from reach.people.links import LinkVoid
from reach.people.model import people
from reach.people.move import AddressTaken
from reach.people.newcomers import Newcomer
from reach.people.schemas import CHECK_YOUR_INBOX, SignUp, Submission
from reach.people.signup import sign_up_all
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.lock_order import (
    COUNT,
    FREE,
    are_blocked,
    both_meet,
    requests,
    waiting_in,
)
from tests.support.database.locks import ADD_PERSON, fetch, held
from tests.support.database.stored import addresses, messages_in, people_in, sign_up
from tests.support.people import everybody, operator
from tests.support.processes.reach import running_reach

#: A key that is not there yet, and is held until the transaction ends.
ADD_KEY = (
    "INSERT INTO idempotency_keys (caller, route, key, fingerprint, created_at) "
    "VALUES ('public', '/v1/signups', $1, 'f', now())"
)
LOCK_KEY = "SELECT key FROM idempotency_keys WHERE key = $1 FOR UPDATE"
LOCK_WELCOME = "SELECT id FROM messages WHERE template = 'welcome' FOR UPDATE"
LOCK_PERSON = "SELECT id FROM people WHERE email_key = $1 FOR UPDATE"


def request_of(address: str) -> Submission[SignUp]:
    """A sign-up without a key."""
    email = parse_address(address)
    return Submission(
        SignUp.model_construct(email=email, name="Ada", description=None, language=None)
    )


@pytest.mark.parametrize(
    ("with_keys", "known", "lock"),
    [
        pytest.param(False, False, ADD_PERSON, id="new"),
        pytest.param(False, True, LOCK_PERSON, id="known"),
        pytest.param(True, False, ADD_KEY, id="new-keys"),
        pytest.param(True, True, LOCK_KEY, id="stored-keys"),
    ],
)
async def test_sign_ups_from_both_ends(
    two: tuple[Database, Database],
    settings: Settings,
    errors: list[str],
    with_keys: bool,
    known: bool,
    lock: str,
) -> None:
    """Two processes sign up the same people, or get the same keys, in opposite order: no circle."""
    if known:
        await two[0].write(sign_up_all, requests(with_keys=with_keys), settings)
    up, down = (db.group(partial(sign_up_all, settings=settings)) for db in two)
    one, other = requests(with_keys=with_keys), requests(with_keys=with_keys)
    async with both_meet(settings, lock):
        ours = asyncio.gather(*map(up, one), *map(down, reversed(other)))
    assert set(await ours) == {CHECK_YOUR_INBOX}
    assert errors == []
    assert sorted(await people_in(two[0])) == sorted(addresses(COUNT))
    assert sorted(await waiting_in(two[0])) == sorted(addresses(COUNT))


async def test_lists_and_sign_ups_from_both_ends(
    two: tuple[Database, Database], settings: Settings, errors: list[str]
) -> None:
    """Lists of the same people, in opposite order, beside their sign-ups: each is added once."""
    actor = Actor("command", "0", "cli")
    whole = Import(actor, settings, "x", {"format": "csv"}, welcome=True)
    listed = [Newcomer(parse_address(address), "Ada") for address in addresses(COUNT)]
    up = two[0].group(partial(sign_up_all, settings=settings))
    async with both_meet(settings, ADD_PERSON):
        lists = asyncio.gather(
            two[0].write(actions.add_list, listed, whole),
            two[1].write(actions.add_list, listed[::-1], whole),
        )
    ours = asyncio.gather(*map(up, reversed(requests())))
    added = sum(count for count, _ in await lists)
    assert set(await ours) == {CHECK_YOUR_INBOX}
    assert errors == []
    assert sorted(await people_in(two[0])) == sorted(addresses(COUNT))
    assert added == COUNT
    assert set(await waiting_in(two[0])) == set(addresses(COUNT))


async def test_keys_and_erasures_at_once(
    two: tuple[Database, Database], settings: Settings, errors: list[str]
) -> None:
    """Keys too old to count are claimed again while their people are erased: nobody in a circle."""
    sign_up = two[0].group(partial(sign_up_all, settings=settings))

    def grow_old(tx: Transaction) -> Sequence[UUID]:
        tx.execute(update(idempotency_keys).values(created_at=now(-100_000)))
        return tx.execute(select(people.c.id)).scalars().all()

    for _ in range(3):
        await asyncio.gather(*map(sign_up, requests(with_keys=True)))
        erasures = [two[1].write(record.erase, one) for one in await two[0].write(grow_old)]
        again = reversed(requests(with_keys=True))
        await asyncio.gather(*map(sign_up, again), *erasures)
    assert errors == []


async def test_link_requests_and_erasures_at_once(
    two: tuple[Database, Database], settings: Settings, errors: list[str]
) -> None:
    """Two workers answer requests while their people are erased, or sign up again: no error."""

    async def answer(database: Database) -> None:
        while await database.write(link_requests.answer_some, settings, limit=40):
            pass

    def everybody(tx: Transaction) -> Sequence[UUID]:
        return tx.execute(select(people.c.id)).scalars().all()

    up = two[0].group(partial(sign_up_all, settings=settings))
    for _ in range(3):
        await asyncio.gather(*map(up, requests()))
        asked = [Asked(address, None) for address in reversed(addresses(COUNT))]
        await two[1].write(link_requests.add, asked)
        erased = (await two[0].read(everybody))[::2]
        erasures = [two[0].write(record.erase, one) for one in erased]
        again = map(up, reversed(requests()))
        await asyncio.gather(answer(two[0]), answer(two[1]), *erasures, *again)
        assert not await two[0].read(link_requests.is_any)
    assert errors == []


async def test_moves_and_sign_ups_at_once(
    two: tuple[Database, Database], settings: Settings, errors: list[str]
) -> None:
    """Two move to one address, while former and new ones sign up: nobody in a circle."""
    up, down = (db.group(partial(sign_up_all, settings=settings)) for db in two)
    free = settings.model_copy(update={"limit_mail_per_address": "off"})
    taken = 0

    def ask_all(tx: Transaction) -> list[Link]:
        ids = tx.execute(select(people.c.id).order_by(people.c.email_key)).scalars().all()[:60]
        found = []
        for number, person_id in enumerate(ids):
            to = parse_address(f"new{number // 2}@example.org")
            move.ask(tx, person_id, to, free)
            change = address_changes.find(tx, person_id)
            assert change is not None
            found.append(Link(person_id, "address", change.number))
        return found

    async def say_yes(database: Database, link: Link) -> bool:
        try:
            await database.write(links.move_to_new, link, settings)
        except (AddressTaken, LinkVoid):
            return False
        return True

    for _ in range(3):
        await asyncio.gather(*map(up, requests()))
        asked = await two[0].write(ask_all)
        new = [request_of(f"new{number}@example.org") for number in range(30)]
        moves = [say_yes(two[n % 2], link) for n, link in enumerate(asked)]
        again = [*map(up, requests()), *map(down, reversed([*requests(), *new]))]
        moved, _ = await asyncio.gather(asyncio.gather(*moves), asyncio.gather(*again))
        taken += sum(moved)
        found = await people_in(two[0])
        assert len(set(found)) == len(found)
        await two[0].write(lambda tx: tx.execute(delete(people)))
    assert errors == []
    assert taken > 0


async def test_a_move_locks_messages_by_their_ids(
    two: tuple[Database, Database], settings: Settings, errors: list[str]
) -> None:
    """It waits for the oldest, and holds none of the others meanwhile."""
    database = two[0]
    await sign_up(database, settings, "ada@example.com")
    (ada,) = await database.read(lambda tx: tx.execute(select(people.c.id)).scalars().all())
    await database.write(move.ask, ada, parse_address("ada@example.org"), settings)
    change = await database.read(address_changes.find, ada)
    assert change is not None
    async with held(settings, LOCK_WELCOME):
        link = Link(ada, "address", change.number)
        moving = asyncio.ensure_future(database.write(links.move_to_new, link, settings))
        await eventually(partial(are_blocked, settings, 1))
        assert await fetch(settings, FREE) == 2
    await moving
    assert errors == []


async def test_cancelled_and_erased_at_once(settings: Settings, errors: list[str]) -> None:
    """Messages are cancelled by keys while their people are erased: nobody in a circle."""
    async with running_reach(settings) as reach:
        http = await operator(reach)
        for number in range(5):
            await sign_up(reach.database, settings, *addresses(20))
            cancel = [
                http.post(f"/v1/messages/{one.id}/cancel", headers={"Idempotency-Key": "k"})
                for one in await messages_in(reach.database)
            ]
            erase = [http.delete(f"/v1/people/{one['id']}") for one in await everybody(http)]
            both = [call for pair in zip(cancel, reversed(erase), strict=True) for call in pair]
            statuses = [answer.status_code for answer in await asyncio.gather(*both)]
            assert set(statuses) <= {200, 204, 404}, number
    assert errors == []


async def test_retried_and_erased_at_once(settings: Settings, errors: list[str]) -> None:
    """All that failed is queued again, by several, while people are erased: nobody in a circle."""

    def fail(tx: Transaction) -> None:
        tx.execute(update(messages).values(state="failed", finished_at=now()))

    async with running_reach(settings) as reach:
        http = await operator(reach)
        body = {"filter": {"state": "failed"}}
        for number in range(5):
            await sign_up(reach.database, settings, *addresses(20))
            await reach.database.write(fail)
            everyone = await everybody(http)
            retry = [
                http.post("/v1/messages/retry", json=body, headers={"Idempotency-Key": f"{n}{key}"})
                for n, key in enumerate([number] * 10)
            ]
            erase = [http.delete(f"/v1/people/{one['id']}") for one in everyone]
            both = [*erase[:10], *retry[:5], *erase[10:], *retry[5:]]
            statuses = [answer.status_code for answer in await asyncio.gather(*both)]
            assert set(statuses) <= {200, 204}, number
    assert errors == []
