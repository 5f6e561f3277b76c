"""How many there are: what operators, gauges and `reach check` show of the database."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import astuple
from datetime import UTC, date, datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from prometheus_client import REGISTRY, generate_latest
from sqlalchemy import Engine, event, insert, text

from reach.db import counters
from reach.db.database import Database
from reach.db.errors import DatabaseUnavailable
from reach.db.transaction import Transaction
from reach.db.types import earliest_id, now
from reach.messages.outcome import Rejected, Sent
from reach.people import record, stats
from reach.people.stats import keep_gauges, recent
from reach.runtime.process import opened
from reach.settings import Settings
from reach.telemetry import metrics
from tests.support.clock import eventually
from tests.support.database.locks import held
from tests.support.database.outboxes import Outbox
from tests.support.people import operator
from tests.support.processes.reach import Reach


@pytest.fixture
async def outbox(settings: Settings) -> AsyncIterator[Outbox]:
    """Offer an empty outbox."""
    async with opened(settings) as database:
        yield Outbox(database, settings)


#: A reader of counters waits, and gives up.
LOCKED = "LOCK TABLE counters IN ACCESS EXCLUSIVE MODE"
GAUGES = {
    'reach_people{confirmed="true"}',
    'reach_people{confirmed="false"}',
    'reach_outbox_messages{state="queued"}',
    'reach_outbox_messages{state="sent"}',
    'reach_outbox_messages{state="failed"}',
    'reach_outbox_messages{state="cancelled"}',
    'reach_outbox_messages{state="bounced"}',
    'reach_outbox_messages{state="complained"}',
    'reach_outbox_messages{state="suppressed"}',
    "reach_outbox_oldest_due_age_seconds",
    "reach_outbox_overdue_messages",
}


async def fill(outbox: Outbox) -> None:
    """Five people, of whom one has confirmed; of their messages one is sent, and one failed."""
    for message in await outbox.fill(5):
        await outbox.change(message, due_at=now(5))
    sent, failed, *_, cancelled = await outbox.all()
    await outbox.change(sent, due_at=now())
    await outbox.record(await outbox.lease_one(), Sent("250 ok", 250))
    await outbox.change(failed, due_at=now())
    await outbox.record(await outbox.lease_one(), Rejected("550 no", 550))
    await outbox.change(cancelled, state="cancelled")
    assert sent.person_id is not None
    await outbox.database.write(record.confirm, sent.person_id)


async def test_operators_see_how_many_there_are(reach: Reach) -> None:
    """People, messages by state, and each of the last 48 hours; this one included."""
    http = await operator(reach)
    await fill(Outbox(reach.database, reach.settings))
    before = datetime.now(UTC)
    found = (await http.get("/v1/stats")).raise_for_status().json()
    hours = [datetime.fromisoformat(one["hour"]) for one in found["per_hour"]]
    assert hours == [hours[0] + timedelta(hours=n) for n in range(48)]
    as_of = datetime.fromisoformat(found["as_of"])
    assert abs(as_of - before) < timedelta(seconds=30)
    assert hours[-1] <= as_of < hours[-1] + timedelta(hours=1)
    # The hour may have ended while it was filled.
    assert sum(one["sign_ups"] for one in found["per_hour"][-2:]) == 5
    assert sum(one["deliveries"] for one in found["per_hour"][-2:]) == 1
    assert sum(one["failures"] for one in found["per_hour"][-2:]) == 1
    assert all(one["sign_ups"] == one["deliveries"] == 0 for one in found["per_hour"][:-2])
    days = [date.fromisoformat(one["day"]) for one in found["per_day"]]
    assert days == [as_of.date() - timedelta(days=n) for n in reversed(range(90))]
    for name, count in {"sign_ups": 5, "deliveries": 1, "failures": 1}.items():
        assert sum(one[name] for one in found["per_day"][-2:]) == count
    seconds = found["mail_seconds"]
    assert 0 <= seconds["p50"] == seconds["p99"] < 30
    del found["per_hour"], found["per_day"], found["mail_seconds"], found["as_of"]
    assert found == {
        "people": 5,
        "confirmed": 1,
        "messages": {"queued": 2, "sent": 1, "failed": 1, "cancelled": 1}
        | {"bounced": 0, "complained": 0, "suppressed": 0},
        "oldest_due_seconds": 0,
        "late": 0,
    }


async def test_how_long_emails_take_is_told(outbox: Outbox) -> None:
    """Half of the newest that were sent took no longer than p50; p99 is of the slow ones."""
    found = await outbox.database.read(stats.read, outbox.settings)
    assert found.mail_seconds is None
    for n, message in enumerate(await outbox.fill(10)):
        seconds = n + 1
        await outbox.change(message, state="sent", created_at=now(-100), finished_at=now(seconds))
    found = await outbox.database.read(stats.read, outbox.settings)
    assert found.mail_seconds is not None
    assert found.mail_seconds.p50 == pytest.approx(105, abs=1)
    assert found.mail_seconds.p99 == pytest.approx(109, abs=1)


async def test_days_are_added_up_by_utc(outbox: Outbox) -> None:
    """Each of the last 90, of whatever hour; those before are swept when they are needless."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    given = [
        {"name": name, "hour": today - timedelta(days=days, hours=-hours), "count": count}
        for name, days, hours, count in (
            ("bounces", 3, 1, 6),
            ("complaints", 3, 2, 7),
            ("sign_ups", 3, 0, 2),
            ("sign_ups", 3, 23, 5),
            ("failures", 3, 12, 1),
            ("deliveries", 89, 0, 4),
            ("deliveries", 90, 23, 8),
            ("sign_ups", 93, 0, 16),
        )
    ]
    await outbox.database.write(lambda tx: tx.execute(insert(counters.counters), given))
    await outbox.database.write(counters.fold)
    for _ in range(2):
        found = await outbox.database.read(stats.read, outbox.settings)
        days = {one.day: astuple(one)[1:] for one in found.per_day}
        assert len(days) == 90
        told = {day: counts for day, counts in days.items() if any(counts)}
        first = today.date() - timedelta(days=89)
        assert told == {
            today.date() - timedelta(days=3): (7, 0, 1, 6, 7),
            first: (0, 4, 0, 0, 0),
        }
        assert await outbox.database.write(counters.sweep) in {0, 1}


