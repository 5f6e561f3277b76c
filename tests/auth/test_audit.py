"""The audit trail: who did what to whom and when, in the transaction that did it."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import insert, select

from reach.auth import audit, keys
from reach.auth.audit import Actor
from reach.db.transaction import Transaction
from reach.db.types import new_id, now
from reach.settings import Settings
from tests.support import trail as stored
from tests.support.http.document import SCOPES
from tests.support.people import NOBODY, add, operator, owed
from tests.support.processes.commands import ReachProcess
from tests.support.processes.reach import ADA, Reach

SOMEBODY = Actor("key", NOBODY, "api")
Change = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


async def trail(http: httpx.AsyncClient, **params: str) -> list[dict[str, Any]]:
    """The entries of the audit trail, the newest first."""
    answer = await http.get("/v1/audit", params=params)
    found: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return found


async def _failed(http: httpx.AsyncClient) -> str:
    """Have a message that was cancelled; its id."""
    await add(http)
    (message,) = await owed(http)
    (await http.post(f"/v1/messages/{message['id']}/cancel")).raise_for_status()
    return str(message["id"])


async def _send(http: httpx.AsyncClient) -> httpx.Response:
    person = (await add(http)).json()["id"]
    body = {"person_id": person, "template": "changed", "data": {"fields": ["name"]}}
    return await http.post("/v1/messages", json=body)


async def _patch(http: httpx.AsyncClient) -> httpx.Response:
    person = (await add(http)).json()["id"]
    return await http.patch(f"/v1/people/{person}", json={"name": "Ada King"})


async def _delete(http: httpx.AsyncClient) -> httpx.Response:
    person = (await add(http)).json()["id"]
    return await http.delete(f"/v1/people/{person}")


async def _retry(http: httpx.AsyncClient) -> httpx.Response:
    return await http.post(f"/v1/messages/{await _failed(http)}/retry")


async def _retry_all(http: httpx.AsyncClient) -> httpx.Response:
    await _failed(http)
    wanted = {"state": "cancelled", "recipient": ADA["email"]}
    return await http.post("/v1/messages/retry", json={"filter": wanted})


async def _cancel_all(http: httpx.AsyncClient) -> httpx.Response:
    await add(http)
    return await http.post("/v1/messages/cancel", json={"filter": {"template": "welcome"}})


async def _cancel(http: httpx.AsyncClient) -> httpx.Response:
    await add(http)
    (message,) = await owed(http)
    return await http.post(f"/v1/messages/{message['id']}/cancel")


async def _suppress(http: httpx.AsyncClient) -> httpx.Response:
    return await http.post("/v1/suppressions", json={"email": ADA["email"], "note": "Ada"})


async def _lift(http: httpx.AsyncClient) -> httpx.Response:
    made = (await _suppress(http)).json()["id"]
    return await http.delete(f"/v1/suppressions/{made}")


WEBHOOK = {"url": "https://example.org/hooks/Ada", "types": ["person.signed_up"]}


async def _add_webhook(http: httpx.AsyncClient) -> httpx.Response:
    return await http.post("/v1/webhooks", json=WEBHOOK)


def _of_webhook(method: str, below: str = "", body: object = None) -> Change:
    """Add a webhook, and do something with it."""

    async def change(http: httpx.AsyncClient) -> httpx.Response:
        made = (await _add_webhook(http)).json()["id"]
        if below == "/enable":
            await http.post(f"/v1/webhooks/{made}/disable")
        if below == "/replay":
            event = (await http.post(f"/v1/webhooks/{made}/test")).json()["id"]
            return await http.post(f"/v1/webhooks/{made}/replay", json={"event": event})
        return await http.request(method, f"/v1/webhooks/{made}{below}", json=body)

    return change


async def _make_key(http: httpx.AsyncClient) -> httpx.Response:
    return await http.post("/v1/keys", json={"name": "shop", "scopes": ["people:read"]})


async def _revoke_key(http: httpx.AsyncClient) -> httpx.Response:
    made = (await _make_key(http)).json()["id"]
    return await http.delete(f"/v1/keys/{made}")


#: Every operation by which an operator changes something, what does it, and what is noted.
CHANGES: dict[tuple[str, str], tuple[Change, str, dict[str, Any]]] = {
    ("POST", "/v1/people"): (add, "person.add", {"welcome": True}),
    ("PATCH", "/v1/people/{id}"): (_patch, "person.change", {"fields": ["name"]}),
    ("DELETE", "/v1/people/{id}"): (_delete, "person.erase", {}),
    ("POST", "/v1/messages"): (_send, "message.send", {"template": "changed"}),
    ("POST", "/v1/messages/{id}/retry"): (_retry, "message.retry", {}),
    ("POST", "/v1/messages/{id}/cancel"): (_cancel, "message.cancel", {}),
    ("POST", "/v1/messages/retry"): (
        *(_retry_all, "messages.retry"),
        {"state": "cancelled", "recipient": True},
    ),
    ("POST", "/v1/messages/cancel"): (_cancel_all, "messages.cancel", {"template": "welcome"}),
    ("POST", "/v1/suppressions"): (_suppress, "suppression.add", {"cause": "operator"}),
    ("DELETE", "/v1/suppressions/{id}"): (_lift, "suppression.lift", {"cause": "operator"}),
    ("POST", "/v1/webhooks"): (_add_webhook, "webhook.add", {"types": ["person.signed_up"]}),
    ("PATCH", "/v1/webhooks/{id}"): (
        *(_of_webhook("PATCH", body={"types": ["*"]}), "webhook.change"),
        {"fields": ["types"]},
    ),
    ("DELETE", "/v1/webhooks/{id}"): (_of_webhook("DELETE"), "webhook.remove", {}),
    **{
        ("POST", f"/v1/webhooks/{{id}}/{done}"): (
            *(_of_webhook("POST", f"/{done}"), f"webhook.{done}"),
            {},
        )
        for done in ("rotate", "enable", "disable", "test")
    },
    ("POST", "/v1/webhooks/{id}/replay"): (
        *(_of_webhook("POST", "/replay"), "webhook.replay"),
        {},
    ),
    ("POST", "/v1/keys"): (_make_key, "key.create", {"scopes": ["people:read"]}),
    ("DELETE", "/v1/keys/{id}"): (_revoke_key, "key.revoke", {}),
}


@pytest.mark.parametrize("operation", CHANGES, ids=" ".join)
async def test_each_change_is_noted_once(reach: Reach, operation: tuple[str, str]) -> None:
    """By its key, with what was done and to which id; without name or address of anybody."""
    change, action, details = CHANGES[operation]
    http = await operator(reach)
    assert (await change(http)).is_success
    answer = await http.get("/v1/audit")
    newest, *others = answer.json()["items"]
    assert newest["action"] == action
    assert newest["actor"] == {"kind": "key", "id": str(await _own_key(reach)), "via": "api"}
    assert newest["details"].items() >= details.items()
    assert newest["count"] == 1
    assert action not in [entry["action"] for entry in others]
    assert (newest["subject"] is None) == (action in ("messages.retry", "messages.cancel"))
    assert ADA["email"] not in answer.text
    assert "Ada" not in answer.text
    assert [entry["id"] for entry in await trail(http, action=action)] == [newest["id"]]


def test_there_is_no_change_that_is_not_tried_here() -> None:
    """Whatever asks for a scope and is no GET."""
    assert {operation for operation in SCOPES if operation[0] != "GET"} == set(CHANGES)


async def _own_key(reach: Reach) -> UUID:
    text = reach.http.headers["Authorization"].removeprefix("Bearer ")
    found = await reach.database.read(keys.find, text)
    assert found is not None
    return found.id


async def test_what_was_not_done_is_not_noted(reach: Reach) -> None:
    """Refused, or the same already, or done before by the same key; and a dry run."""
    http = await operator(reach)
    person = (await add(http)).json()["id"]
    once = {"Idempotency-Key": "k1"}
    key = {"name": "shop", "scopes": ["people:read"]}
    for _ in range(2):
        assert (await http.post("/v1/keys", json=key, headers=once)).status_code == 201
    before = await trail(http)
    assert [entry["action"] for entry in before] == ["key.create", "person.add"]
    assert (await add(http)).status_code == 409
    assert (await http.patch(f"/v1/people/{person}", json={"name": "Ada"})).status_code == 200
    stale = {"If-Match": '"99"'}
    assert (await http.delete(f"/v1/people/{person}", headers=stale)).status_code == 412
    assert (await http.delete(f"/v1/people/{NOBODY}")).status_code == 404
    assert (await http.post(f"/v1/messages/{NOBODY}/retry")).status_code == 404
    assert (await http.delete(f"/v1/keys/{NOBODY}")).status_code == 404
    for dry_run in (True, False):
        wanted = {"filter": {"state": "failed"}, "dry_run": dry_run}
        assert (await http.post("/v1/messages/retry", json=wanted)).json()["queued"] == 0
    assert await trail(http) == before


async def test_people_themselves_are_not_in_it(reach: Reach) -> None:
    """It is about operators."""
    assert (await reach.http.post("/v1/signups", json=ADA)).status_code == 202
    assert await trail(await operator(reach)) == []


async def test_entries_are_found_by_each_filter(reach: Reach) -> None:
    """And paged, newest first."""
    http = await operator(reach)
    person = (await add(http)).json()["id"]
    for name in ("Bea", "Cleo"):
        await http.patch(f"/v1/people/{person}", json={"name": name})
    await _make_key(http)
    made, cleo, bea, added = await trail(http)
    assert await trail(http, subject=person) == [cleo, bea, added]
    assert await trail(http, action="person.change") == [cleo, bea]
    assert await trail(http, actor=made["actor"]["id"], action="key.create") == [made]
    assert await trail(http, actor=NOBODY) == []
    assert await trail(http, since=bea["at"], until=made["at"]) == [cleo, bea]
    first = (await http.get("/v1/audit", params={"limit": "3"})).json()
    assert first["items"] == [made, cleo, bea]
    assert await trail(http, cursor=first["next_cursor"]) == [added]
    for wrong in ({"action": "person.love"}, {"subject": "ada"}, {"since": "1"}, {"who": "me"}):
        assert (await http.get("/v1/audit", params=wrong)).status_code == 422


async def test_a_command_is_noted_too(settings: Settings, reach: Reach) -> None:
    """By the number of the user of that machine."""
    for arguments in (
        ("create", "shop", "--scope", "people:read"),
        ("revoke", "shop", "--yes"),
    ):
        with ReachProcess("keys", *arguments, settings=settings) as process:
            assert process.wait() == 0, process.errors
    revoked, created = await stored.trail(reach.database)
    assert (created.action, revoked.action) == ("key.create", "key.revoke")
    assert created.subject == revoked.subject is not None
    assert {created.actor.kind, revoked.actor.kind} == {"command"}
    assert created.actor.via == "cli"
    assert created.actor.id.isdecimal()


async def test_what_is_older_than_its_days_goes(reach: Reach) -> None:
    """A thousand at a time; what is younger stays."""
    day = 86_400.0
    ages = [-31 * day] * 1200 + [-29 * day]

    def fill(tx: Transaction) -> None:
        row = {"actor_kind": "key", "actor": NOBODY, "via": "api", "action": "key.create"}
        for age in ages:
            values = {"id": new_id(), "at": now(age), **row, "count": 1, "details": {}}
            tx.execute(insert(audit.audit).values(values))

    await reach.database.write(fill)
    swept = [await reach.database.write(audit.sweep, days=30) for _ in range(3)]
    assert swept == [1000, 200, 0]
    (left,) = await stored.trail(reach.database)
    assert datetime.now(UTC) - left.at < timedelta(days=30)


async def test_no_entry_survives_a_change_that_fails(reach: Reach) -> None:
    """Both are in one transaction."""

    class Stopped(Exception):
        pass

    def work(tx: Transaction) -> None:
        audit.note(tx, SOMEBODY, "person.erase", UUID(NOBODY))
        raise Stopped

    with pytest.raises(Stopped):
        await reach.database.write(work)
    count = await reach.database.read(lambda tx: tx.execute(select(audit.audit)).all())
    assert count == []
