"""The sweep: what was finished long ago goes, except what a person's record shows."""

from collections.abc import Sequence

import pytest
from sqlalchemy import select

from reach.db.transaction import Transaction
from reach.db.types import now
from reach.delivery.cleanup import sweep, sweep_tests
from reach.messages.model import TEST, Message
from reach.messages.outbox import Promise, promise
from reach.messages.outcome import Rejected, Sent
from reach.people.model import people
from reach.settings import Settings
from tests.support.database.outboxes import DAY, MINUTE, Outbox

DAYS = 90
OLD, YOUNG = -DAYS * DAY - MINUTE, -DAYS * DAY + MINUTE


def promise_changed(tx: Transaction, count: int, settings: Settings) -> None:
    """Promise so many mails about changes to everybody."""
    everybody = tx.execute(select(people.c.id, people.c.email)).all()
    data = {"fields": ["name"]}
    promise(tx, [Promise(*one, "changed", data) for one in everybody] * count, settings)


async def changed(outbox: Outbox, count: int) -> Sequence[Message]:
    """Promise Ada a welcome and so many other mails; the others, the oldest first."""
    await outbox.fill()
    await outbox.database.write(promise_changed, count, outbox.settings)
    return (await outbox.all())[1:]


async def swept(outbox: Outbox) -> int:
    """Sweep once; how many went."""
    return await outbox.database.write(sweep, days=DAYS)


async def test_what_was_finished_long_ago_goes(outbox: Outbox) -> None:
    """With its attempts; whatever it ended as, and counted from its end."""
    old_sent, old_failed, old_cancelled, young = await changed(outbox, 4)
    held = {message.id: message for message in await outbox.lease()}
    for message in (old_sent, young):
        await outbox.record(held[message.id], Sent("250 taken", 250))
    await outbox.record(held[old_failed.id], Rejected("550 no", 550))
    await outbox.change(old_cancelled, state="cancelled")
    for message in (old_sent, old_failed, old_cancelled):
        await outbox.change(message, finished_at=now(OLD))
    await outbox.change(young, finished_at=now(YOUNG), created_at=now(3 * OLD))
    assert await swept(outbox) == 3
    assert [message.id for message in (await outbox.all())[1:]] == [young.id]
    assert [attempt.message_id for attempt in await outbox.attempts()] == [young.id]
    assert await swept(outbox) == 0


async def test_a_test_of_the_welcome_goes(outbox: Outbox) -> None:
    """It is nobody's, so no record shows it; people's own stay, and so does a young one."""
    await outbox.fill()

    def add(tx: Transaction) -> None:
        test = Promise(None, "ops@example.com", "welcome", {TEST: True, "language": "en"})
        promise(tx, [test, test], outbox.settings)

    await outbox.database.write(add)
    _, old, young = await outbox.all()
    await outbox.change(state="sent", finished_at=now(OLD))
    await outbox.change(young, finished_at=now(YOUNG))
    assert await swept(outbox) == 0
    assert await outbox.database.write(sweep_tests, days=DAYS) == 1
    assert old.id not in {message.id for message in await outbox.all()}
    assert len(await outbox.all()) == 2


async def test_what_is_queued_stays(outbox: Outbox) -> None:
    """However old it is: it is still owed."""
    await changed(outbox, 1)
    await outbox.change(created_at=now(10 * OLD), due_at=now(10 * OLD))
    assert await swept(outbox) == 0
    assert len(await outbox.all()) == 2


@pytest.mark.parametrize("state", ["sent", "failed", "cancelled"])
async def test_welcomes_stay(outbox: Outbox, state: str) -> None:
    """A person's record shows what became of theirs."""
    await changed(outbox, 1)
    await outbox.change(state=state, finished_at=now(10 * OLD))
    assert await swept(outbox) == 1
    (left,) = await outbox.all()
    assert (left.template, left.state) == ("welcome", state)


async def test_much_goes_a_little_at_a_time(outbox: Outbox) -> None:
    """No transaction holds everybody up: a thousand in each."""
    await changed(outbox, 2300)
    await outbox.change(state="sent", finished_at=now(OLD))
    assert [await swept(outbox) for _ in range(4)] == [1000, 1000, 300, 0]
    (left,) = await outbox.all()
    assert left.template == "welcome"
