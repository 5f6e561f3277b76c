"""What operators do with messages: list, show, retry, cancel."""

from typing import Any

import httpx
import pytest

from reach.db.types import now
from reach.messages.model import Message
from reach.messages.outcome import Deferred, Rejected, Sent
from tests.support.database.outboxes import ABOUT_SECONDS, HOUR, Outbox
from tests.support.people import NOBODY, add, operator, owed
from tests.support.processes.reach import Reach

SENT = Sent("250 2.0.0 taken", 250, "2.0.0")
DEFERRED = Deferred("450 4.2.1 busy", 450, "4.2.1")
REJECTED = Rejected("550 5.1.1 nobody", 550, "5.1.1")
SHOWN = (
    *("id", "person_id", "template", "recipient", "state", "attempts"),
    *("created_at", "due_at", "finished_at", "message_id", "last_error"),
)
ENDS = ["sent", "failed", "cancelled"]


@pytest.fixture
def outbox(reach: Reach) -> Outbox:
    """The outbox of the Reach that is served."""
    return Outbox(reach.database, reach.settings)


async def ask(http: httpx.AsyncClient, message: Message, verb: str) -> httpx.Response:
    """Retry or cancel a message."""
    return await http.post(f"/v1/messages/{message.id}/{verb}")


async def show(http: httpx.AsyncClient, message: Message) -> dict[str, Any]:
    """Show a message."""
    answer = await http.get(f"/v1/messages/{message.id}")
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


async def bring(outbox: Outbox, http: httpx.AsyncClient, state: str) -> Message:
    """Bring the only message to an end."""
    (message,) = await outbox.fill()
    if state == "cancelled":
        await ask(http, message, "cancel")
    else:
        await outbox.record(await outbox.lease_one(), SENT if state == "sent" else REJECTED)
    found = await outbox.only()
    assert found.state == state
    return found


def refused(answer: httpx.Response, status: int, kind: str) -> bool:
    """Whether an answer is this problem."""
    return (answer.status_code, answer.json()["type"].rsplit("/", 1)[1]) == (status, kind)


# Retry


@pytest.mark.parametrize("state", ["failed", "cancelled"])
async def test_what_ended_unsent_can_be_retried(reach: Reach, outbox: Outbox, state: str) -> None:
    """It is queued, due now, its days begun again; tries ever made still count."""
    http = await operator(reach)
    message = await bring(outbox, http, state)
    await outbox.change(due_at=now(HOUR), first_failed_at=now(-HOUR), failures=7)
    answer = await ask(http, message, "retry")
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert answer.json()["finished_at"] is None
    again = await outbox.only()
    assert (again.failures, again.first_failed_at, again.finished_at) == (0, None, None)
    assert (again.attempts, again.message_id) == (message.attempts, message.message_id)
    held = await outbox.lease_one()
    assert await outbox.record(held, SENT)


async def test_what_waits_can_be_retried_now(reach: Reach, outbox: Outbox) -> None:
    """An operator who has mended something need not wait for the next try."""
    http = await operator(reach)
    await outbox.fill()
    await outbox.record(await outbox.lease_one(), DEFERRED)
    assert await outbox.lease() == []
    message = await outbox.only()
    assert (await ask(http, message, "retry")).json()["state"] == "queued"
    held = await outbox.lease_one()
    assert (held.failures, held.first_failed_at) == (0, None)


async def test_what_was_sent_stays_sent(reach: Reach, outbox: Outbox) -> None:
    """A second copy is not a retry."""
    http = await operator(reach)
    message = await bring(outbox, http, "sent")
    assert refused(await ask(http, message, "retry"), 409, "already-sent")
    assert await outbox.only() == message


@pytest.mark.parametrize("cancelled", [False, True], ids=["queued", "cancelled"])
async def test_what_is_being_sent_stays_with_its_holder(
    reach: Reach, outbox: Outbox, cancelled: bool
) -> None:
    """Two who send it would send it twice; the holder's word still counts."""
    http = await operator(reach)
    await outbox.fill()
    held = await outbox.lease_one()
    if cancelled:
        await ask(http, held, "cancel")
    answer = await ask(http, held, "retry")
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert await outbox.only() == held
    assert await outbox.lease() == []
    assert await outbox.record(held, SENT)
    assert (await outbox.only()).state == "sent"


async def test_what_a_dead_worker_held_can_be_retried(reach: Reach, outbox: Outbox) -> None:
    """A lease that is over holds nothing."""
    http = await operator(reach)
    await outbox.fill()
    await outbox.lease_one()
    await outbox.change(due_at=now(-HOUR))
    message = await outbox.only()
    assert (await ask(http, message, "retry")).status_code == 200
    retried = await outbox.only()
    waited = retried.due_at - message.due_at
    assert waited.total_seconds() == pytest.approx(HOUR, abs=ABOUT_SECONDS)


# Cancel


