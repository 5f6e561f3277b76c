"""Postgres alone: all who write the same rows lock them in one order, so nobody deadlocks.

A lost deadlock is tried again, so callers never see one: these tests count the errors below that.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from operator import attrgetter
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import Engine, ExceptionContext, delete, event, select, update

from reach.auth.links import Link
from reach.db.connect import open_database
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import now
from reach.idempotency.stored import IdempotencyKey, idempotency_keys
from reach.messages import queue
from reach.messages.model import Message, messages
from reach.messages.outcome import Deferred
from reach.messages.queue import AttemptOutcome, record_outcomes
from reach.people import address_changes, link_requests, links, move, record
from reach.people.address import parse_address
from reach.people.link_requests import Asked
from reach.people.links import LinkVoid
from reach.people.model import people
from reach.people.move import AddressTaken
from reach.people.schemas import CHECK_YOUR_INBOX, SignUp, Submission
from reach.people.signup import sign_up_all
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import ADD_PERSON, fetch, held
from tests.support.database.outboxes import attempt_outcomes, held_by
from tests.support.database.stored import addresses, messages_in, people_in, sign_up
from tests.support.people import everybody, operator
from tests.support.processes.reach import running_reach

COUNT = 200
#: One that lies in the middle, from either end.
MIDDLE = addresses(COUNT)[COUNT // 2]
BLOCKED = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
FREE = "SELECT count(*) FROM (SELECT id FROM messages FOR UPDATE SKIP LOCKED) AS free"
LOCK_MESSAGE = "SELECT id FROM messages WHERE recipient = $1 FOR UPDATE"
#: … or of the key.
ADD_KEY = (
    "INSERT INTO idempotency_keys (caller, route, key, fingerprint, created_at) "
    "VALUES ('public', '/v1/signups', $1, 'f', now())"
)
LOCK_KEY = "SELECT key FROM idempotency_keys WHERE key = $1 FOR UPDATE"
LOCK_PERSON = "SELECT id FROM people WHERE email_key = $1 FOR UPDATE"
#: By name, what Postgres is kept from, so that it finds rows as in tables that are large; or in
#: a way that it hardly ever chooses, but may.
PLANS = {
    "small": (),
    "large": ("hashjoin", "mergejoin", "seqscan", "bitmapscan"),
    "odd": ("hashjoin", "mergejoin", "hashagg", "sort", "material"),
}


@pytest.fixture
def settings(make_settings: Callable[..., Settings], postgres: str) -> Settings:
    """Settings for Postgres."""
    return make_settings(database_url=postgres, database_seconds=15)


@pytest.fixture(params=PLANS)
async def two(
    settings: Settings, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Database, Database]]:
    """The databases of two processes, which find rows in each of these ways."""
    switches = [f"enable_{name}" for name in PLANS[request.param]]
    name = urlsplit(settings.database_url.get_secret_value()).path[1:]
    for switch in switches:
        await fetch(settings, f"ALTER DATABASE {name} SET {switch} = off")
    one, other = open_database(settings), open_database(settings)
    yield one, other
    await one.close()
    await other.close()
    for switch in switches:
        await fetch(settings, f"ALTER DATABASE {name} RESET {switch}")


@pytest.fixture
def errors() -> Iterator[list[str]]:
    """What statements fail with, even those that are tried again: which it was, and who waited."""
    found: list[str] = []

    def note(context: ExceptionContext) -> None:
        error = context.original_exception
        detail = getattr(error.__cause__, "detail", None)
        found.append(f"{error} {detail} {context.statement}")

    event.listen(Engine, "handle_error", note)
    yield found
    event.remove(Engine, "handle_error", note)


async def are_blocked(settings: Settings, count: int) -> bool:
    """Whether so many wait for a lock."""
    return await fetch(settings, BLOCKED) == count


@asynccontextmanager
async def both_meet(settings: Settings, lock: str) -> AsyncIterator[None]:
    """Hold a row that lies in the middle of two ways, until both stand still on theirs.

    Those who come from opposite ends have each locked half of what the other wants by then.
    """
    holder = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        await holder.execute("BEGIN")
        await holder.execute(lock, MIDDLE)
        yield
        await eventually(partial(are_blocked, settings, 2))
        await holder.execute("ROLLBACK")
    finally:
        holder.terminate()


def request_of(address: str) -> Submission[SignUp]:
    """A sign-up without a key."""
    email = parse_address(address)
    return Submission(
        SignUp.model_construct(email=email, name="Ada", description=None, language=None)
    )


def requests(*, with_keys: bool = False) -> list[Submission[SignUp]]:
    """Everybody's sign-up, each with a key of its own, or with none."""
    return [
        Submission(
            SignUp.model_construct(email=parse_address(address), name="Ada", description=None),
            IdempotencyKey((("public", "/v1/signups", address),), ("f",)) if with_keys else None,
        )
        for address in addresses(COUNT)
    ]


async def waiting_in(database: Database) -> list[str]:
    """Whom the messages are for that wait: of each person's, only the newest does."""
    return [one.recipient for one in await messages_in(database) if one.state == "queued"]


def deferred(shares: Sequence[Message]) -> Sequence[AttemptOutcome]:
    """Say of each message that it was not taken."""
    return attempt_outcomes([(message, Deferred("busy")) for message in shares], 1000)


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
async def test_sign_ups_from_both_ends(
    two: tuple[Database, Database],
    settings: Settings,
    errors: list[str],
    known: bool,
) -> None:
    """Two processes sign up the same people in opposite order, new or known: nobody in a circle."""
    if known:
        await sign_up(two[0], settings, *addresses(COUNT))
    up, down = (db.group(partial(sign_up_all, settings=settings)) for db in two)
    async with both_meet(settings, LOCK_PERSON if known else ADD_PERSON):
        ours = asyncio.gather(*map(up, requests()), *map(down, reversed(requests())))
    await ours
    assert errors == []
    assert sorted(await people_in(two[0])) == sorted(addresses(COUNT))
    assert sorted(await waiting_in(two[0])) == sorted(addresses(COUNT))


@pytest.mark.parametrize("stored", [False, True], ids=["new", "stored"])
async def test_keys_from_both_ends(
    two: tuple[Database, Database],
    settings: Settings,
    errors: list[str],
    stored: bool,
) -> None:
    """Two processes get the same keys in opposite order, new or stored: nobody in a circle."""
    everybody = requests(with_keys=True)
    if stored:
        await two[0].write(sign_up_all, everybody, settings)
    up, down = (db.group(partial(sign_up_all, settings=settings)) for db in two)
    async with both_meet(settings, LOCK_KEY if stored else ADD_KEY):
        ours = asyncio.gather(*map(up, everybody), *map(down, reversed(requests(with_keys=True))))
    assert set(await ours) == {CHECK_YOUR_INBOX}
    assert errors == []
    assert sorted(await people_in(two[0])) == sorted(addresses(COUNT))


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
