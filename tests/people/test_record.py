"""A record changes once for each change, says so by email, and goes without a trace."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx
from sqlalchemy import select

from reach.auth import audit
from reach.db.transaction import Transaction
from reach.messages.model import messages
from tests.support.clock import eventually
from tests.support.database.stored import contents, everything
from tests.support.http.bodies import JSON
from tests.support.people import add, everybody, operator, templates
from tests.support.processes.reach import Reach, running_worker
from tests.support.servers.mail import MailServer, once
from tests.support.trail import trail

AGAINST_THE_RULES: list[Any] = [
    {"name": None},
    {"name": ""},
    {"name": 5},
    {"name": "ada@example.com"},
    {"name": "a" * 101},
    {"description": 5},
    {"description": "a" * 501},
    {"description": "\u202e"},
    {"name": "Eve", "description": "\n"},
    {"email": "eve@example.com"},
    {"name": "Eve", "id": "x"},
    {"confirmed_at": None},
    {"version": 1},
]
#: What may stand in ``If-Match`` for a person whose ETag is "1.queued", and the answer.
IF_MATCH = {
    '"1.queued"': 200,
    '"1.sent"': 200,
    "*": 200,
    '"7.sent" , "1.queued"': 200,
    '"7.sent","1.none"': 200,
    '"2.queued"': 412,
    '"0.queued"': 412,
    '"-1.queued"': 412,
    '"11.queued"': 412,
    '"99999999999999999999.queued"': 412,
    'W/"1.queued"': 412,
    '"1"': 412,
    '"7.sent", "8.sent"': 412,
    '"7,sent"': 412,
    "1.queued": 400,
    '"1.queued': 400,
    "'1.queued'": 400,
    "": 400,
    "x": 400,
    '"1.queued" "7.sent"': 400,
    '*, "1.queued"': 400,
}


async def patch(
    http: httpx.AsyncClient, person: Mapping[str, Any], body: object, **headers: str
) -> httpx.Response:
    """Change a person; ``if_match`` is the header of that name."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = json.dumps(body).encode()
    url = f"/v1/people/{person['id']}"
    return await http.patch(url, content=content, headers={**JSON, **named})


async def test_a_change_is_made_and_told(reach: Reach) -> None:
    """The new record, its next version, and one email that names the fields."""
    http = await operator(reach)
    person = (await add(http, description="curious")).json()
    answer = await patch(http, person, {"name": " Ada Lovelace ", "description": "Zoe\u0308"})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2.queued"')
    changed = answer.json()
    assert changed["updated_at"] > person["updated_at"]
    unchanged = {"id", "email", "created_at", "confirmed_at", "welcome"}
    assert {k: changed[k] for k in unchanged} == {k: person[k] for k in unchanged}
    assert (changed["name"], changed["description"]) == ("Ada Lovelace", "Zo\u00eb")
    assert await templates(http) == ["changed", "welcome"]

    def data(tx: Transaction) -> Any:
        found = select(messages.c.data).where(messages.c.template == "changed")
        return tx.execute(found).scalar_one()

    assert await reach.database.read(data) == {
        "name": "Ada Lovelace",
        "fields": ["description", "name"],
    }


async def test_what_changes_nothing_is_not_told(reach: Reach) -> None:
    """The same words again: no new version, no email."""
    http = await operator(reach)
    person = (await add(http, description="curious")).json()
    for body in (
        {},
        {"name": "Ada"},
        {"description": "curious"},
        {"name": " Ada ", "description": "curious "},
    ):
        answer = await patch(http, person, body)
        assert (answer.status_code, answer.headers["etag"]) == (200, '"1.queued"')
        assert answer.json() == person
    assert await templates(http) == ["welcome"]


async def test_a_description_can_be_cleared(reach: Reach) -> None:
    """By null, or by nothing to read; clearing it twice is one change."""
    http = await operator(reach)
    for number, nothing in enumerate([None, "", "  "]):
        email = f"p{number}@example.com"
        person = (await add(http, email=email, description="curious", welcome=False)).json()
        cleared = await patch(http, person, {"description": nothing})
        assert cleared.json()["description"] is None
        again = await patch(http, person, {"description": nothing})
        assert again.headers["etag"] == '"2.none"'
    assert await templates(http) == ["changed"] * 3


