"""The maker hears of each sign-up: once, soon, and never in a flood."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio
import asyncpg
import pytest
from sqlalchemy import func, select, update

from reach.db import counters
from reach.db.connect import open_database
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import new_id, now
from reach.delivery.cleanup import sweep
from reach.messages.model import NOTICE, Message, messages
from reach.messages.outbox import CHANNEL
from reach.people import notices, record, signup
from reach.people.address import parse_address
from reach.people.model import people
from reach.people.notices import Notices, begin, look, tell
from reach.people.schemas import SignUp
from reach.runtime.process import opened
from reach.settings import BadSettings, Settings, load
from tests.support.clock import eventually
from tests.support.database.locks import held, is_awaited
from tests.support.database.stored import addresses, all_sent, messages_in, sign_up
from tests.support.people import add, at_work, operator, signed_up
from tests.support.processes.commands import ReachProcess
from tests.support.processes.reach import Reach, running_reach, running_worker
from tests.support.processes.running import worker
from tests.support.servers.mail import MailServer
from tests.support.telemetry.metrics import Since

MAKER, OTHER = "maker@example.org", "other@example.org"
TRANSACTIONS = "reach_database_transaction_duration_seconds_count"


#: What a sign-up writes, of whom a notice tells.
SIGNS_UP = """
    INSERT INTO people (id, email, email_key, name, links_version, created_at, updated_at, version,
        typed_version) VALUES ($1, 'late@example.com', 'late@example.com', 'Late', 0,
        now(), now(), 1, 1)
