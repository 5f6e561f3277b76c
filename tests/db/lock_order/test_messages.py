"""Postgres alone: all who write the same messages lock them in one order, so nobody deadlocks."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from operator import attrgetter

import asyncpg
import pytest
from sqlalchemy import update

from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import now
from reach.messages import queue
from reach.messages.model import Message, messages
from reach.messages.recording import record_outcomes
from reach.people.signup import sign_up_all
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.lock_order import (
    COUNT,
    FREE,
    are_blocked,
    both_meet,
    deferred,
    requests,
    waiting_in,
)
from tests.support.database.locks import fetch, held
from tests.support.database.outboxes import held_by
from tests.support.database.stored import addresses, people_in, sign_up

LOCK_MESSAGE = "SELECT id FROM messages WHERE recipient = $1 FOR UPDATE"


async def test_sign_ups_and_workers_at_once(
    two: tuple[Database, Database], settings: Settings, errors: list[str]
) -> None:
    """Sign-ups and outcomes share commits in both processes, round after round: no error.

    Each sign-up cancels the message that a worker holds meanwhile, for a newer one.
    """
    sign_ups = [db.group(partial(sign_up_all, settings=settings)) for db in two]
    records = [db.group(partial(record_outcomes, settings=settings), apart=True) for db in two]

    def make_due(tx: Transaction) -> None:
        tx.execute(update(messages).values(due_at=now()))

    for _ in range(5):
        shares = [
            await db.write(queue.lease_due, limit=COUNT // 2, lease_seconds=1000) for db in two
        ]
        work = [
            *map(sign_ups[0], requests()),
            *map(records[0], deferred(shares[0])),
            *map(sign_ups[1], reversed(requests())),
            *map(records[1], reversed(deferred(shares[1]))),
        ]
        answers = await asyncio.gather(*work)
        states = Counter(answer for answer in answers if isinstance(answer, str))
        assert states["queued"] + states["cancelled"] == sum(map(len, shares))
        await two[0].write(make_due)
    assert errors == []
    assert sorted(await people_in(two[0])) == sorted(addresses(COUNT))
    assert sorted(await waiting_in(two[0])) == sorted(addresses(COUNT))


async def test_messages_are_locked_by_their_ids(
    two: tuple[Database, Database], settings: Settings, errors: list[str]
) -> None:
    """However they lie in the table: to record, to renew and to release."""
    await sign_up(two[0], settings, *addresses(COUNT))
    shares = await two[0].write(queue.lease_due, limit=COUNT, lease_seconds=1000)
    mover = await asyncpg.connect(settings.database_url.get_secret_value())
    # What is switched off costs so much that each statement would be compiled first.
    await mover.execute("SET jit = off")
    for one in sorted(shares, key=attrgetter("id"), reverse=True):
        await mover.execute("UPDATE messages SET last_error = 'moved' WHERE id = $1", one.id)
    await mover.close()
    first, *others = sorted(shares, key=attrgetter("id"))
    every = [held_by(one) for one in [*others, first]]
    work: list[Callable[[], Awaitable[object]]] = [
        partial(two[0].write, record_outcomes, deferred([*others, first]), settings),
        partial(two[0].write, queue.renew, every, lease_seconds=1000),
        partial(two[0].write, queue.release, every),
    ]
    for do in work:
        holder = await asyncpg.connect(settings.database_url.get_secret_value())
        await holder.execute("BEGIN")
        await holder.execute(LOCK_MESSAGE, first.recipient)
        doing = asyncio.ensure_future(do())
        await eventually(partial(are_blocked, settings, 1))
        assert await fetch(settings, FREE) == COUNT - 1  # it waits for the first, and holds none
        await holder.close()
        await doing
        if do is work[0]:  # so they are held again
            await two[0].write(lambda tx: tx.execute(update(messages).values(recorded_lease=0)))
    assert errors == []


async def test_each_replaces_what_the_other_has_sent(
    two: tuple[Database, Database], settings: Settings, errors: list[str]
) -> None:
    """What one process's worker has sent, a sign-up at the other replaces: nobody in a circle.

    In one transaction with sign-ups, each would hold what it replaces, and wait for the other.
    """
    await sign_up(two[0], settings, *addresses(COUNT))
    unlimited = settings.model_copy(update={"limit_mail_per_address": "off"})
    asked = {one.form.email.recipient: one for one in requests()}
    ups = [db.group(partial(sign_up_all, settings=unlimited)) for db in two]
    records = [db.group(partial(record_outcomes, settings=unlimited), apart=True) for db in two]
    for _ in range(8):
        leased = await two[0].write(queue.lease_due, limit=COUNT, lease_seconds=1000)
        work: list[Awaitable[object]] = []
        for number in (0, 1):
            work += map(ups[number], [asked[one.recipient] for one in leased[number::2]])
            work += map(records[number], deferred(leased[1 - number :: 2]))
        await asyncio.gather(*work)
    assert errors == []
    assert sorted(await waiting_in(two[0])) == sorted(addresses(COUNT))


async def test_leasing_waits_for_nobody(
    two: tuple[Database, Database], settings: Settings, errors: list[str]
) -> None:
    """What somebody has locked is passed over, and no more is taken than was asked for."""
    await sign_up(two[0], settings, *addresses(COUNT))
    async with held(settings, "SELECT id FROM messages ORDER BY due_at, id LIMIT 50 FOR UPDATE"):
        takes = await asyncio.gather(
            *(db.write(queue.lease_due, limit=60, lease_seconds=1000) for db in two)
        )
        left = await two[0].write(queue.lease_due, limit=60, lease_seconds=1000)
    taken = [message.id for take in (*takes, left) for message in take]
    assert (len(taken), len(set(taken))) == (COUNT - 50, COUNT - 50)
    assert [len(take) for take in takes] == [60, 60]
    assert len(await two[0].write(queue.lease_due, limit=60, lease_seconds=1000)) == 50
    assert errors == []


@pytest.mark.parametrize("one", ["record", "renew", "release"])
@pytest.mark.parametrize("other", ["record", "renew", "release"])
async def test_what_is_held_from_both_ends(
    two: tuple[Database, Database], settings: Settings, errors: list[str], one: str, other: str
) -> None:
    """Renewing, releasing and recording the same messages: nobody waits in a circle."""
    await sign_up(two[0], settings, *addresses(COUNT))
    leased = await two[0].write(queue.lease_due, limit=COUNT, lease_seconds=1000)
    leased = sorted(leased, key=lambda message: message.id)

    def do(what: str, database: Database, shares: Sequence[Message]) -> asyncio.Future[object]:
        holds = [held_by(message) for message in shares]
        work: dict[str, Coroutine[object, object, object]] = {
            "record": database.write(record_outcomes, deferred(shares), settings),
            "renew": database.write(queue.renew, holds, lease_seconds=1000),
            "release": database.write(queue.release, holds),
        }
        chosen = work.pop(what)
        for unused in work.values():
            unused.close()
        return asyncio.ensure_future(chosen)

    async with both_meet(settings, LOCK_MESSAGE):
        both = do(one, two[0], leased), do(other, two[1], leased[::-1])
    await asyncio.gather(*both)
    assert errors == []
