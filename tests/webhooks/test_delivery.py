"""Webhooks hear what happens: at least once, in the order of each person, through long outages."""

from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import select, update

from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import now
from reach.events.model import EVENT_TYPES, webhook_events
from reach.messages.outcome import Rejected, Sent
from reach.messages.queue import AttemptOutcome, Held, lease_due
from reach.messages.recording import record_outcomes
from reach.people import record
from reach.people.model import people
from reach.reports.model import Clues, Report, Verdict
from reach.reports.record import Claim, record_all
from reach.settings import Settings
from reach.webhooks import endpoints, history, queue
from reach.webhooks.endpoints import WebhookDisabled
from tests.support.clock import eventually
from tests.support.database.stored import addresses, messages_in, sign_up
from tests.support.servers.receiver import Heard, Receiver
from tests.support.webhooks import add_webhook, delivering, events_in, tries_in, turn_clock

ADA, BOB, MAKER = "ada@example.com", "bob@example.com", "maker@example.org"
DAY = 24 * 3600


async def ids_of(database: Database, *emails: str) -> list[UUID]:
    """The ids of people by their addresses."""

    def read(tx: Transaction) -> list[UUID]:
        found = {row.email: row.id for row in tx.execute(select(people.c.email, people.c.id))}
        return [found[email] for email in emails]

    return await database.read(read)


async def end_messages(database: Database, settings: Settings, outcome: Sent | Rejected) -> None:
    """Have all that is queued end in one way."""

    def end(tx: Transaction) -> None:
        at = datetime.now(UTC)
        due = lease_due(tx, limit=100, lease_seconds=60)
        tried = [AttemptOutcome(Held(m.id, m.lease), "test", at, at, outcome, 0) for m in due]
        record_outcomes(tx, tried, settings)

    await database.write(end)


async def test_what_happens_is_told_with_what_is_known_now(
    database: Database, settings: Settings, receiver: Receiver
) -> None:
    """Each event, signed, to whom wants it; of who was erased only the id, in the same order."""
    await sign_up(database, settings, "before@example.com")
    await end_messages(database, settings, Sent("250 OK", 250, "2.0.0"))
    assert await events_in(database) == []
    webhook, secret = await add_webhook(database, settings, receiver.url)
    receiver.answer = lambda _: 200
    async with Receiver() as other:
        erased_only, _ = await add_webhook(database, settings, other.url, "person.erased")
        await sign_up(database, settings, ADA, BOB)
        await end_messages(database, settings, Sent("250 OK", 250, "2.0.0"))
        ada, bob = await ids_of(database, ADA, BOB)
        await database.write(record.confirm, ada)
        await database.write(record.confirm, ada)  # that is no news
        await database.write(record.change, ada, {"name": "Ada L"}, settings)
        await end_messages(database, settings, Rejected(f"550 5.1.1 <{ADA}>", 550, "5.1.1"))
        await database.write(record.erase, bob)
        rows = await events_in(database)
        assert ADA not in str(rows)
        assert BOB not in str(rows)
        async with delivering(settings, database):
            await eventually(lambda: len(receiver.taken) == 8 and len(other.taken) == 1)
    assert all(one.is_signed(secret) for one in receiver.heard)
    assert not any(one.is_signed(secret) for one in other.heard)
    assert erased_only.types == ["person.erased"]
    told: dict[str, list[Heard]] = {name: [] for name in (str(ada), str(bob))}
    for one in receiver.heard:
        told[one.document["data"]["person"]["id"]].append(one)
    assert [one.type for one in told[str(ada)]] == [
        *("person.signed_up", "message.sent", "person.confirmed"),
        *("person.changed", "message.failed"),
    ]
    assert told[str(ada)][0].document["data"]["person"]["name"] == "Ada L"
    assert told[str(ada)][3].document["data"]["fields"] == ["name"]
    assert told[str(ada)][4].document["data"]["message"]["smtp_code"] == 550
    assert [one.type for one in told[str(bob)]] == [
        *("person.signed_up", "message.sent", "person.erased")
    ]
    assert all(BOB not in one.body.decode() for one in told[str(bob)])
    assert {one.type for one in receiver.heard} <= set(EVENT_TYPES)
    assert [one.type for one in other.heard] == ["person.erased"]
    assert len({one.id for one in receiver.heard}) == 8
    exported = await database.read(record.export, ada)
    assert [one["type"] for one in exported["events"]] == [one.type for one in told[str(ada)]]
    assert "all of it" in str(exported["events"])
    await database.write(record.erase, ada)  # an answer may repeat what it was told
    answers = [one.answer for row in await history_of(database, webhook.id) for one in row.history]
    assert answers.count("") == 5