"""


class CutOff(Exception):
    """The worker ends here."""


@pytest.fixture
def heard(settings: Settings) -> Settings:
    """Settings on both databases by which the maker hears of each sign-up."""
    return settings.model_copy(update={"notify": MAKER})


@pytest.fixture
async def stored(heard: Settings) -> AsyncIterator[Database]:
    """A database that has begun to count for the maker."""
    async with opened(heard) as database:
        await database.write(begin, heard)
        yield database


@pytest.fixture
async def site(mailing: Settings) -> AsyncIterator[Reach]:
    """Reach with a maker who hears; no worker yet."""
    async with running_reach(mailing.model_copy(update={"notify": MAKER})) as running:
        yield running


async def later(database: Database, seconds: float = 61) -> None:
    """Have all that was told be so much longer ago."""

    def move(tx: Transaction) -> None:
        columns = notices.notices.c
        for row in tx.execute(select(columns.address, columns.told_at, now())).all():
            age = (row[2] - row.told_at).total_seconds()
            moved = update(notices.notices).where(columns.address == row.address)
            tx.execute(moved.values(told_at=now(-age - seconds)))
        ended = messages.c.finished_at.is_not(None) & (messages.c.template == NOTICE)
        tx.execute(update(messages).where(ended).values(finished_at=now(-seconds)))

    await database.write(move)


async def finish(database: Database, state: str = "sent") -> None:
    """Have all messages brought to their end."""
    ended = update(messages).where(messages.c.state == "queued")
    await database.write(lambda tx: tx.execute(ended.values(state=state, finished_at=now())))


async def told_in(database: Database) -> list[Message]:
    """Every notice, the oldest first."""
    return [one for one in await messages_in(database) if one.template == NOTICE]


async def hear(database: Database, settings: Settings) -> list[tuple[int, str | None]]:
    """Have the maker told of what there is, once it is time: of how many, and of whom."""
    before = len(await told_in(database))
    await finish(database)
    await later(database)
    await database.write(tell, settings)
    return [
        (one.data["count"], one.data["person"] and one.data["person"]["email"])
        for one in (await told_in(database))[before:]
    ]


def notices_at(mail_server: MailServer, address: str = MAKER) -> list[Any]:
    """What an address has heard."""
    return [mail for mail in mail_server.messages if mail.recipient == address]


async def test_the_maker_hears_at_once(
    site: Reach, mail_server: MailServer, told: Callable[[], str]
) -> None:
    """Who it was, their note, and where to see more; in no line of the log is any of it."""
    async with running_worker(site.settings):
        await signed_up(site, description="I like tea")
        await eventually(lambda: len(mail_server.messages) == 2)
    (mail,) = notices_at(mail_server)
    assert mail.headers["Subject"] == "Ada signed up to Reach"
    for part in (mail.text, mail.html):
        for words in ("Ada", "ada@example.com", "I like tea", f"{site.settings.origin}/console"):
            assert words in part
    assert "That makes one person in all" in mail.text
    assert "token" not in mail.text
    for private in (MAKER, "ada@example.com", "I like tea"):
        assert private not in told()


async def test_no_two_in_a_minute(site: Reach, mail_server: MailServer) -> None:
    """What comes meanwhile is told of together, and names nobody."""
    async with running_worker(site.settings):
        await signed_up(site, "first@example.com")
        await eventually(lambda: len(notices_at(mail_server)) == 1)
        await signed_up(site, "second@example.com")
        await signed_up(site, "third@example.com")
        await eventually(lambda: len(mail_server.messages) == 4)
        assert await site.database.read(look, site.settings) not in (None, 0)
        assert await site.database.write(tell, site.settings) == 0
    await later(site.database)
    async with running_worker(site.settings):
        await eventually(lambda: len(notices_at(mail_server)) == 2)
    together = notices_at(mail_server)[1]
    assert together.headers["Subject"] == "2 people signed up to Reach"
    assert "That makes 3 people in all" in together.text
    assert "@example.com" not in together.text + together.html
    (_, last) = await told_in(site.database)
    assert last.person_id is None


async def test_what_came_before_any_worker_ran(site: Reach, mail_server: MailServer) -> None:
    """The API has begun to count; a worker tells of it, whenever it comes."""
    await signed_up(site)
    async with running_worker(site.settings):
        await eventually(lambda: len(notices_at(mail_server)) == 1)


async def test_an_old_database_tells_of_nobody_who_was_there(
    heard: Settings,
) -> None:
    """It begins when it is asked for; and so does each address that is added."""
    async with opened(heard) as database:
        await sign_up(database, heard, *addresses(20))
        await database.write(begin, heard)
        assert await hear(database, heard) == []
        await sign_up(database, heard, "ada@example.com")
        both = heard.model_copy(update={"notify": f"{MAKER}, {OTHER}"})
        assert await hear(database, both) == [(1, "ada@example.com")]
        await sign_up(database, heard, "bob@example.com")
        assert await hear(database, both) == [(1, "bob@example.com")] * 2
        assert {one.recipient for one in await told_in(database)} == {MAKER, OTHER}


async def test_an_address_that_is_taken_out_is_forgotten(heard: Settings, stored: Database) -> None:
    """Put in again, it begins again."""
    other = heard.model_copy(update={"notify": OTHER})
    await stored.write(notices.begin_again, other)
    await sign_up(stored, heard, "ada@example.com")
    kept = await stored.read(lambda tx: tx.execute(select(notices.notices.c.address)).all())
    assert [tuple(row) for row in kept] == [(OTHER,)]
    await stored.write(notices.begin_again, heard)
    assert await hear(stored, heard) == []


async def test_who_is_told_no_more_is_forgotten(heard: Settings, stored: Database) -> None:
    """By the next worker, though it has nobody to tell; and then it does nothing."""
    await stored.write(notices.begin_again, heard)
    nobody = heard.model_copy(update={"notify": ""})
    count = select(func.count()).select_from(notices.notices)
    async with anyio.create_task_group() as group:
        group.start_soon(Notices(nobody, stored).run)
        await eventually(lambda: stored.read(lambda tx: tx.execute(count).scalar_one() == 0))
        group.cancel_scope.cancel()


async def test_only_who_signed_up_themselves(heard: Settings, stored: Database) -> None:
    """Whom an operator adds is no news to them; nor is an address that signs up again."""
    await sign_up(stored, heard, "ada@example.com")
    form = SignUp.model_construct(
        email=parse_address("grace@example.com"), name="Grace", description=None
    )
    await stored.write(signup.add_person, form, heard)
    assert await hear(stored, heard) == [(1, "ada@example.com")]
    await sign_up(stored, heard, "ada@example.com", "grace@example.com")
    assert await hear(stored, heard) == []


async def test_operators_add_people_in_silence(site: Reach) -> None:
    """By the API, too."""
    http = await operator(site)
    assert (await add(http)).status_code == 201
    assert await hear(site.database, site.settings) == []


async def test_digests(heard: Settings, stored: Database) -> None:
    """Nothing for an hour, then all of it; and a digest about one names them."""
    hourly = heard.model_copy(update={"notify_every": "hour"})
    await sign_up(stored, hourly, *addresses(3))
    for _ in range(2):
        await later(stored, 1700)
        assert await stored.write(tell, hourly) == 0
    assert 100 < (await stored.read(look, hourly) or 0) <= 200
    await later(stored, 300)
    assert await stored.write(tell, hourly) == 1
    await sign_up(stored, hourly, "ada@example.com")
    await finish(stored)
    await later(stored, 3500)
    assert await stored.write(tell, hourly) == 0
    await later(stored, 101)
    assert await stored.write(tell, hourly) == 1
    daily = hourly.model_copy(update={"notify_every": "day"})
    await sign_up(stored, daily, "bob@example.com")
    await finish(stored)
    await later(stored, 86_300)
    assert await stored.write(tell, daily) == 0
    await later(stored, 101)
    assert await stored.write(tell, daily) == 1
    found = [(one.data["count"], bool(one.person_id)) for one in await told_in(stored)]
    assert found == [(3, False), (1, True), (1, True)]


async def test_without_details_nothing_personal_leaves(heard: Settings, stored: Database) -> None:
    """Not even a reference to whom it is about."""
    bare = heard.model_copy(update={"notify_details": False})
    await sign_up(stored, bare, "ada@example.com")
    assert await hear(stored, bare) == [(1, None)]
    (one,) = await told_in(stored)
    assert one.person_id is None
    assert "ada" not in str(one.data).lower()
    await sign_up(stored, heard, "bob@example.com")
    assert await hear(stored, heard) == [(1, "bob@example.com")]


async def test_erasure_takes_the_notice_along(heard: Settings, stored: Database) -> None:
    """Nothing of somebody who is erased stays in what the maker was told, or will be."""
    await sign_up(stored, heard, "ada@example.com")
    assert await hear(stored, heard) == [(1, "ada@example.com")]
    await sign_up(stored, heard, *addresses(2))
    assert await hear(stored, heard) == [(2, None)]
    (ada, *_) = await stored.read(
        lambda tx: tx.execute(select(people.c.id).order_by(people.c.id)).scalars().all()
    )
    await stored.write(record.erase, ada)
    (left,) = await told_in(stored)
    assert left.data["count"] == 2
    await sign_up(stored, heard, "eve@example.com")
    (*_, eve) = await stored.read(
        lambda tx: tx.execute(select(people.c.id).order_by(people.c.id)).scalars().all()
    )
    await stored.write(record.erase, eve)
    assert await hear(stored, heard) == [(1, None)]  # somebody did sign up


async def test_a_burst_is_told_one_by_one(
    make_settings: Callable[..., Settings], postgres: str
) -> None:
    """Who had not committed when another was told of is named by the next notice."""
    settings = make_settings(database_url=postgres, notify=MAKER)
    late = await asyncpg.connect(postgres)
    try:
        async with opened(settings) as database:
            await database.write(begin, settings)
            async with late.transaction():
                await late.execute(SIGNS_UP, new_id())
                await sign_up(database, settings, "early@example.com")
                assert await hear(database, settings) == [(1, "early@example.com")]
            assert await hear(database, settings) == [(1, "late@example.com")]
            assert await hear(database, settings) == []
    finally:
        await late.close()


async def test_several_workers_send_one(heard: Settings, stored: Database) -> None:
    """All look at the same time, again and again: each sign-up is told of once."""
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(Notices(heard, stored).run)
        await sign_up(stored, heard, "ada@example.com")
        await eventually(partial(_has_told, stored, 1))
        await sign_up(stored, heard, *addresses(5))
        for count in (2, 2):
            await finish(stored)
            await later(stored)
            stored.announce(CHANNEL)
            await eventually(partial(_has_told, stored, count))
        group.cancel_scope.cancel()
    assert [one.data["count"] for one in await told_in(stored)] == [1, 5]


async def test_many_at_once_promise_one(heard: Settings, stored: Database) -> None:
    """The row is one worker's at a time; who comes second finds it told."""
    await sign_up(stored, heard, *addresses(3))
    found: list[int] = []

    async def one() -> None:
        async with opened(heard) as database:
            found.append(await database.write(tell, heard))

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(one)
    assert sorted(found) == [0, 0, 0, 0, 0, 1]
    assert len(await told_in(stored)) == 1


