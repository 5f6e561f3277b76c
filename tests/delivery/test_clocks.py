"""The database's clock is set ahead by days, and set right: no mail is stranded, none given up.

What it says is not moved here, for it is the machine's: the rows are, as they would lie then.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest
from sqlalchemy import select, update

from reach.auth import keys
from reach.db import types
from reach.db.transaction import Transaction
from reach.db.types import earliest_id, new_id, now
from reach.delivery import cleanup
from reach.delivery.cleanup import Clock, longest_wait_seconds
from reach.delivery.leases import now_seconds
from reach.messages import budget
from reach.messages.model import STRANGERS
from reach.messages.outcome import Deferred, Outcome, Unknown
from reach.people import queries, stats
from reach.people.model import people
from tests.support.clock import eventually
from tests.support.database.outboxes import (
    ABOUT_SECONDS,
    DAY,
    HOUR,
    LEASE_SECONDS,
    MINUTE,
    Outbox,
    seconds_ahead,
)
from tests.support.database.stored import all_sent
from tests.support.processes.running import worker
from tests.support.servers.mail import MailServer

AHEAD = 10 * DAY
DEFERRED = Deferred("450 4.2.1 busy", 450, "4.2.1")
SUSPECT = Deferred("550 5.7.1 spam", 550, "5.7.1", is_suspect=True)


async def recalled(outbox: Outbox) -> int:
    """Recall once; how many there were."""
    return await outbox.database.write(cleanup.recall, outbox.settings)


async def test_a_time_that_no_rule_can_have_set_is_now(outbox: Outbox) -> None:
    """What any rule can have set stays: the longest wait of the settings, with its jitter."""
    far, waits = await outbox.fill(2)
    longest = longest_wait_seconds(outbox.settings)
    assert longest >= 4 * HOUR * 1.2 + outbox.settings.lease_seconds
    await outbox.change(far, due_at=now(longest + MINUTE))
    await outbox.change(waits, due_at=now(longest - MINUTE))
    assert await outbox.lease() == []
    assert await recalled(outbox) == 1
    assert [message.id for message in await outbox.lease()] == [far.id]
    assert await recalled(outbox) == 0
    assert not await outbox.database.read(cleanup.is_any_far, outbox.settings)


async def test_a_longer_wait_that_the_settings_ask_for_stays(outbox: Outbox) -> None:
    """And no gauge calls it due."""
    settings = outbox.settings.model_copy(update={"retry_cap_seconds": 2 * DAY})
    await outbox.fill()
    await outbox.change(due_at=now(2 * DAY * 1.2))
    assert not await outbox.database.read(cleanup.is_any_far, settings)
    assert await outbox.database.write(cleanup.recall, settings) == 0
    assert (await outbox.database.read(stats.read, settings)).oldest_due_seconds == 0


async def test_what_a_worker_may_be_sending_is_not_taken_from_it(outbox: Outbox) -> None:
    """It has the time of a lease to renew; one that is dead does not."""
    await outbox.fill()
    held = await outbox.lease_one()
    await outbox.change(due_at=now(AHEAD))
    assert await recalled(outbox) == 1
    assert await outbox.lease() == []
    assert 0 < seconds_ahead((await outbox.only()).due_at) <= outbox.settings.lease_seconds
    assert await outbox.renew(held) == {held.id}
    assert seconds_ahead((await outbox.only()).due_at) == pytest.approx(
        LEASE_SECONDS, abs=ABOUT_SECONDS
    )


async def test_the_gauges_tell_of_it(outbox: Outbox) -> None:
    """Before anybody recalls it: it is due, and late."""
    await outbox.fill()
    ahead_id = earliest_id(AHEAD + (await outbox.only()).created_at.timestamp())
    await outbox.change(id=ahead_id, created_at=now(AHEAD), due_at=now(AHEAD))
    found = await outbox.database.read(stats.read, outbox.settings)
    assert found.oldest_due_seconds >= 4 * HOUR
    assert found.late == 1


async def test_a_worker_sends_what_was_stranded(outbox: Outbox, mail_server: MailServer) -> None:
    """By itself, soon, and each once."""
    await outbox.fill(3)
    await outbox.change(due_at=now(AHEAD), created_at=now(AHEAD))
    settings = outbox.settings.model_copy(update={"smtp_url": mail_server.url})
    async with worker(settings):
        await all_sent(outbox.database)
    assert len(mail_server.messages) == 3


@pytest.mark.parametrize("outcome", [DEFERRED, SUSPECT, Unknown("silence")])
@pytest.mark.parametrize("meanwhile", ["nothing", "renewed", "released"])
async def test_a_clock_that_jumps_ahead_in_an_attempt_gives_nothing_up(
    outbox: Outbox, outcome: Outcome, meanwhile: str
) -> None:
    """All that had failed before would be given up at once: it has as much time left as before."""
    await outbox.fill()
    held = await outbox.lease_one()
    # As if it had been leased ten days ago, which is what the clock says: it first failed a day
    # before that.
    times: dict[str, Any] = {
        "first_failed_at": now(-AHEAD - DAY),
        "suspected_at": now(-AHEAD - HOUR),
    }
    await outbox.change(due_at=now(-AHEAD), **times)
    if meanwhile == "renewed":
        await outbox.renew(held)
    if meanwhile == "released":
        await outbox.release(held)
        held = await outbox.lease_one()
    assert await outbox.record(held, outcome) == "queued"
    message = await outbox.only()
    assert seconds_ahead(message.first_failed_at) == pytest.approx(-DAY, abs=ABOUT_SECONDS)
    if outcome is SUSPECT:
        assert seconds_ahead(message.suspected_at) == pytest.approx(-HOUR, abs=ABOUT_SECONDS)


async def test_a_first_failure_in_days_to_come_is_one_of_now(outbox: Outbox) -> None:
    """Else it would be tried for ten days more than others."""
    await outbox.fill()
    times: dict[str, Any] = {"first_failed_at": now(AHEAD), "suspected_at": now(AHEAD)}
    await outbox.change(due_at=now(), **times)
    held = await outbox.lease_one()
    assert seconds_ahead(held.first_failed_at) == pytest.approx(0, abs=ABOUT_SECONDS)
    assert seconds_ahead(held.suspected_at) == pytest.approx(0, abs=ABOUT_SECONDS)
    await outbox.change(due_at=now(AHEAD), **times)
    assert await recalled(outbox) == 1
    assert seconds_ahead((await outbox.only()).first_failed_at) <= ABOUT_SECONDS


async def test_what_was_promised_ahead_uses_up_no_budget(outbox: Outbox) -> None:
    """Nor does a person who was told so in days to come wait for ten days to be told again."""
    (message,) = await outbox.fill()
    settings = outbox.settings.model_copy(update={"limit_mail_per_address": "1/hour"})
    person_id = message.person_id
    assert message.template in STRANGERS
    assert person_id is not None

    def told_ahead(tx: Transaction) -> Sequence[queries.Known]:
        tx.execute(update(people).values(greeted_at=now(AHEAD)))
        keys_of_all = tx.execute(select(people.c.email_key)).scalars().all()
        return queries.lock_known(tx, keys_of_all, hours=24)

    assert await outbox.database.write(budget.within, [person_id], settings) == set()
    await outbox.change(created_at=now(AHEAD))
    assert await outbox.database.write(budget.within, [person_id], settings) == {person_id}
    (known,) = await outbox.database.write(told_ahead)
    assert known.is_due


async def test_a_keys_last_use_does_not_stay_in_days_to_come(outbox: Outbox) -> None:
    """An operator reads there whether a key is in use."""
    made = await outbox.database.write(keys.add, keys.generate(), "test", keys.SCOPES)

    def touch(tx: Transaction) -> keys.ApiKey:
        tx.execute(update(keys.api_keys).values(last_used_at=now(AHEAD)))
        keys.touch(tx, made.id)
        return keys.all_keys(tx)[0]

    used = await outbox.database.write(touch)
    assert seconds_ahead(used.last_used_at) == pytest.approx(0, abs=ABOUT_SECONDS)


async def test_where_all_is_old_nothing_is_swept_at_first(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, told: Callable[[], str]
) -> None:
    """What is swept is gone, and it may be the clock that is years ahead: an hour is waited."""
    await outbox.fill()
    await outbox.change(template="changed", state="sent", finished_at=now(-400 * DAY))
    assert not await Clock(90).is_trusted(outbox.database)
    await outbox.change(finished_at=now(-DAY))
    assert await Clock(90).is_trusted(outbox.database)
    await outbox.change(finished_at=now(-400 * DAY))
    monkeypatch.setattr(cleanup, "SWEEP_SECONDS", 0.01)

    async def is_swept() -> bool:
        return await outbox.all() == []

    async with anyio.create_task_group() as group:
        group.start_soon(cleanup.sweep_for_ever, outbox.database, 90)
        await eventually(is_swept)
        group.cancel_scope.cancel()
    assert told().count("not swept") == 1


async def test_nothing_is_swept_after_the_clock_was_set(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an hour or more, as the machine's own tells, which nobody sets; here that one moves."""
    clock = Clock(90)
    for days, is_trusted in ((0, True), (0, True), (-10, False), (-10, True), (0, False)):
        monkeypatch.setattr(cleanup, "now_seconds", lambda days=days: now_seconds() + days * DAY)
        assert await clock.is_trusted(outbox.database) == is_trusted, days


def test_ids_follow_a_clock_that_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all that is made for ten days would be found by no search for its time."""
    ahead = time.time_ns() + AHEAD * 10**9
    monkeypatch.setattr(types, "_last", ahead * types.TICKS // 10**6)
    assert new_id() < earliest_id(time.time() + MINUTE)
    ahead = time.time_ns() + 5 * 10**9
    monkeypatch.setattr(types, "_last", ahead * types.TICKS // 10**6)
    assert new_id() > earliest_id(time.time() + 4)