async def test_what_waits_is_told(outbox: Outbox) -> None:
    """How long the longest due has been due; how many were promised more than a minute ago."""
    young, due, late, held_late = await outbox.fill(4)
    await outbox.change(held_late, id=earliest_id(time.time() - 61))
    await outbox.change(late, id=earliest_id(time.time() - 100), due_at=now(5000))
    assert [one.attempts for one in await outbox.lease(1)] == [0]  # held, and so not due
    await outbox.change(due, due_at=now(-400))
    found = await outbox.database.read(stats.read, outbox.settings)
    assert 400 <= found.oldest_due_seconds < 430
    assert found.late == 2
    await outbox.change(due, due_at=now(5000))
    await outbox.change(young, due_at=now(5000))
    await outbox.change(state="cancelled")
    found = await outbox.database.read(stats.read, outbox.settings)
    assert (found.oldest_due_seconds, found.late) == (0, 0)


async def test_late_messages_are_counted_up_to_a_limit(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a day without a mail server costs no more than a minute without one."""
    await outbox.fill(30)
    monkeypatch.setattr(stats, "LATE_SECONDS", -60)  # all of them are
    assert (await outbox.database.read(stats.read, outbox.settings)).late == 30
    monkeypatch.setattr(stats, "MOST_LATE", 10)
    assert (await outbox.database.read(stats.read, outbox.settings)).late == 10


@contextmanager
def queries() -> Iterator[list[float]]:
    """Note when the stats are read from any database of this process."""
    found: list[float] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "FROM counters" in statement:
            found.append(time.monotonic())

    listener: Callable[..., None] = note
    event.listen(Engine, "before_cursor_execute", listener)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", listener)


@asynccontextmanager
async def kept_gauges(database: Database, settings: Settings) -> AsyncIterator[None]:
    """Keep the gauges meanwhile."""
    async with anyio.create_task_group() as group:
        group.start_soon(keep_gauges, database, settings)
        yield
        group.cancel_scope.cancel()


async def test_many_callers_and_scrapes_make_one_query(reach: Reach) -> None:
    """Of whom each is given the same."""
    http = await operator(reach)
    answers: list[bytes] = []

    async def call() -> None:
        answers.append((await http.get("/v1/stats")).raise_for_status().content)

    with queries() as found:
        started = time.monotonic()
        async with kept_gauges(reach.database, reach.settings):
            async with anyio.create_task_group() as group:
                for _ in range(40):
                    group.start_soon(call)
            for _ in range(40):
                generate_latest(REGISTRY)
        elapsed = time.monotonic() - started
    assert len(answers) == 40
    assert 1 <= len(found) <= 1 + elapsed // stats.FRESH_SECONDS
    assert len(set(answers)) <= len(found)


async def test_they_are_never_older_than_said_nor_asked_for_more_often(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For as long as there are callers, and the gauges beside them (5 s are a fifth here)."""
    monkeypatch.setattr(stats, "FRESH_SECONDS", 0.2)
    oldest = timedelta(seconds=0.2 + 0.005)  # SQLite's clock is rounded
    with queries() as found, anyio.fail_after(30):
        started = time.monotonic()
        async with kept_gauges(outbox.database, outbox.settings):
            while len(found) < 6:  # a question waits for its answer, so the loop has turns
                asked = datetime.now(UTC)
                given = await recent(outbox.database, outbox.settings)
                assert given.as_of >= asked - oldest
                await anyio.lowlevel.checkpoint()
        assert len(found) <= 2 + (time.monotonic() - started) / 0.2


async def test_a_failure_is_shared_and_not_kept(
    make_settings: Callable[..., Settings], postgres: str
) -> None:
    """A hundred callers wait for one answer that does not come; the next one asks again."""
    settings = make_settings(database_url=postgres, database_seconds=0.5)
    failed = 0

    async def ask(database: Database) -> None:
        nonlocal failed
        try:
            await recent(database, settings)
        except DatabaseUnavailable:
            failed += 1

    async with opened(settings) as database:
        with queries() as found:
            async with held(settings, LOCKED), anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(ask, database)
            assert (failed, len(found)) == (100, 1)
            assert (await recent(database, settings)).people == 0
            assert len(found) == 2


async def test_who_gives_up_takes_it_from_nobody(outbox: Outbox) -> None:
    """One caller of two hangs up while the query is under way."""
    given: list[stats.Stats] = []

    async def ask() -> None:
        given.append(await recent(outbox.database, outbox.settings))

    with queries() as found:
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as gone:
                gone.cancel()
                await recent(outbox.database, outbox.settings)
            group.start_soon(ask)
    assert len(given) == len(found) == 1


def exposed() -> dict[str, float]:
    """What a scrape shows of the database's gauges."""
    lines = generate_latest(REGISTRY).decode().splitlines()
    samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in samples if name in GAUGES}


