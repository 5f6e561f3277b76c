"""The outbox's rules: who gets what is due, whose word counts, and when it is tried again."""

import asyncio
import dataclasses
from datetime import timedelta

import pytest

from reach.db.types import now
from reach.messages.outbox import cancel
from reach.messages.outcome import Deferred, Outcome, Rejected, Sent, Unknown
from tests.support.database.outboxes import (
    ABOUT_SECONDS,
    DAY,
    DELAY_SECONDS,
    HOUR,
    LEASE_SECONDS,
    MINUTE,
    Outbox,
    seconds_ahead,
)

SENT = Sent("250 2.0.0 taken", 250, "2.0.0")
DEFERRED = Deferred("450 4.2.1 busy", 450, "4.2.1")
REJECTED = Rejected("550 5.1.1 nobody", 550, "5.1.1")
UNKNOWN = Unknown("silence")
OUTCOMES = [SENT, DEFERRED, REJECTED, UNKNOWN]
AGAIN = [DEFERRED, UNKNOWN]


def named(outcome: object) -> str:
    """Name a test's case by its outcome."""
    return type(outcome).__name__.lower()


for_each = pytest.mark.parametrize


# Leasing


async def test_the_longest_due_go_first(outbox: Outbox) -> None:
    """Whatever the order they were promised in; never more than asked for, and no future ones."""
    promised = await outbox.fill(7)
    for minutes, message in enumerate(promised[:6], start=1):
        await outbox.change(message, due_at=now(-minutes * MINUTE))
    await outbox.change(promised[6], due_at=now(MINUTE))
    takes = [{message.id for message in await outbox.lease(2)} for _ in range(4)]
    oldest = [message.id for message in reversed(promised[:6])]
    assert takes == [set(oldest[:2]), set(oldest[2:4]), set(oldest[4:]), set()]


async def test_a_held_message_is_nobody_elses(outbox: Outbox) -> None:
    """Until its lease is over; then the next one's, by the next lease."""
    await outbox.fill()
    first = await outbox.lease_one()
    assert (first.lease, first.state) == (1, "queued")
    assert seconds_ahead(first.due_at) == pytest.approx(LEASE_SECONDS, abs=ABOUT_SECONDS)
    assert await outbox.lease() == []
    await outbox.change(due_at=now(-0.001))
    second = await outbox.lease_one()
    assert second == dataclasses.replace(first, lease=2, due_at=second.due_at)
    assert seconds_ahead(second.due_at) == pytest.approx(LEASE_SECONDS, abs=ABOUT_SECONDS)


async def test_many_who_lease_at_once_share(outbox: Outbox) -> None:
    """Each message goes to one of them, and all go."""
    promised = await outbox.fill(60)
    taken = await asyncio.gather(*(outbox.lease(5) for _ in range(15)))
    ids = [message.id for share in taken for message in share]
    assert sorted(ids) == [message.id for message in promised]
    assert max(map(len, taken)) == 5


@for_each("state", ["sent", "failed", "cancelled"])
async def test_only_what_is_queued_is_leased(outbox: Outbox, state: str) -> None:
    """An end is an end, however long ago it was due."""
    await outbox.fill()
    await outbox.change(state=state, due_at=now(-DAY), finished_at=now())
    assert await outbox.lease() == []


# Recording outcomes


async def test_what_was_sent_is_sent(outbox: Outbox) -> None:
    """With the attempt and the mail server's words."""
    await outbox.fill()
    await outbox.change(last_error="an earlier one")
    held = await outbox.lease_one()
    assert await outbox.record(held, SENT)
    message = await outbox.only()
    assert (message.state, message.attempts, message.failures) == ("sent", 1, 0)
    assert (message.first_failed_at, message.last_error) == (None, None)
    assert seconds_ahead(message.finished_at) == pytest.approx(0, abs=ABOUT_SECONDS)
    (attempt,) = await outbox.attempts()
    assert (attempt.message_id, attempt.worker) == (message.id, "tester:1")
    assert (attempt.outcome, attempt.text) == ("sent", SENT.text)
    assert (attempt.smtp_code, attempt.enhanced_code) == (250, "2.0.0")