async def test_what_comes_back_is_told(database: Database, settings: Settings) -> None:
    """A bounce and a complaint, each once, with codes and without the mail server's words."""
    await add_webhook(
        database, settings, "http://127.0.0.1:9/", "message.bounced", "message.complained"
    )
    await sign_up(database, settings, ADA)
    await end_messages(database, settings, Sent("250 OK", 250, "2.0.0"))
    (message,) = await messages_in(database)
    bounce = Verdict("bounced", "permanent", ADA, smtp_code=550, text=f"550 No {ADA}")
    for verdict in (bounce, bounce, Verdict("complained", recipient=ADA)):
        claim = Claim(Report("dsn", Clues(), (verdict,)), message.id, (), is_verified=True)
        await database.write(record_all, [claim])
    told = [
        (row.type, row.message_id, row.details["smtp_code"]) for row in await events_in(database)
    ]
    assert told == [("message.bounced", message.id, 550), ("message.complained", message.id, None)]
    assert ADA not in str(await events_in(database))


async def test_one_person_waits_for_what_came_before_and_others_do_not(
    database: Database, settings: Settings, receiver: Receiver
) -> None:
    """The first event of one fails: all of theirs wait; then they come in order, each taken once.

    What was told is told again with the same id, one or all since a time.
    """
    webhook, _ = await add_webhook(database, settings, receiver.url)
    await sign_up(database, settings, ADA, BOB)
    ada, bob = await ids_of(database, ADA, BOB)
    for person in (ada, bob):
        for name in ("one", "two"):
            await database.write(record.change, person, {"name": name}, settings)
    receiver.answer = lambda told: 500 if told["data"]["person"]["id"] == str(ada) else 204
    async with delivering(settings, database) as deliveries:
        await eventually(lambda: len(receiver.taken) == 3)
        await eventually(lambda: len(receiver.heard) == 4)
        receiver.answer = lambda _: 200

        async def is_past() -> bool:
            await turn_clock(database, 10)
            deliveries.wake()
            return len(receiver.taken) == 6

        await eventually(is_past, every=0.1)
        told = [one for one in receiver.heard if one.document["data"]["person"]["id"] == str(ada)]
        types = ["person.signed_up", "person.signed_up", "person.changed", "person.changed"]
        assert [one.type for one in told] == types
        assert told[0].id == told[1].id
        await eventually(lambda: all_are("delivered", database))
        first = (await history_of(database, webhook.id))[-1]
        assert [one.status for one in first.history] == (
            [500, 200] if first.attempts == 2 else [204]
        )
        await database.write(history.replay, webhook.id, first.id)
        await eventually(lambda: len(receiver.heard) == 8)
        assert receiver.heard[-1].id == str(first.id)
        await eventually(lambda: all_are("delivered", database))
        since = datetime.fromtimestamp(0, UTC)
        assert await database.write(history.replay_some, webhook.id, since) == (6, None)
        deliveries.wake()
        await eventually(lambda: len(receiver.heard) == 14)
    again = [one for one in receiver.heard[8:] if one.document["data"]["person"]["id"] == str(bob)]
    assert [one.type for one in again] == ["person.signed_up", "person.changed", "person.changed"]


async def all_are(state: str, database: Database) -> bool:
    """Whether all events are in one state."""
    return {row.state for row in await events_in(database)} == {state}


async def history_of(database: Database, webhook_id: UUID) -> list[history.Delivery]:
    """What a webhook heard, newest first."""
    found, _ = await database.read(history.page, webhook_id, limit=100)
    return list(found)


async def test_an_endpoint_that_is_down_for_three_days_gets_all(
    database: Database, settings: Settings
) -> None:
    """While it is down, one event is tried now and then; then all come. After five days it is off.

    Turned on again, it hears what waited.
    """
    settings = settings.model_copy(update={"notify": MAKER})
    async with Receiver() as receiver:
        url, port = receiver.url, receiver.port
    webhook, _ = await add_webhook(database, settings, url)
    await sign_up(database, settings, *addresses(8))
    passed, had = 0.0, 0
    async with delivering(settings, database) as deliveries:
        await eventually(lambda: has_tried(database, 5))
        while passed < 3 * DAY:
            had = await tries_in(database)
            passed += await to_next_try(database)
            deliveries.wake()
            await eventually(partial(has_tried, database, had + 1))
        assert await all_are("waiting", database)
        assert had < 200
        (found,) = await database.read(endpoints.every)
        assert found.state == "failing"
        async with Receiver(port=port) as receiver:

            async def is_done() -> bool:
                await turn_clock(database, 3600)
                deliveries.wake()
                return len(receiver.taken) == 8

            await eventually(is_done, every=0.05)
            await eventually(lambda: all_are("delivered", database))
        (found,) = await database.read(endpoints.every)
        assert (found.state, found.failures) == ("enabled", 0)
        had = await tries_in(database)
        await sign_up(database, settings, ADA)
        await eventually(lambda: has_tried(database, had + 1))
        await turn_clock(database, 5 * DAY)
        deliveries.wake()
        await eventually(lambda: is_off(database))
        told = [one for one in await messages_in(database) if one.template == "webhook-disabled"]
        assert [(one.recipient, one.data["reason"]) for one in told] == [(MAKER, "failing")]
        assert await database.read(endpoints.view, webhook.id)
        with pytest.raises(WebhookDisabled):
            await database.write(history.test, webhook.id)
        await sign_up(database, settings, BOB)  # of that it never hears
        async with Receiver(port=port) as receiver:
            await database.write(endpoints.enable, webhook.id)
            await eventually(lambda: len(receiver.taken) == 1)
            assert receiver.taken[0].document["data"]["person"]["email"] == ADA


