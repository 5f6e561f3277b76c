"""After an outage an operator queues again all that failed, by one call or a few."""

import asyncio
from typing import Any

import anyio
import httpx
import pytest

from reach.db.types import now
from reach.messages import filters
from reach.messages.filters import BATCH, MOST_AT_ONCE
from reach.messages.outcome import Deferred, Rejected, Sent
from reach.runtime.process import opened
from tests.support.clock import eventually
from tests.support.database.locks import held
from tests.support.database.outboxes import HOUR, Outbox
from tests.support.database.stored import addresses, sign_up
from tests.support.http.bodies import CANARY
from tests.support.people import NOBODY, operator, owed
from tests.support.processes.reach import Reach, running_worker
from tests.support.servers.mail import MailServer

SENT, DEFERRED = Sent("250 2.0.0 taken", 250, "2.0.0"), Deferred("450 4.2.1 busy", 450, "4.2.1")
REJECTED = Rejected("550 5.1.1 nobody", 550, "5.1.1")
FAILED = {"state": "failed"}


@pytest.fixture
def outbox(reach: Reach) -> Outbox:
    """The outbox of the Reach that is served."""
    return Outbox(reach.database, reach.settings)


async def ask(
    http: httpx.AsyncClient, chosen_by: object, *, key: str | None = None, **others: object
) -> httpx.Response:
    """Retry all of a filter."""
    headers = {} if key is None else {"Idempotency-Key": key}
    body = {"filter": chosen_by, **others}
    return await http.post("/v1/messages/retry", json=body, headers=headers)


async def said(http: httpx.AsyncClient, chosen_by: object, **others: Any) -> tuple[int, bool, bool]:
    """How many were queued again, whether there are more, and whether it was a dry run."""
    answer = (await ask(http, chosen_by, **others)).raise_for_status().json()
    assert list(answer) == ["queued", "more", "dry_run"]
    return answer["queued"], answer["more"], answer["dry_run"]


async def one_of_each(outbox: Outbox, http: httpx.AsyncClient) -> dict[str, str]:
    """Six messages: in each state one, one that waits for its next try, one that is held."""
    await outbox.fill(6)
    found = await outbox.lease()
    names = ["sent", "failed", "cancelled", "waiting", "due", "held"]
    by_name = dict(zip(names, sorted(found, key=lambda m: m.id), strict=True))
    await outbox.record(by_name["sent"], SENT)
    await outbox.record(by_name["failed"], REJECTED)
    await outbox.release(by_name["cancelled"])
    await http.post(f"/v1/messages/{by_name['cancelled'].id}/cancel")
    await outbox.record(by_name["waiting"], DEFERRED)
    await outbox.release(by_name["due"])
    return {name: str(message.id) for name, message in by_name.items()}


async def states(http: httpx.AsyncClient, ids: dict[str, str]) -> dict[str, str]:
    """The states of messages, by their names."""
    found = {message["id"]: message["state"] for message in await owed(http)}
    return {name: found[id_] for name, id_ in ids.items()}


async def test_what_failed_is_queued_again(
    reach: Reach, outbox: Outbox, mail_server: MailServer
) -> None:
    """It says how many; a worker is woken and sends them, and nothing that was sent before."""
    http = await operator(reach)
    await outbox.fill(5)
    for message in (await outbox.lease())[:4]:
        await outbox.record(message, REJECTED)
    await outbox.change(lease=0, recorded_lease=0, due_at=now(HOUR))
    assert await said(http, FAILED) == (4, False, False)
    again = await outbox.all()
    retried = [m for m in again if m.attempts == 1]
    assert len(retried) == 4
    assert {(m.state, m.failures, m.first_failed_at, m.finished_at) for m in retried} == {
        ("queued", 0, None, None)
    }
    assert await said(http, FAILED) == (0, False, False)
    settings = reach.settings.model_copy(update={"poll_seconds": 1000})
    async with running_worker(settings):

        async def are_sent() -> bool:
            return len(await owed(http, state="sent")) == 4

        await eventually(are_sent, 20)
    assert len(mail_server.messages) == 4


async def test_each_state_has_its_retry(reach: Reach, outbox: Outbox) -> None:
    """Failed, unless another is named; of the queued those that wait; what was sent, never."""
    http = await operator(reach)
    ids = await one_of_each(outbox, http)
    before = await states(http, ids)
    expected = {"sent": "sent", "failed": "failed", "cancelled": "cancelled"}
    assert before == {**expected, **dict.fromkeys(("waiting", "due", "held"), "queued")}
    assert await said(http, {"template": "welcome"}) == (1, False, False)
    assert (await states(http, ids)) == {**before, "failed": "queued"}
    assert await said(http, {"state": "cancelled"}) == (1, False, False)
    assert (await states(http, ids)) == {**before, "failed": "queued", "cancelled": "queued"}
    rows = {str(m.id): m for m in await outbox.all()}
    assert await said(http, {"state": "queued"}) == (1, False, False)
    after = {str(m.id): m for m in await outbox.all()}
    changed = [name for name, id_ in ids.items() if rows[id_] != after[id_]]
    assert changed == ["waiting"]
    assert after[ids["waiting"]].due_at < rows[ids["waiting"]].due_at
    assert await said(http, {"state": "queued"}) == (0, False, False)
    assert (await ask(http, {"state": "sent"})).status_code == 422