async def test_what_is_queued_can_be_cancelled(reach: Reach, outbox: Outbox) -> None:
    """Nobody is given it any more."""
    http = await operator(reach)
    (message,) = await outbox.fill()
    answer = await ask(http, message, "cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert answer.json()["finished_at"] is not None
    assert answer.json()["due_at"] is None
    assert await outbox.lease() == []


@pytest.mark.parametrize("state", ENDS)
async def test_what_has_ended_cannot_be_cancelled(reach: Reach, outbox: Outbox, state: str) -> None:
    """A 409, and nothing changes."""
    http = await operator(reach)
    message = await bring(outbox, http, state)
    assert refused(await ask(http, message, "cancel"), 409, "not-queued")
    assert await outbox.only() == message


# Show


async def test_no_such_message_is_a_404(reach: Reach) -> None:
    """An id that no message has, and what is no id."""
    http = await operator(reach)
    for id_ in (NOBODY, "x", "%00"):
        for method, verb in (("GET", ""), ("POST", "/retry"), ("POST", "/cancel")):
            answer = await http.request(method, f"/v1/messages/{id_}{verb}")
            assert refused(answer, 404, "no-such-message"), (method, id_, verb)


async def test_a_message_is_shown_with_every_attempt(reach: Reach, outbox: Outbox) -> None:
    """In order, with the mail server's codes and words; due while it is queued, and only then."""
    http = await operator(reach)
    (message,) = await outbox.fill()
    shown = await show(http, message)
    assert tuple(shown) == (*SHOWN, "history", "reports")
    assert shown["id"] == str(message.id)
    assert shown["recipient"] == "ada0@example.com"
    assert shown["message_id"] == message.message_id
    assert (shown["state"], shown["attempts"], shown["history"]) == ("queued", 0, [])
    assert shown["due_at"] == shown["created_at"]
    for outcome in (DEFERRED, Deferred("silence"), REJECTED):
        await outbox.change(due_at=now())
        await outbox.record(await outbox.lease_one(), outcome)
    shown = await show(http, message)
    assert (shown["state"], shown["attempts"], shown["due_at"]) == ("failed", 3, None)
    assert shown["finished_at"] is not None
    assert shown["last_error"] == REJECTED.words
    assert [
        (a["outcome"], a["smtp_code"], a["enhanced_code"], a["text"]) for a in shown["history"]
    ] == [
        ("deferred", 450, "4.2.1", DEFERRED.text),
        ("deferred", None, None, "silence"),
        ("rejected", 550, "5.1.1", REJECTED.text),
    ]
    assert {a["worker"] for a in shown["history"]} == {"tester:1"}


async def test_the_next_try_is_shown(reach: Reach, outbox: Outbox) -> None:
    """`due_at` of what failed for now is when it is tried again."""
    http = await operator(reach)
    await outbox.fill()
    await outbox.record(await outbox.lease_one(), DEFERRED)
    message = await outbox.only()
    due_at = (await show(http, message))["due_at"]
    assert due_at == message.due_at.isoformat().replace("+00:00", "Z")


# List


async def listed(http: httpx.AsyncClient, **params: str) -> list[str]:
    """The recipients and templates of a list."""
    return [f"{m['recipient'][0]} {m['template']}" for m in await owed(http, **params)]


async def test_lists_are_filtered(reach: Reach, outbox: Outbox) -> None:
    """By state, by template, by both; the newest first; a template nobody used finds nothing."""
    http = await operator(reach)
    for email in ("ada@example.com", "bob@example.com"):
        person = (await add(http, email=email)).json()
        url = f"/v1/people/{person['id']}"
        (await http.patch(url, json={"name": "Eve"})).raise_for_status()
    held = await outbox.lease()
    by_name = {f"{m.recipient[0]} {m.template}": m for m in held}
    await outbox.record(by_name["a welcome"], SENT)
    await outbox.record(by_name["b changed"], REJECTED)
    await ask(http, by_name["a changed"], "cancel")
    expected: dict[tuple[str, str], list[str]] = {
        ("", ""): ["b changed", "b welcome", "a changed", "a welcome"],
        ("sent", ""): ["a welcome"],
        ("failed", ""): ["b changed"],
        ("cancelled", ""): ["a changed"],
        ("queued", ""): ["b welcome"],
        ("", "welcome"): ["b welcome", "a welcome"],
        ("", "changed"): ["b changed", "a changed"],
        ("failed", "changed"): ["b changed"],
        ("sent", "changed"): [],
        ("", "chang"): [],
    }
    found = {
        (state, template): await listed(
            http, **{k: v for k, v in (("state", state), ("template", template)) if v}
        )
        for state, template in expected
    }
    assert found == expected
    for bad in ("state=lost", "state=", "template=%00", "limit=0", "limit=201", "cursor=x"):
        assert (await http.get(f"/v1/messages?{bad}")).status_code == 422, bad


@pytest.mark.parametrize(
    ("filters", "sizes"),
    [({}, [3, 3, 1]), ({"state": "queued"}, [7]), ({"template": "welcome"}, [2, 2, 2, 1])],
    ids=["all", "state", "template"],
)
async def test_lists_are_walked_once(
    reach: Reach, outbox: Outbox, filters: dict[str, str], sizes: list[int]
) -> None:
    """Newest first; none is repeated or missed while new ones are promised."""
    http = await operator(reach)
    promised = await outbox.fill(7)
    pages: list[int] = []
    seen: list[str] = []
    params = {**filters, "limit": str(sizes[0])}
    while len(pages) < 10:
        page = (await http.get("/v1/messages", params=params)).json()
        pages.append(len(page["items"]))
        seen += [message["id"] for message in page["items"]]
        await reach.sign_up(f"late{len(pages)}@example.com")
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert pages == sizes
    assert seen == [str(message.id) for message in reversed(promised)]
