"""What operators do with people and messages."""

import sqlite3
from pathlib import Path

import anyio
import httpx
import pytest

from tests.eventually import eventually
from tests.servers.mail import MailServer
from tests.servers.reach import ADA, Reach, messages_of, running_worker


async def add(reach: Reach, **fields: object) -> httpx.Response:
    """Add Ada, or somebody like her."""
    return await reach.http.post("/v1/people", json={**ADA, **fields}, headers=await reach.key())


async def test_an_operator_adds_a_person(reach: Reach) -> None:
    """201, with a Location that shows the person, an ETag, and the welcome promised."""
    answer = await add(reach, email="Ada@Example.com", description="curious")
    assert answer.status_code == 201
    person = answer.json()
    assert person["email"] == "Ada@Example.com"
    assert person["welcome"] == {"state": "queued", "sent_at": None}
    assert answer.headers["etag"] == '"1.queued"'
    shown = await reach.http.get(answer.headers["location"], headers=await reach.key())
    assert shown.json() == person
    assert [m["template"] for m in await messages_of(reach)] == ["welcome"]


async def test_a_known_address_is_a_conflict(reach: Reach) -> None:
    """In any spelling of the same mailbox."""
    await add(reach)
    answer = await add(reach, email="ADA@EXAMPLE.com")
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("/problems/already-signed-up")


async def test_no_welcome_if_none_is_wanted(reach: Reach) -> None:
    """The operator decides; the door greets such a person later."""
    answer = await add(reach, welcome=False)
    assert answer.json()["welcome"] == {"state": None, "sent_at": None}
    assert await messages_of(reach) == []
    await reach.sign_up()
    assert [m["template"] for m in await messages_of(reach)] == ["already-signed-up"]


async def test_a_known_address_is_told_by_email_alone(
    reach: Reach, mail_server: MailServer
) -> None:
    """Once in REACH_ALREADY_HOURS, the welcome counted."""
    await reach.sign_up()
    await reach.sign_up()
    assert len(await messages_of(reach)) == 1
    hurried = reach.settings.model_copy(update={"already_hours": 1e-9})
    from tests.servers.reach import running_reach  # noqa: PLC0415 - a second one, beside

    async with running_reach(hurried) as other:
        answer = await other.sign_up()
    assert (answer.status_code, answer.json()) == (202, {"message": "Check your inbox."})
    async with running_worker(reach.settings):
        await eventually(lambda: len(mail_server.messages) == 2)
    subjects = [str(message.headers["Subject"]) for message in mail_server.messages]
    assert sum("already" in subject.lower() for subject in subjects) == 1


async def test_lists_are_cut_by_what_was_seen(reach: Reach) -> None:
    """Newest first; nobody is repeated or missed while others sign up."""
    for number in range(5):
        await add(reach, email=f"p{number}@example.com")
    key, seen, cursor = await reach.key(), [], None
    while True:
        params = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = (await reach.http.get("/v1/people", params=params, headers=key)).json()
        seen += [person["email"] for person in page["items"]]
        await add(reach, email=f"late{len(seen)}@example.com")
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"p{number}@example.com" for number in reversed(range(5))]


@pytest.mark.parametrize(
    ("q", "found"), [("ADA", 1), ("ada@", 1), ("a_a", 0), ("%", 0), ("\\", 0), ("b", 0)]
)
async def test_q_is_a_plain_prefix(reach: Reach, q: str, found: int) -> None:
    """Upper case is the same; no character is special."""
    await add(reach)
    answer = await reach.http.get("/v1/people", params={"q": q}, headers=await reach.key())
    assert len(answer.json()["items"]) == found


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "cursor=x", "confirmed=x"])
async def test_bad_parameters_are_422(reach: Reach, query: str) -> None:
    """Each says which parameter."""
    answer = await reach.http.get(f"/v1/people?{query}", headers=await reach.key())
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == query.partition("=")[0]


async def test_a_change_sends_an_email_and_a_stale_one_changes_nothing(reach: Reach) -> None:
    """Two changes from one version: one is made, the other is a 412."""
    person = (await add(reach, description="curious")).json()
    key = await reach.key()
    url, statuses = f"/v1/people/{person['id']}", []

    async def change(name: str) -> None:
        headers = {**key, "If-Match": '"1.queued"'}
        answer = await reach.http.patch(url, json={"name": name}, headers=headers)
        statuses.append(answer.status_code)

    async with anyio.create_task_group() as group:
        group.start_soon(change, "Ada B")
        group.start_soon(change, "Ada C")
    assert sorted(statuses) == [200, 412]
    same = await reach.http.patch(url, json={"description": "curious"}, headers=key)
    assert same.headers["etag"].startswith('"2.')
    cleared = await reach.http.patch(url, json={"description": None}, headers=key)
    assert cleared.json()["description"] is None
    assert (await reach.http.patch(url, json={"name": None}, headers=key)).status_code == 422
    templates = [m["template"] for m in await messages_of(reach)]
    assert templates == ["changed", "changed", "welcome"]


async def test_after_delete_nothing_is_left(reach: Reach) -> None:
    """No row, and on SQLite no byte in any of the files."""
    person = (await add(reach, email="erase-me@example.com")).json()
    key = await reach.key()
    url = f"/v1/people/{person['id']}"
    assert (await reach.http.delete(url, headers=key)).status_code == 204
    assert (await reach.http.get(url, headers=key)).status_code == 404
    assert (await reach.http.delete(url, headers=key)).status_code == 404
    assert await messages_of(reach) == []
    if reach.settings.database.is_sqlite:
        file = Path(reach.settings.database.url.database or "")
        for path in file.parent.glob(f"{file.name}*"):
            assert b"erase-me" not in path.read_bytes(), path
        with sqlite3.connect(file) as connection:
            assert connection.execute("SELECT count(*) FROM people").fetchone() == (0,)


async def test_messages_are_cancelled_and_retried(reach: Reach, mail_server: MailServer) -> None:
    """Only a queued one is cancelled; whatever was not sent can be tried again."""
    await add(reach)
    (message,) = await messages_of(reach)
    key, url = await reach.key(), f"/v1/messages/{message['id']}"
    cancelled = await reach.http.post(f"{url}/cancel", headers=key)
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert (await reach.http.post(f"{url}/cancel", headers=key)).status_code == 409
    retried = await reach.http.post(f"{url}/retry", headers=key)
    assert (retried.status_code, retried.json()["state"]) == (200, "queued")
    async with running_worker(reach.settings):
        await eventually(lambda: mail_server.messages)
    assert (await reach.http.post(f"{url}/retry", headers=key)).status_code == 409
    shown = (await reach.http.get(url, headers=key)).json()
    assert [attempt["outcome"] for attempt in shown["history"]] == ["sent"]
    assert (await reach.http.get("/v1/messages/x", headers=key)).status_code == 404


async def test_an_operator_promises_a_message(reach: Reach) -> None:
    """Of a template that exists, to somebody who exists."""
    person = (await add(reach, welcome=False)).json()
    key, body = await reach.key(), {"person_id": person["id"], "template": "welcome"}
    answer = await reach.http.post("/v1/messages", json=body, headers=key)
    assert (answer.status_code, answer.json()["recipient"]) == (201, "ada@example.com")
    unknown = {**body, "template": "no-such"}
    assert (await reach.http.post("/v1/messages", json=unknown, headers=key)).status_code == 422
    nobody = {**body, "person_id": "01a20aee-6a2a-7a2b-8fad-3dec2137a7f1"}
    assert (await reach.http.post("/v1/messages", json=nobody, headers=key)).status_code == 404