async def test_what_is_being_sent_stays_with_its_holder(reach: Reach, outbox: Outbox) -> None:
    """Cancelled meanwhile and queued again: two who send it would send it twice."""
    http = await operator(reach)
    await outbox.fill()
    message = await outbox.lease_one()
    await http.post(f"/v1/messages/{message.id}/cancel")
    assert await said(http, {"state": "cancelled"}) == (1, False, False)
    assert await outbox.only() == message
    assert await outbox.lease() == []
    assert await outbox.record(message, SENT) == "sent"


async def test_a_dry_run_changes_nothing(reach: Reach, outbox: Outbox) -> None:
    """It says how many it would be; also while nothing can be written."""
    http = await operator(reach)
    await one_of_each(outbox, http)
    before = await outbox.all()
    assert await said(http, FAILED, dry_run=True) == (1, False, True)
    async with held(reach.settings, "LOCK TABLE messages, idempotency_keys IN EXCLUSIVE MODE"):
        assert await said(http, FAILED, dry_run=True) == (1, False, True)
    assert await outbox.all() == before
    assert await said(http, FAILED, dry_run=False) == (1, False, False)


async def test_filters_are_those_of_the_list(reach: Reach, outbox: Outbox) -> None:
    """Each alone and together: what is retried is what the list shows."""
    http = await operator(reach)
    await outbox.fill(4)
    for message in await outbox.lease():
        await outbox.record(message, REJECTED)
    listed = await owed(http, state="failed")
    second = listed[2]
    at = second["created_at"]
    one: list[dict[str, str]] = [
        {"recipient": f" {second['recipient'].upper()}"},
        {"person_id": second["person_id"]},
        {"person_id": second["person_id"], "recipient": second["recipient"], "since": at},
    ]
    for chosen_by in one:
        assert await said(http, chosen_by, dry_run=True) == (1, False, True), chosen_by
    none: list[dict[str, str]] = [
        {"recipient": "ada9@example.com"},
        {"person_id": NOBODY},
        {"template": "changed"},
        {"until": "2026-01-01T00:00:00Z"},
        {"since": "2999-01-01T00:00:00Z"},
        {"recipient": second["recipient"], "state": "cancelled"},
    ]
    for chosen_by in none:
        assert await said(http, chosen_by, dry_run=True) == (0, False, True), chosen_by
    assert await said(http, {"since": at, "until": "2999-01-01T00:00:00Z"}, dry_run=True) == (
        len([m for m in listed if m["created_at"] >= at]),
        False,
        True,
    )
    assert await said(http, one[0]) == (1, False, False)
    assert (await owed(http, state="queued")) == [
        {
            **second,
            "state": "queued",
            "finished_at": None,
            "due_at": (await owed(http))[2]["due_at"],
        }
    ]


#: What is no filter, and where the fault is.
BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "/filter"),
    ({"filter": {}}, "/filter"),
    ({"filter": None}, "/filter"),
    ({"filter": {"recipient": None}}, "/filter"),
    ({"filter": {**FAILED, "recipient": None}}, "/filter"),
    ({"filter": []}, "/filter"),
    ({"filter": {"state": "sent"}}, "/filter/state"),
    ({"filter": {"state": CANARY}}, "/filter/state"),
    ({"filter": {"state": None}}, "/filter/state"),
    ({"filter": {CANARY: "failed"}}, "/filter"),
    ({"filter": {"template": 5}}, "/filter/template"),
    ({"filter": {"recipient": CANARY}}, "/filter/recipient"),
    ({"filter": {"recipient": f"{CANARY * 30}@example.com"}}, "/filter/recipient"),
    ({"filter": {"person_id": CANARY}}, "/filter/person_id"),
    ({"filter": {"since": CANARY}}, "/filter/since"),
    ({"filter": {"until": 1767225600}}, "/filter/until"),
    ({"filter": {"until": "2026-01-01T00:00:00"}}, "/filter/until"),
    ({"filter": FAILED, "dry_run": "yes"}, "/dry_run"),
    ({"filter": FAILED, "dry_run": 1}, "/dry_run"),
    ({"filter": FAILED, "dry_run": None}, "/dry_run"),
    ({"filter": FAILED, CANARY: 1}, ""),
]