async def test_those_behind_another_are_looked_at_once(
    database: Database, settings: Settings
) -> None:
    """Its end calls the next one. If all came back by themselves, many would be in its way."""
    webhook, _ = await add_webhook(database, settings, "https://example.org/hooks")
    await sign_up(database, settings, ADA)
    (ada,) = await ids_of(database, ADA)
    for name in ("one", "two", "three", "four", "five"):
        await database.write(record.change, ada, {"name": name}, settings)
    first, second, *_ = await events_in(database)
    behind = update(webhook_events).where(webhook_events.c.id != first.id)
    await database.write(lambda tx: tx.execute(behind.values(due_at=now(-60))))
    lease = partial(queue.lease_due, webhook_id=webhook.id, limit=5, lease_seconds=60)
    leased, is_more = await database.write(lease)
    assert (list(leased), is_more) == ([], True)
    leased, _ = await database.write(lease)
    assert [one.id for one in leased] == [first.id]
    done = queue.Tried(leased[0], datetime.now(UTC), 1, "delivered", 204, "")
    assert await database.write(queue.record, [done]) == ["delivered"]
    await turn_clock(database, 1)
    leased, is_more = await database.write(lease)
    assert ([one.id for one in leased], is_more) == ([second.id], False)


async def test_no_answer_is_kept_of_who_was_erased_meanwhile(
    database: Database, settings: Settings
) -> None:
    """It may repeat what was told: what is recorded after an erasure says nothing of its person."""
    webhook, _ = await add_webhook(database, settings, "https://example.org/hooks")
    await sign_up(database, settings, ADA, BOB)
    ada, bob = await ids_of(database, ADA, BOB)
    leased, _ = await database.write(
        partial(queue.lease_due, webhook_id=webhook.id, limit=8, lease_seconds=60)
    )
    await database.write(record.erase, ada)
    answers = {ada: f"no {ADA}", bob: f"no {BOB}"}
    tried = [
        queue.Tried(due, datetime.now(UTC), 1, "refused", 500, answers[due.person_id or ada])
        for due in leased
    ]
    assert await database.write(queue.record, tried) == ["waiting", "waiting"]
    events = await history_of(database, webhook.id)
    told = {row.person_id: one.answer for row in events for one in row.history}
    assert told == {ada: "", bob: answers[bob]}


async def test_turning_on_leaves_alone_what_is_being_sent(
    database: Database, settings: Settings
) -> None:
    """An event that failed before, and is under way again, is not leased a second time."""
    webhook, _ = await add_webhook(database, settings, "https://example.org/hooks")
    await sign_up(database, settings, ADA)
    lease = partial(queue.lease_due, webhook_id=webhook.id, limit=8, lease_seconds=60)
    failed = partial(queue.Tried, milliseconds=1, result="refused", status=500, answer="")
    (first,), _ = await database.write(lease)
    await database.write(queue.record, [failed(first, datetime.now(UTC))])
    (again,), _ = await database.write(lease)
    await database.write(endpoints.enable, webhook.id)
    assert (await database.write(lease))[0] == []
    assert await database.write(queue.record, [failed(again, datetime.now(UTC))]) == ["waiting"]
    assert len((await database.write(lease))[0]) == 1


async def has_tried(database: Database, count: int) -> bool:
    """Whether there were so many attempts."""
    return await tries_in(database) >= count


async def is_off(database: Database) -> bool:
    """Whether the webhook was turned off for failing."""
    (found,) = await database.read(endpoints.every)
    return found.disabled_reason == "failing"


async def to_next_try(database: Database) -> float:
    """Turn the clock to when the next attempt may be, and no further; by how many seconds."""
    (look,) = await database.read(queue.look)
    assert look.due_seconds is not None
    seconds = max(look.due_seconds, look.pause_seconds, 0.0) + 0.01
    await turn_clock(database, seconds)
    return seconds
