"""Operators look after webhooks over HTTP; each thing they do is in the audit trail."""

from typing import Any

import httpx

from reach.webhooks.endpoints import MOST_WEBHOOKS
from tests.support.clock import eventually
from tests.support.people import NOBODY, operator
from tests.support.processes.reach import Reach, running_worker
from tests.support.servers.receiver import Receiver
from tests.support.trail import trail

HERE = "/v1/webhooks"


async def test_a_webhook_from_its_beginning_to_its_end(reach: Reach, receiver: Receiver) -> None:
    """Added, listed, changed, told, replayed, rotated, turned off and on, removed; all is noted."""
    http = await operator(reach)
    key = {"Idempotency-Key": "one"}
    wanted = {"url": receiver.url, "name": "shop", "types": ["person.signed_up"]}
    made = await http.post(HERE, json=wanted, headers=key)
    again = await http.post(HERE, json=wanted, headers=key)
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    secret, webhook = made.json()["secret"], made.json()["id"]
    assert (again.json()["id"], again.json()["secret"]) == (webhook, None)
    (listed,) = (await http.get(HERE)).json()["items"]
    assert secret not in str(listed)
    assert (await http.get(f"{HERE}/{webhook}")).json() == listed
    assert (listed["state"], listed["types"]) == ("enabled", ["person.signed_up"])
    changed = await http.patch(f"{HERE}/{webhook}", json={"types": ["*"], "name": "shop"})
    assert changed.json()["types"] == ["*"]
    await reach.sign_up()
    assert (await http.post(f"{HERE}/{webhook}/test")).status_code == 202
    async with running_worker(reach.settings):
        await eventually(lambda: len(receiver.taken) == 3)
        await eventually(lambda: have_ended(http, webhook))
        found = await deliveries(http, webhook, limit="2")
        assert [len(one["history"]) for one in found["items"]] == [1, 1]
        rest = await deliveries(http, webhook, cursor=found["next_cursor"])
        event = rest["items"][0]["id"]
        assert (await replay(http, webhook, event=event)) == {"count": 1}
        await eventually(lambda: [one.id for one in receiver.taken].count(event) == 2)
        await eventually(lambda: have_ended(http, webhook))
        assert (await replay(http, webhook, since="2020-01-01T00:00:00Z")) == {"count": 3}
        await eventually(lambda: len(receiver.taken) == 7)
        rotated = (await http.post(f"{HERE}/{webhook}/rotate")).json()
        assert rotated["secret"] not in (None, secret)
    off = (await http.post(f"{HERE}/{webhook}/disable")).json()
    assert (off["state"], off["disabled_reason"]) == ("disabled", "operator")
    assert (await http.post(f"{HERE}/{webhook}/test")).status_code == 409
    assert (await http.post(f"{HERE}/{webhook}/enable")).json()["state"] == "enabled"
    assert (await http.delete(f"{HERE}/{webhook}")).status_code == 204
    assert (await http.get(f"{HERE}/{webhook}")).status_code == 404
    noted = [entry.action for entry in await trail(reach.database)]
    assert noted == [
        *("webhook.remove", "webhook.enable", "webhook.disable", "webhook.rotate"),
        *("webhook.replay", "webhook.replay", "webhook.test", "webhook.change", "webhook.add"),
    ]
    assert receiver.url not in str(await trail(reach.database))


async def deliveries(http: httpx.AsyncClient, webhook: str, **params: str) -> dict[str, Any]:
    """Read what a webhook heard."""
    answer = await http.get(f"{HERE}/{webhook}/deliveries", params=params)
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


async def have_ended(http: httpx.AsyncClient, webhook: str) -> bool:
    """Whether nothing waits."""
    return not (await deliveries(http, webhook, state="waiting"))["items"]


async def replay(http: httpx.AsyncClient, webhook: str, **what: str) -> object:
    """Have it told again."""
    answer = await http.post(f"{HERE}/{webhook}/replay", json=what)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def test_what_is_wrong_is_refused(reach: Reach, receiver: Receiver) -> None:
    """With a clear 4xx; and nobody does more than their key's scopes let them."""
    http = await operator(reach)
    for wrong in (
        {},
        {"url": "http://example.org/"},
        {"url": "https://10.0.0.1/"},
        {"url": receiver.url, "types": []},
        {"url": receiver.url, "types": ["person.born"]},
        {"url": receiver.url, "name": ""},
        {"url": receiver.url, "secret": "mine"},
    ):
        assert (await http.post(HERE, json=wrong)).status_code == 422, wrong
    webhook = (await http.post(HERE, json={"url": receiver.url})).json()["id"]
    both = {"event": NOBODY, "since": "2020-01-01T00:00:00Z"}
    for wrong in ({}, both, {"event": "x"}, {"since": "yesterday"}):
        answer = await http.post(f"{HERE}/{webhook}/replay", json=wrong)
        assert answer.status_code == 422, wrong
    answer = await http.post(f"{HERE}/{webhook}/replay", json={"event": NOBODY})
    assert answer.status_code == 404
    for path in ("", "/deliveries"):
        assert (await http.get(f"{HERE}/{NOBODY}{path}")).status_code == 404
        assert (await http.get(f"{HERE}/x{path}")).status_code == 404
    for _ in range(MOST_WEBHOOKS - 1):
        assert (await http.post(HERE, json={"url": receiver.url})).status_code == 201
    assert (await http.post(HERE, json={"url": receiver.url})).status_code == 409
    await operator(reach, "webhooks:read", "people:write")
    assert (await http.get(HERE)).status_code == 200
    assert (await http.post(HERE, json={"url": receiver.url})).status_code == 403
    await operator(reach, "webhooks:write")
    assert (await http.get(HERE)).status_code == 403