async def test_a_change_against_the_rules_changes_nothing(reach: Reach) -> None:
    """Those of a sign-up; and what is not a name or a description cannot be changed."""
    http = await operator(reach)
    person = (await add(http)).json()
    for body in AGAINST_THE_RULES:
        assert (await patch(http, person, body)).status_code == 422, body
    assert await everybody(http) == [person]
    assert await templates(http) == ["welcome"]


async def test_a_change_of_what_was_not_seen_is_refused(reach: Reach) -> None:
    """`If-Match` counts the version only; other tags match nothing, what is none is 400."""
    http = await operator(reach)
    for number, (tags, status) in enumerate(IF_MATCH.items()):
        person = (await add(http, email=f"p{number}@example.com")).json()
        answer = await patch(http, person, {"name": "Eve"}, if_match=tags)
        assert answer.status_code == status, tags
        if status == 412:
            assert answer.json()["type"].endswith("/problems/stale-version")
    assert (await templates(http)).count("changed") == list(IF_MATCH.values()).count(200)


async def test_conditions_hold_for_every_method(reach: Reach) -> None:
    """`If-Match` for GET, and `If-None-Match` for PATCH and DELETE: 412 (RFC 9110 §13.2.2)."""
    http = await operator(reach)
    answer = await add(http)
    url, etag = answer.headers["location"], answer.headers["etag"]
    for tags, status in IF_MATCH.items():
        read = await http.get(url, headers={"If-Match": tags})
        assert read.status_code == status, tags
        known = await http.get(url, headers={"If-None-Match": tags})
        assert (known.status_code == 400) is (status == 400), tags
    stale_and_known = await http.get(url, headers={"If-Match": '"7.sent"', "If-None-Match": etag})
    assert stale_and_known.status_code == 412
    for tags in (etag, f"W/{etag}", "*", f'"7.sent", {etag}'):
        unless = {"If-None-Match": tags}
        patched = await http.patch(url, json={"name": "Eve"}, headers=unless)
        deleted = await http.delete(url, headers=unless)
        assert (patched.status_code, deleted.status_code) == (412, 412), tags
    assert (await http.get(url)).json() == answer.json()
    unless = {"If-None-Match": '"7.sent"'}
    assert (await http.patch(url, json={"name": "Eve"}, headers=unless)).status_code == 200
    assert (await http.delete(url, headers=unless)).status_code == 204


async def test_of_two_changes_from_one_version_one_is_made(reach: Reach) -> None:
    """At the same moment, again and again: one 200, one 412, one email."""
    http = await operator(reach)
    for number in range(5):
        person = (await add(http, email=f"p{number}@example.com", welcome=False)).json()
        answers: list[httpx.Response] = []

        async def change(name: str, person: Any = person, answers: Any = answers) -> None:
            answers.append(await patch(http, person, {"name": name}, if_match='"1.none"'))

        async with anyio.create_task_group() as group:
            group.start_soon(change, "Ada B")
            group.start_soon(change, "Ada C")
        assert sorted(answer.status_code for answer in answers) == [200, 412]
        made = next(answer for answer in answers if answer.status_code == 200)
        url = f"/v1/people/{person['id']}"
        assert (await http.get(url)).json() == made.json()
    assert await templates(http) == ["changed"] * 5