@for_each("outcome", AGAIN, ids=named)
async def test_what_may_yet_succeed_is_tried_again(outbox: Outbox, outcome: Outcome) -> None:
    """After the delay; its first failure is noted once, each failure and attempt counted."""
    await outbox.fill()
    assert await outbox.record(await outbox.lease_one(), outcome)
    once = await outbox.only()
    assert (once.state, once.attempts, once.failures) == ("queued", 1, 1)
    assert (once.finished_at, once.last_error) == (None, outcome.words)
    assert seconds_ahead(once.due_at) == pytest.approx(DELAY_SECONDS, abs=ABOUT_SECONDS)
    assert seconds_ahead(once.first_failed_at) == pytest.approx(0, abs=ABOUT_SECONDS)
    assert await outbox.lease() == []

    await outbox.change(due_at=now(), first_failed_at=now(-HOUR))
    assert await outbox.record(await outbox.lease_one(), outcome, 2 * DELAY_SECONDS)
    twice = await outbox.only()
    assert (twice.state, twice.attempts, twice.failures) == ("queued", 2, 2)
    assert seconds_ahead(twice.due_at) == pytest.approx(2 * DELAY_SECONDS, abs=ABOUT_SECONDS)
    assert seconds_ahead(twice.first_failed_at) == pytest.approx(-HOUR, abs=ABOUT_SECONDS)
    assert [attempt.outcome for attempt in await outbox.attempts()] == [outcome.name] * 2


async def test_what_was_refused_has_failed(outbox: Outbox) -> None:
    """At once, for the reason given, and it is not tried again."""
    await outbox.fill()
    assert await outbox.record(await outbox.lease_one(), REJECTED)
    message = await outbox.only()
    assert (message.state, message.attempts, message.failures) == ("failed", 1, 1)
    assert message.last_error == REJECTED.words
    assert seconds_ahead(message.finished_at) == pytest.approx(0, abs=ABOUT_SECONDS)
    await outbox.change(due_at=now(-HOUR))
    assert await outbox.lease() == []


@for_each("outcome", AGAIN, ids=named)
@for_each(("age_seconds", "state"), [(-1, "failed"), (MINUTE, "queued")])
async def test_a_message_is_given_up_in_time(
    outbox: Outbox, outcome: Outcome, age_seconds: float, state: str
) -> None:
    """So long after its own first failure, and no sooner."""
    await outbox.fill()
    held = await outbox.lease_one()
    first = age_seconds - outbox.settings.give_up_seconds
    await outbox.change(first_failed_at=now(first))
    assert await outbox.record(held, outcome)
    message = await outbox.only()
    assert (message.state, message.attempts) == (state, 1)
    assert (message.finished_at is not None) == (state == "failed")
    assert message.last_error == outcome.words
    assert seconds_ahead(message.first_failed_at) == pytest.approx(first, abs=ABOUT_SECONDS)


async def test_being_old_alone_gives_nothing_up(outbox: Outbox) -> None:
    """Its days begin with its first failure, not with its promise."""
    await outbox.fill()
    await outbox.change(created_at=now(-30 * DAY), due_at=now(-30 * DAY))
    assert await outbox.record(await outbox.lease_one(), DEFERRED)
    message = await outbox.only()
    assert message.state == "queued"
    assert seconds_ahead(message.first_failed_at) == pytest.approx(0, abs=ABOUT_SECONDS)


async def test_time_that_it_lies_due_does_not_count(outbox: Outbox) -> None:
    """An hour of an open circuit breaker moves the first failure by an hour."""
    await outbox.fill()
    await outbox.change(due_at=now(-HOUR), first_failed_at=now(-DAY))
    before = await outbox.only()
    held = await outbox.lease_one()
    assert before.first_failed_at is not None
    assert held.first_failed_at is not None
    moved = held.first_failed_at - before.first_failed_at
    assert timedelta(0) <= moved - timedelta(hours=1) < timedelta(seconds=ABOUT_SECONDS)


async def test_a_long_open_circuit_breaker_gives_nothing_up(outbox: Outbox) -> None:
    """It failed five days ago, but lay due for two of them: it has a day left."""
    await outbox.fill()
    await outbox.change(due_at=now(-2 * DAY), first_failed_at=now(-5 * DAY))
    await outbox.record(await outbox.lease_one(), DEFERRED)
    assert (await outbox.only()).state == "queued"
    await outbox.change(due_at=now(-MINUTE), first_failed_at=now(-5 * DAY))
    await outbox.record(await outbox.lease_one(), DEFERRED)
    assert (await outbox.only()).state == "failed"