async def test_cut_off_midway_nothing_is_lost(heard: Settings, stored: Database) -> None:
    """The promise and the note of it are one: both, or neither."""
    await sign_up(stored, heard, "ada@example.com")

    def cut_off(tx: Transaction) -> None:
        assert tell(tx, heard) == 1
        raise CutOff

    with pytest.raises(CutOff):
        await stored.write(cut_off)
    assert await told_in(stored) == []
    assert await stored.write(tell, heard) == 1
    assert await stored.write(tell, heard) == 0


async def test_a_killed_worker_leaves_it_to_the_next(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """Kill -9 before the COMMIT (on Postgres in the middle): the next one tells, once."""
    settings = mailing.model_copy(update={"notify": MAKER})
    await database.write(begin, settings)
    await sign_up(database, settings, "ada@example.com")
    async with held(settings, "SELECT id FROM people FOR UPDATE"):
        with ReachProcess("worker", settings=settings) as first:
            await eventually(lambda: is_awaited(settings, "SELECT people.id"), 20)
            first.kill()
    assert await told_in(database) == []
    async with worker(settings), worker(settings):
        await eventually(lambda: len(notices_at(mail_server)) == 1, 20)
        await all_sent(database)
    assert len(notices_at(mail_server)) == 1
    (notice,) = await told_in(database)
    assert (notice.state, notice.data["person"]["email"]) == ("sent", "ada@example.com")


async def test_while_mail_is_down_they_do_not_pile_up(heard: Settings, stored: Database) -> None:
    """Only one waits for an address; when it is through, the next tells of all the rest."""
    await sign_up(stored, heard, "ada@example.com")
    assert await stored.write(tell, heard) == 1
    for n in range(5):
        await later(stored, 3600)
        await sign_up(stored, heard, f"bob{n}@example.com")
        assert await stored.read(look, heard) == notices.POLL_SECONDS
        assert await stored.write(tell, heard) == 0
    await finish(stored)
    assert await stored.write(tell, heard) == 0  # not within a minute of when it was sent
    await later(stored)
    assert await stored.write(tell, heard) == 1
    assert [one.data["count"] for one in await told_in(stored)] == [1, 5]


async def test_one_address_that_is_stuck_holds_up_no_other(
    heard: Settings, stored: Database
) -> None:
    """Each has its own pace."""
    both = heard.model_copy(update={"notify": f"{MAKER} {OTHER}"})
    await stored.write(begin, both)
    await sign_up(stored, both, "ada@example.com")
    assert await stored.write(tell, both) == 2
    sent = update(messages).where(messages.c.recipient == OTHER)
    await stored.write(lambda tx: tx.execute(sent.values(state="sent", finished_at=now())))
    await later(stored)
    await sign_up(stored, both, "bob@example.com")
    assert await stored.write(tell, both) == 1
    assert [one.recipient for one in await told_in(stored)] == [MAKER, OTHER, OTHER]
    assert await hear(stored, both) == [(1, "bob@example.com")]


async def test_a_maker_whose_mail_is_refused(site: Reach, mail_server: MailServer) -> None:
    """Operators see it as any message that failed; sign-ups go on, and so do notices."""
    mail_server.script["rcpt"] = lambda _, said: "550 5.1.1 no such user" if MAKER in said else None
    http = await operator(site)
    async with running_worker(site.settings):
        await signed_up(site)

        async def failed() -> Sequence[Any]:
            answer = await http.get("/v1/messages", params={"state": "failed", "template": NOTICE})
            items: Sequence[Any] = answer.raise_for_status().json()["items"]
            return items

        (one,) = await eventually(failed)
    assert (one["recipient"], one["attempts"]) == (MAKER, 1)
    mail_server.script.clear()
    await later(site.database)
    async with running_worker(site.settings):
        await signed_up(site, "bob@example.com")
        await eventually(lambda: len(notices_at(mail_server)) == 1)
        answer = await http.post(f"/v1/messages/{one['id']}/retry")
        assert answer.status_code == 200
        await eventually(lambda: len(notices_at(mail_server)) == 2)


async def test_confirmation_is_not_the_maker_s_affair(
    mailing: Settings, mail_server: MailServer
) -> None:
    """Who has not confirmed gets no other mail; of them the maker hears, of several too."""
    settings = mailing.model_copy(update={"notify": MAKER, "confirm": "required"})
    async with running_reach(settings) as reach:
        await signed_up(reach)
        async with running_worker(reach.settings):
            await eventually(lambda: len(notices_at(mail_server)) == 1)
        await later(reach.database)
        await sign_up(reach.database, settings, *addresses(2))
        async with running_worker(reach.settings):
            await eventually(lambda: len(notices_at(mail_server)) == 2)


async def test_what_others_see_of_it(site: Reach) -> None:
    """Operators see it, with its person or none. Whom it names sees what it says, not to whom."""
    http, person = await at_work(site)
    assert await hear(site.database, site.settings) == [(1, person.email)]
    export = (await http.get("/v1/me/export")).json()
    (notice,) = [one for one in export["messages"] if one["template"] == NOTICE]
    assert set(notice) == {"id", "template", "data", "created_at"}
    assert MAKER not in str(export)
    await sign_up(site.database, site.settings, *addresses(2))
    assert await hear(site.database, site.settings) == [(2, None)]
    http = await operator(site)
    found = (await http.get("/v1/messages", params={"template": NOTICE})).json()["items"]
    assert [one["person_id"] for one in found] == [None, str(person.id)]
    whole = (await http.get(f"/v1/messages/{found[0]['id']}")).json()
    assert (whole["person_id"], whole["recipient"]) == (None, MAKER)
    by_address = (await http.get("/v1/messages", params={"recipient": person.email})).json()
    assert [one["template"] for one in by_address["items"]] == ["welcome"]
    of_theirs = (await http.get(f"/v1/people/{person.id}/messages")).json()["items"]
    assert [one["template"] for one in of_theirs] == [NOTICE, "welcome"]
    headers = {"Idempotency-Key": "again"}
    await finish(site.database, "failed")
    queued = update(messages).values(state="failed")
    await site.database.write(lambda tx: tx.execute(queued))
    answer = await http.post(f"/v1/messages/{found[0]['id']}/retry", headers=headers)
    assert answer.json()["person_id"] is None
    wanted = {"filter": {"state": "failed", "template": NOTICE}}
    assert (await http.post("/v1/messages/retry", json=wanted)).json()["queued"] == 1
    mine = {"person_id": str(person.id), "template": NOTICE}
    assert (await http.post("/v1/messages", json=mine)).status_code == 422


async def test_counters_may_be_folded_and_swept(heard: Settings, stored: Database) -> None:
    """What is swept with age was told of long before; and nothing is told of twice."""
    await sign_up(stored, heard, *addresses(3))
    await stored.write(counters.fold)
    assert await hear(stored, heard) == [(3, None)]
    assert await hear(stored, heard) == []

    def age(tx: Transaction, days: int) -> None:
        old = (datetime.now(UTC) - timedelta(days)).replace(minute=0, second=0, microsecond=0)
        moved = update(counters.counters).where(counters.counters.c.hour > counters.CURRENT)
        tx.execute(moved.values(hour=old))
        told = {str(int(old.timestamp()) // 3600): 3}
        tx.execute(update(notices.notices).values(told=told))

    for days in (counters.KEPT_DAYS - 2, counters.KEPT_DAYS, counters.KEPT_DAYS + 1):
        await stored.write(partial(age, days=days))
        assert await hear(stored, heard) == []
        await stored.write(counters.sweep)
        assert await hear(stored, heard) == []
    await sign_up(stored, heard, "ada@example.com")
    await stored.write(counters.fold)
    await stored.write(sweep, days=90)
    assert await hear(stored, heard) == [(1, "ada@example.com")]


async def test_a_clock_that_was_wrong_does_not_silence_it(
    heard: Settings, stored: Database
) -> None:
    """Ten days ahead while somebody was told of, then set right: the next one is told of, once."""
    await later(stored, -864_000)
    await sign_up(stored, heard, "ada@example.com")
    assert await stored.write(tell, heard) == 1
    assert await stored.write(tell, heard) == 0


async def test_an_idle_worker_writes_nothing(heard: Settings, stored: Database) -> None:
    """It reads, once in a while, and at most once a second."""
    await sign_up(stored, heard, "ada@example.com")
    assert await hear(stored, heard) == [(1, "ada@example.com")]
    await finish(stored)
    await later(stored)
    database, since = open_database(heard), Since()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(Notices(heard, database).run)
            for count in range(1, 3):
                await eventually(partial(_has_looked, since, count))
                database.announce(CHANNEL)
            group.cancel_scope.cancel()
        assert set(since.all_of(TRANSACTIONS, "kind")) == {"read"}
    finally:
        await database.close()


async def test_nobody_asked(settings: Settings) -> None:
    """Without an address nothing is kept, and no worker looks."""
    async with running_reach(settings) as reach:
        await signed_up(reach)
        count = select(func.count()).select_from(notices.notices)
        assert await reach.database.read(lambda tx: tx.execute(count).scalar()) == 0


@pytest.mark.parametrize(
    "wrong", ["maker", "Maker <maker@example.org>", "a@b@c", ", ".join(addresses(11))]
)
def test_addresses_are_addresses(wrong: str) -> None:
    """What cannot be one is told at start."""
    with pytest.raises(BadSettings, match="REACH_NOTIFY: "):
        load({"notify": wrong})


def test_several_addresses() -> None:
    """With commas or blanks between them, each once."""
    found = load({"notify": f"{MAKER}, {OTHER},{MAKER}"}).notify_addresses
    assert found == [MAKER, OTHER]


async def _has_told(database: Database, count: int) -> bool:
    return len(await told_in(database)) == count


def _has_looked(since: Since, times: int) -> bool:
    return since.of(TRANSACTIONS, kind="read", result="ok") >= times