async def test_after_delete_nothing_is_left(
    reach: Reach, mail_server: MailServer, tmp_path: Path
) -> None:
    """No row in any table, and on SQLite no byte in any file; the neighbours are untouched."""
    http = await operator(reach)
    await add(http, email="bob@example.com")
    before = await reach.database.read(everything)
    erase_me = {"email": "erase-me@example.com", "name": "Erase-Me", "description": "erase-me"}
    person = (
        await http.post("/v1/people", json=erase_me, headers={"Idempotency-Key": "erase-me"})
    ).json()
    for number in range(3):
        await http.post("/v1/signups", json=erase_me, headers={"Idempotency-Key": f"e-{number}"})
    body = {"person_id": person["id"], "template": "welcome"}
    owed = await http.post("/v1/messages", json=body, headers={"Idempotency-Key": "erase-me"})
    cancel = f"/v1/messages/{owed.json()['id']}/cancel"
    await http.post(cancel, headers={"Idempotency-Key": "erase-me"})
    busy = once("450 4.2.0 <erase-me@example.com> is busy")
    mail_server.script["rcpt"] = lambda session, address: (
        busy(session, address) if "erase-me" in address else None
    )
    await patch(http, person, {"name": "Erase-Me Too", "description": "erase-me " * 50})
    assert (await http.post("/v1/links", json={"email": erase_me["email"]})).status_code == 202
    waiting = await reach.database.read(everything)
    assert len(waiting["link_requests"]) == 1
    async with running_worker(reach.settings):
        # Bob's welcome; the operator's, the last sign-up's, the link and the change.
        await eventually(lambda: len(mail_server.messages) == 5)
    there = await reach.database.read(everything)
    assert {name: len(rows) for name, rows in there.items()} == {
        "people": 2,
        "messages": 8,
        "attempts": 6,
        "idempotency_keys": 6,
        "link_requests": 0,
        "proofs": 0,
        "address_changes": 0,
        "notices": 0,
        "recipient_budgets": 0,
        "consent_wordings": 0,
        "search_blocks": 0,
        "search_grams": 0,
        "search_changed": 0,
        "sessions": 0,
        "open_breakers": 0,
        "webhooks": 0,
        "webhook_events": 0,
        "webhook_attempts": 0,
        "reports": 0,
        "suppressions": 0,
    }
    url = f"/v1/people/{person['id']}"
    assert (await http.delete(url)).status_code == 204
    for method in ("GET", "DELETE"):
        assert (await http.request(method, url)).status_code == 404
    assert (await http.get(f"{url}/messages")).status_code == 404
    after = await reach.database.read(everything)
    assert after["people"] == before["people"]
    # What strangers asked for is under nobody: see tests/idempotency/test_one_answer.py.
    assert {
        (caller, person_id) for caller, _, _, _, person_id, *_ in after["idempotency_keys"]
    } == {("public", None)}
    assert len(after["messages"]) == len(after["attempts"]) == 1
    # The audit trail has the id of who was erased, which names nobody; in its time that goes too.
    entries = await trail(reach.database)
    assert entries[0].action == "person.erase"
    assert "erase-me" not in repr(entries).lower()
    assert await reach.database.write(audit.sweep, days=0) == len(entries)
    await reach.database.scrub()
    assert "erase-me" not in repr(after).lower()
    assert person["id"] not in repr(after)
    if reach.settings.database.is_sqlite:
        files = contents(tmp_path)
        assert {"reach.sqlite3", "reach.sqlite3-wal"} <= set(files)
        assert [name for name, content in files.items() if b"erase-me" in content.lower()] == []
        assert [name for name, content in files.items() if person["id"].encode() in content] == []


async def test_only_what_was_seen_is_deleted(reach: Reach) -> None:
    """`If-Match` holds for DELETE as for PATCH; without it anybody's record goes."""
    http = await operator(reach)
    for number, (tags, status) in enumerate(IF_MATCH.items()):
        url = (await add(http, email=f"p{number}@example.com")).headers["location"]
        answer = await http.delete(url, headers={"If-Match": tags})
        assert answer.status_code == (204 if status == 200 else status), tags
        assert (await http.get(url)).status_code == (404 if status == 200 else 200), tags


async def test_who_was_deleted_can_sign_up_again(reach: Reach) -> None:
    """As somebody new, with a welcome."""
    http = await operator(reach)
    person = (await add(http)).json()
    await http.delete(f"/v1/people/{person['id']}")
    assert await templates(http) == []
    assert (await reach.sign_up()).status_code == 202
    assert await templates(http) == ["welcome"]