async def test_each_of_many_gets_its_own(outbox: Outbox) -> None:
    """One transaction for all of them mixes up neither outcomes nor answers."""
    await outbox.fill(5)
    held = await outbox.lease()
    await outbox.change(held[4], lease=9)
    outcomes = list(zip(held, [*OUTCOMES, SENT], strict=True))
    answers = await outbox.record_outcomes(outcomes)
    assert list(answers) == ["sent", "queued", "failed", "queued", None]
    states = {message.id: message.state for message in await outbox.all()}
    assert [states[m.id] for m in held] == ["sent", "queued", "failed", "queued", "queued"]
    attempts = {attempt.message_id: attempt.outcome for attempt in await outbox.attempts()}
    assert attempts == {m.id: outcome.name for m, outcome in outcomes[:4]}


# Whose word counts


@for_each("outcome", OUTCOMES, ids=named)
async def test_a_late_word_changes_nothing(outbox: Outbox, outcome: Outcome) -> None:
    """Another has leased the message meanwhile: its attempt is not even noted."""
    await outbox.fill()
    late = await outbox.lease_one()
    await outbox.change(due_at=now())
    current = await outbox.lease_one()
    assert not await outbox.record(late, outcome)
    assert await outbox.only() == current
    assert await outbox.attempts() == []
    assert await outbox.record(current, SENT)


@for_each("outcome", OUTCOMES, ids=named)
@for_each("again", OUTCOMES, ids=named)
async def test_a_lease_is_recorded_once(outbox: Outbox, outcome: Outcome, again: Outcome) -> None:
    """Repeating it, or saying something else, changes nothing."""
    await outbox.fill()
    held = await outbox.lease_one()
    assert await outbox.record(held, outcome)
    recorded = await outbox.only()
    assert not await outbox.record(held, again)
    assert await outbox.only() == recorded
    assert len(await outbox.attempts()) == 1


async def test_a_late_word_beside_the_current_one_changes_nothing(outbox: Outbox) -> None:
    """Even in the transaction that records what became of the lease after it."""
    await outbox.fill()
    late = await outbox.lease_one()
    await outbox.change(due_at=now(-HOUR))
    current = await outbox.lease_one()
    answers = await outbox.record_outcomes([(late, Rejected("late")), (current, SENT)])
    assert answers == [None, "sent"]
    assert [attempt.outcome for attempt in await outbox.attempts()] == [SENT.name]


async def test_a_lease_that_is_over_counts_until_another_begins(outbox: Outbox) -> None:
    """A send that happened is noted, if a little late: nobody else has begun."""
    await outbox.fill()
    held = await outbox.lease_one()
    await outbox.change(due_at=now(-HOUR))
    assert await outbox.record(held, SENT)
    assert (await outbox.only()).state == "sent"


@for_each("outcome", OUTCOMES, ids=named)
async def test_cancelled_while_it_was_sent(outbox: Outbox, outcome: Outcome) -> None:
    """Sent is the truth; anything else leaves it cancelled, with the attempt noted."""
    await outbox.fill()
    held = await outbox.lease_one()
    await outbox.database.write(cancel, held.id)
    await outbox.change(finished_at=now(-HOUR))
    answer = await outbox.record(held, outcome)
    message = await outbox.only()
    was_sent = outcome is SENT
    assert message.state == answer == ("sent" if was_sent else "cancelled")
    recorded = 0 if was_sent else -HOUR
    assert seconds_ahead(message.finished_at) == pytest.approx(recorded, abs=ABOUT_SECONDS)
    assert [attempt.outcome for attempt in await outbox.attempts()] == [outcome.name]
    await outbox.change(due_at=now(-HOUR))
    assert await outbox.lease() == []


async def test_the_word_about_an_erased_person_is_harmless(outbox: Outbox) -> None:
    """It changes nothing, and its neighbours' words count."""
    await outbox.fill()
    gone = await outbox.lease_one()
    await outbox.erase_everybody()
    await outbox.fill()
    other = await outbox.lease_one()
    assert list(await outbox.record_outcomes([(gone, SENT), (other, SENT)])) == [None, "sent"]
    assert [message.id for message in await outbox.all()] == [other.id]
    assert [attempt.message_id for attempt in await outbox.attempts()] == [other.id]
    assert await outbox.renew(gone) == set()
    await outbox.release(gone)