async def test_what_is_no_filter_retries_nothing(
    reach: Reach, outbox: Outbox, subtests: pytest.Subtests
) -> None:
    """One that says nothing, too: all that ever failed is what nobody has asked for."""
    http = await operator(reach)
    await outbox.fill()
    await outbox.record(await outbox.lease_one(), REJECTED)
    for body, pointer in BAD:
        with subtests.test(body=body):
            answer = await http.post("/v1/messages/retry", json=body)
            assert answer.status_code == 422
            assert {fault["pointer"] for fault in answer.json()["errors"]} == {pointer}
            assert CANARY not in answer.text
            assert (await outbox.only()).state == "failed"


async def test_a_key_retries_once(reach: Reach, outbox: Outbox) -> None:
    """The same answer again, and what has failed since stays so; of twenty at once one does it."""
    http = await operator(reach)
    await outbox.fill(3)
    for message in await outbox.lease():
        await outbox.record(message, REJECTED)
    calls = [ask(http, FAILED, key="k") for _ in range(20)]
    assert {answer.text for answer in await asyncio.gather(*calls)} == {
        '{"queued":3,"more":false,"dry_run":false}'
    }
    await outbox.record((await outbox.lease())[0], REJECTED)
    assert await said(http, FAILED, key="k") == (3, False, False)
    assert len(await owed(http, state="failed")) == 1
    other = await ask(http, FAILED, key="k", dry_run=True)
    assert other.json()["type"].endswith("/problems/idempotency-key-reused")
    assert await said(http, FAILED, key="dry", dry_run=True) == (1, False, True)
    assert await said(http, FAILED) == (1, False, False)
    assert await said(http, FAILED, key="dry", dry_run=True) == (1, False, True)


async def many_failed(outbox: Outbox, count: int) -> None:
    """Have so many messages failed."""
    everybody = addresses(count)
    for first in range(0, count, 1000):
        await sign_up(outbox.database, outbox.settings, *everybody[first : first + 1000])
    await outbox.change(state="failed", finished_at=now())


async def test_ten_thousand_a_call(reach: Reach, outbox: Outbox) -> None:
    """At most, the oldest first, and it says that there are more; each is answered in time."""
    http = await operator(reach)
    count = MOST_AT_ONCE + 5
    outbox.settings = reach.settings.model_copy(update={"database_seconds": 30})
    async with opened(outbox.settings) as outbox.database:
        await many_failed(outbox, count)
    assert await said(http, FAILED, dry_run=True) == (MOST_AT_ONCE, True, True)
    found = 0
    calls: list[tuple[int, bool, bool]] = []
    while not calls or calls[-1][1]:
        calls.append(await said(http, FAILED))
        found += calls[-1][0]
        async with opened(outbox.settings) as outbox.database:
            states = [message.state for message in await outbox.all()]
        assert states == ["queued"] * found + ["failed"] * (count - found)
    assert found == count
    assert all(BATCH <= n <= MOST_AT_ONCE for n, *_ in calls[:-1])
    assert len(calls) > 1
    assert await said(http, FAILED) == (0, False, False)


async def test_it_stops_before_it_is_in_the_way(
    reach: Reach, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its time is over it begins no more, and says that there are more."""
    http = await operator(reach)
    await many_failed(outbox, BATCH + 1)
    monkeypatch.setattr(filters, "MOST_SECONDS", 0.0)
    assert await said(http, FAILED) == (BATCH, True, False)
    assert await said(http, FAILED) == (1, False, False)


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_it_waits_for_nobody(reach: Reach, outbox: Outbox) -> None:
    """Postgres: what somebody has locked is passed over, and said to be left.

    (SQLite has one writer at a time: there is nothing to pass over.)
    """
    http = await operator(reach)
    await outbox.fill(5)
    await outbox.change(state="failed", finished_at=now())
    async with held(reach.settings, "SELECT id FROM messages ORDER BY id LIMIT 2 FOR UPDATE"):
        with anyio.fail_after(reach.settings.database_seconds / 2):
            assert await said(http, FAILED) == (3, True, False)
    assert await said(http, FAILED) == (2, False, False)


async def test_what_has_changed_meanwhile_is_not_retried(reach: Reach, outbox: Outbox) -> None:
    """Between choosing and changing somebody else may have: only what is still so counts."""
    await outbox.fill(4)
    await outbox.change(state="failed", finished_at=now())
    database = reach.database
    ids = await database.read(filters.retryable, filters.Filter(state="failed"))
    one, two, *_ = await outbox.all()
    await outbox.change(one, state="sent")
    await outbox.change(two, state="cancelled")
    assert await database.write(filters.retry_all, ids, "failed") == (2, False)
    assert [m.state for m in await outbox.all()] == ["sent", "cancelled", "queued", "queued"]