async def test_gauges_show_the_database_or_nothing(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it they are not exposed: nobody is shown what was. Then they are back."""
    monkeypatch.setattr(stats, "FRESH_SECONDS", 0.1)
    await fill(outbox)
    stats.show_unknown()  # what another test's database held

    def execute(statement: str) -> Callable[[Transaction], object]:
        return lambda tx: tx.execute(text(statement))

    async with kept_gauges(outbox.database, outbox.settings):
        await eventually(lambda: set(exposed()) == GAUGES)
        found = exposed()
        assert found['reach_people{confirmed="true"}'] == 1
        assert found['reach_people{confirmed="false"}'] == 4
        assert found['reach_outbox_messages{state="queued"}'] == 2
        assert found["reach_outbox_overdue_messages"] == 0
        await outbox.database.write(execute("ALTER TABLE counters RENAME TO elsewhere"))
        try:
            await eventually(lambda: exposed() == {})
        finally:
            await outbox.database.write(execute("ALTER TABLE elsewhere RENAME TO counters"))
        await outbox.fill(6)
        await eventually(lambda: exposed().get('reach_people{confirmed="false"}') == 5)
        assert set(exposed()) == GAUGES


async def test_what_nobody_has_looked_at_for_long_is_not_shown(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop that looks may hang, while a thread goes on answering Prometheus."""
    stats.show(await outbox.database.read(stats.read, outbox.settings))
    assert set(exposed()) == GAUGES
    long_ago = time.monotonic() - metrics.STALE_SECONDS
    monkeypatch.setattr(metrics.Known, "seen_at", long_ago)
    assert exposed() == {}
