"""The maker hears once and soon, and never in a flood, whatever becomes of mail and workers."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio
import asyncpg
import pytest
from sqlalchemy import delete, update

from reach.db import counters
from reach.db.connect import open_database
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import new_id, now
from reach.delivery.cleanup import sweep
from reach.messages.model import NOTICE, messages
from reach.messages.outbox import CHANNEL
from reach.people import notices
from reach.people.model import people
from reach.people.notices import Notices, begin, look, tell
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import held, is_awaited
from tests.support.database.stored import addresses, all_sent, sign_up
from tests.support.notices import MAKER, OTHER, finish, hear, later, notices_at, told_in
from tests.support.people import operator, signed_up
from tests.support.processes.commands import ReachProcess
from tests.support.processes.reach import Reach, running_worker
from tests.support.processes.running import worker
from tests.support.servers.mail import MailServer
from tests.support.telemetry.metrics import Since

TRANSACTIONS = "reach_database_transaction_duration_seconds_count"
#: What a sign-up writes, of whom a notice tells.
SIGNS_UP = """
    INSERT INTO people (id, email, email_key, name, links_version, created_at, updated_at, version,
        typed_version) VALUES ($1, 'late@example.com', 'late@example.com', 'Late', 0,
        clock_timestamp(), clock_timestamp(), 1, 1)
"""


class CutOff(Exception):
    """The worker ends here."""


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
    for every, seconds, email in (("hour", 3600, "ada@example.com"), ("day", 86_400, "bob@x.org")):
        paced = heard.model_copy(update={"notify_every": every})
        await sign_up(stored, paced, email)
        await finish(stored)
        await later(stored, seconds - 100)
        assert await stored.write(tell, paced) == 0
        await later(stored, 101)
        assert await stored.write(tell, paced) == 1
    found = [(one.data["count"], bool(one.person_id)) for one in await told_in(stored)]
    assert found == [(3, False), (1, True), (1, True)]


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


@pytest.mark.parametrize("table", ["people", "counters"])
async def test_who_signs_up_while_it_reads_is_told_of_once(
    make_settings: Callable[..., Settings], postgres: str, table: str
) -> None:
    """Whom it could name is counted; whom it has counted, the next notice does not take for new."""
    settings = make_settings(database_url=postgres, notify=MAKER)
    late = await asyncpg.connect(postgres)
    try:
        async with opened(settings) as database:
            await database.write(begin, settings)
            await sign_up(database, settings, "gone@example.com")
            await database.write(lambda tx: tx.execute(delete(people)))
            async with anyio.create_task_group() as group, late.transaction():
                await late.execute(f"LOCK TABLE {table}")
                group.start_soon(database.write, tell, settings)
                await eventually(lambda: is_awaited(settings, "SELECT"))
                await late.execute(SIGNS_UP, new_id())
            (both,) = await told_in(database)
            assert (both.data["count"], both.person_id) == (2, None)
            assert await hear(database, settings) == []
            await sign_up(database, settings, "ada@example.com")
            assert await hear(database, settings) == [(1, "ada@example.com")]
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
    await later(stored, 50)
    assert 0 < (await stored.read(look, heard) or 0) <= 10
    assert await stored.write(tell, heard) == 0  # not within a minute of when it was sent
    await later(stored)
    assert await stored.write(tell, heard) == 1
    assert [one.data["count"] for one in await told_in(stored)] == [1, 5]


async def test_a_minute_passes_though_the_last_notice_is_gone(
    heard: Settings, stored: Database
) -> None:
    """It went with whom it named."""
    await sign_up(stored, heard, "ada@example.com")
    assert await stored.write(tell, heard) == 1
    await stored.write(lambda tx: tx.execute(delete(people)))
    await sign_up(stored, heard, "bob@example.com")
    assert await told_in(stored) == []
    await later(stored, 50)
    assert await stored.write(tell, heard) == 0
    assert await hear(stored, heard) == [(1, "bob@example.com")]


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

    for days in (notices.DAYS - 1, notices.DAYS + 1, counters.KEPT_DAYS + 1):
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


async def _has_told(database: Database, count: int) -> bool:
    return len(await told_in(database)) == count


def _has_looked(since: Since, times: int) -> bool:
    return since.of(TRANSACTIONS, kind="read", result="ok") >= times


async def test_a_worker_that_did_not_run_for_days_tells_of_all(
    heard: Settings, stored: Database
) -> None:
    """Of the hours whose counts are sure to be kept."""
    await sign_up(stored, heard, *addresses(3))
    await stored.write(counters.fold)
    long_ago = (datetime.now(UTC) - timedelta(10)).replace(minute=0, second=0, microsecond=0)
    moved = update(counters.counters).where(counters.counters.c.hour > counters.CURRENT)
    await stored.write(lambda tx: tx.execute(moved.values(hour=long_ago)))
    assert await hear(stored, heard) == [(3, None)]


async def test_what_is_not_announced_is_found(
    heard: Settings, stored: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker looks now and then, whether or not it has heard of a sign-up."""
    monkeypatch.setattr(notices, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(notices, "LOOK_SECONDS", 0.1)
    deaf, since = open_database(heard), Since()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(Notices(heard, deaf).run)
            await eventually(partial(_has_looked, since, 2))
            await sign_up(stored, heard, "ada@example.com")
            await eventually(partial(_has_told, stored, 1))
            group.cancel_scope.cancel()
    finally:
        await deaf.close()
