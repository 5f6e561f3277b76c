"""Holding on to leased messages, and giving them back."""

import asyncio
import dataclasses

import pytest

from reach.db.types import now
from reach.delivery.leases import Leases
from reach.messages import suppressions
from reach.messages.outbox import cancel
from reach.messages.outcome import Sent
from reach.messages.suppressions import Suppressed
from tests.support.database.outboxes import (
    ABOUT_SECONDS,
    HOUR,
    LEASE_SECONDS,
    Outbox,
    seconds_ahead,
)

SENT = Sent("250 2.0.0 taken", 250, "2.0.0")


async def test_what_is_given_back_is_due_at_once(outbox: Outbox) -> None:
    """No attempt is spent, nothing has failed; and the operator sees why."""
    await outbox.fill()
    held = await outbox.lease_one()
    await outbox.release(held, reason="the mail server is unavailable")
    message = await outbox.only()
    assert (message.state, message.attempts, message.failures) == ("queued", 0, 0)
    assert (message.first_failed_at, message.finished_at) == (None, None)
    assert message.last_error == "the mail server is unavailable"
    assert await outbox.attempts() == []
    again = await outbox.lease_one()
    assert (again.id, again.lease, again.recorded_lease) == (held.id, 2, 1)


async def test_without_a_reason_the_last_one_stands(outbox: Outbox) -> None:
    """A worker that only stops says nothing about the message."""
    await outbox.fill()
    await outbox.change(last_error="450 busy")
    await outbox.release(await outbox.lease_one())
    assert (await outbox.only()).last_error == "450 busy"


async def test_who_gave_it_back_has_no_say(outbox: Outbox) -> None:
    """Neither records nor renews what anybody may take."""
    await outbox.fill()
    held = await outbox.lease_one()
    await outbox.release(held)
    released = await outbox.only()
    assert not await outbox.record(held, SENT)
    assert await outbox.renew(held) == set()
    assert await outbox.only() == released


async def test_only_its_holder_gives_it_back(outbox: Outbox) -> None:
    """A late worker does not make another's message due."""
    await outbox.fill()
    late = await outbox.lease_one()
    await outbox.change(due_at=now())
    current = await outbox.lease_one()
    await outbox.release(late, reason="late")
    assert await outbox.only() == current


async def test_a_renewed_lease_goes_on(outbox: Outbox) -> None:
    """From now on, with the same number; of many, each."""
    await outbox.fill(3)
    held = await outbox.lease()
    await outbox.change(due_at=now(-HOUR))
    assert await outbox.renew(*held[:2]) == {held[0].id, held[1].id}
    found = {message.id: message for message in await outbox.all()}
    for message in held[:2]:
        renewed = found[message.id]
        assert renewed == dataclasses.replace(message, due_at=renewed.due_at)
        assert seconds_ahead(renewed.due_at) == pytest.approx(LEASE_SECONDS, abs=ABOUT_SECONDS)
    (left,) = await outbox.lease()
    assert left.id == held[2].id


async def test_only_what_is_still_held_is_renewed(outbox: Outbox) -> None:
    """Not another's, nor what was finished, cancelled or erased."""
    await outbox.fill(1)
    erased = await outbox.lease_one()
    await outbox.erase_everybody()
    await outbox.fill(4)
    mine, others, recorded, cancelled = held = await outbox.lease()
    await outbox.change(others, due_at=now())
    (current,) = await outbox.lease()
    await outbox.record(recorded, SENT)
    await outbox.database.write(cancel, cancelled.id)
    assert await outbox.renew(*held, erased, seconds=5 * LEASE_SECONDS) == {mine.id}
    found = {message.id: message for message in await outbox.all()}
    assert found[others.id] == current
    assert found[recorded.id].due_at == recorded.due_at
    assert await outbox.renew(current) == {others.id}


async def test_no_slot_finds_what_is_leased_before_the_lease_is_done(outbox: Outbox) -> None:
    """While what is suppressed is being ended, a slot could send to a domain past its rate."""
    suppressed, *_ = await outbox.fill(4)
    noted = Suppressed(suppressed.recipient, "operator")
    await outbox.database.write(suppressions.suppress_all, [noted])
    leases = Leases(outbox.database, LEASE_SECONDS)
    taking, found_early = asyncio.create_task(leases.take(10)), 0
    while not taking.done():
        found_early = len(leases.waiting)
        await asyncio.sleep(0)
    assert (taking.result(), leases.newest, len(leases.waiting), found_early) == (4, 3, 3, 0)
    assert [one.id for one in await outbox.all() if one.state == "suppressed"] == [suppressed.id]
