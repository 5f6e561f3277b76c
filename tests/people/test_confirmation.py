"""`REACH_CONFIRM=required`: who has not confirmed gets little, whatever was promised before."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from reach.people.link_requests import answer_some
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.people import at_work, templates_in
from tests.support.processes.reach import Reach, messages_of, running_reach, running_worker
from tests.support.servers.mail import MailServer


@pytest.fixture
async def strict(
    make_settings: Callable[..., Settings], database_url: str, mail_server: MailServer
) -> AsyncIterator[Reach]:
    """Reach that writes to those who have confirmed."""
    settings = make_settings(
        database_url=database_url, confirm="required", smtp_url=mail_server.url
    )
    async with running_reach(settings) as running:
        yield running


async def test_who_has_not_confirmed_gets_little(strict: Reach) -> None:
    """`REACH_CONFIRM=required`: three templates until they confirm, then as everybody.

    A change is made and not told; an operator is told why.
    """
    http, person = await at_work(strict)
    assert (await http.patch("/v1/me", json={"name": "Ada B"})).json()["name"] == "Ada B"
    key = await strict.key()
    url = f"/v1/people/{person.id}"
    assert (await http.patch(url, json={"name": "Ada C"}, headers=key)).status_code == 200
    assert await templates_in(strict) == ["welcome"]
    message = {"person_id": str(person.id), "template": "changed", "data": {"fields": ["x"]}}
    answer = await http.post("/v1/messages", json=message, headers=key)
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
    assert answer.json()["type"].endswith("/problems/unconfirmed")
    for template in ("welcome", "already-signed-up", "manage-link"):
        free = {**message, "template": template}
        assert (await http.post("/v1/messages", json=free, headers=key)).status_code == 201
    assert (await http.post("/v1/links", json={"email": person.email})).status_code == 202
    await strict.database.write(answer_some, strict.settings)
    free_ones = ["manage-link", "manage-link", "already-signed-up", "welcome", "welcome"]
    assert await templates_in(strict) == free_ones
    assert (await http.post("/v1/me/confirmation")).status_code == 200
    assert (await http.patch("/v1/me", json={"name": "Ada D"})).status_code == 200
    assert (await http.post("/v1/messages", json=message, headers=key)).status_code == 201
    assert await templates_in(strict) == ["changed", "changed", *free_ones]


async def test_what_was_promised_before_waits_for_confirmation(
    reach: Reach, mail_server: MailServer
) -> None:
    """`REACH_CONFIRM=required` later: an older message fails, says why, and can be retried."""
    http, _ = await at_work(reach)
    assert (await http.patch("/v1/me", json={"name": "Ada B"})).status_code == 200
    key = await reach.key()
    strict = reach.settings.model_copy(update={"confirm": "required"})

    async def changed() -> dict[str, Any]:
        (found,) = await messages_of(reach, template="changed")
        return dict(found)

    async with running_worker(strict):
        message = await eventually(lambda: recorded(changed))
        assert (message["state"], message["attempts"]) == ("failed", 1)
        assert "has not confirmed" in str(message["last_error"])
        retry = f"/v1/messages/{message['id']}/retry"
        assert (await http.post(retry, headers=key)).status_code == 200
        message = await eventually(lambda: recorded(changed))
        assert (message["state"], message["attempts"]) == ("failed", 2)
        assert len(mail_server.messages) == 1
        assert (await http.post("/v1/me/confirmation")).status_code == 200
        assert (await http.post(retry, headers=key)).status_code == 200
        message = await eventually(lambda: recorded(changed))
        assert message["state"] == "sent"


async def recorded(find: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any] | None:
    """A message, unless it is queued."""
    message = await find()
    return None if message["state"] == "queued" else message


async def test_a_description_is_never_mailed(strict: Reach, mail_server: MailServer) -> None:
    """A sign-up does not carry a stranger's words to an address that is not confirmed."""
    http, person = await at_work(strict, description="BUY-THIS")
    key = await strict.key()
    assert (await http.patch("/v1/me", json={"description": "BUY-THAT"})).status_code == 200
    for template in ("welcome", "already-signed-up", "manage-link"):
        message = {"person_id": str(person.id), "template": template}
        assert (await http.post("/v1/messages", json=message, headers=key)).status_code == 201
    async with running_worker(strict.settings):
        await eventually(lambda: len(mail_server.messages) == 4)
    for mail in mail_server.messages:
        shown = json.dumps([str(mail.headers["Subject"]), mail.text, mail.html])
        assert "Ada" in shown
        assert "BUY" not in shown
