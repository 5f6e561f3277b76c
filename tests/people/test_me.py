"""With a link to a record it can be seen, changed, confirmed, taken along and removed."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from sqlite3 import connect
from typing import Any
from uuid import UUID

import anyio
import asyncpg
import pytest

from reach.people import queries
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import is_awaited
from tests.support.database.stored import contents, everything
from tests.support.people import OWN, at_work, by_link, say, signed_up, templates_in, token_of
from tests.support.processes.reach import Reach, running_reach, running_worker
from tests.support.servers.mail import MailServer, once

#: What a link to a record may be used for; see test_move for the others.
BY_MANAGE = [operation for operation, scopes in OWN.items() if "manage" in scopes]


async def record_of(reach: Reach, person_id: UUID) -> Any:
    """What an operator sees of somebody."""
    answer = await reach.http.get(f"/v1/people/{person_id}", headers=await reach.key())
    return answer.raise_for_status().json()


def seen_by_owner(record: dict[str, Any]) -> dict[str, Any]:
    """What somebody sees of their own record, that does not move."""
    return {**record, "pending_email": None}


async def test_the_record_is_shown_as_operators_see_it(reach: Reach) -> None:
    """The same fields, and whether it is to move; and the same ETag; HEAD answers too."""
    http, person = await at_work(reach, description="curious")
    answer = await http.get("/v1/me")
    assert (answer.status_code, answer.headers["etag"]) == (200, '"1.queued"')
    assert answer.json() == seen_by_owner(await record_of(reach, person.id))
    assert answer.json()["description"] == "curious"
    head = await http.head("/v1/me")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", '"1.queued"')


async def test_what_is_known_already_is_not_sent_again(reach: Reach) -> None:
    """`If-None-Match` as for operators: the whole tag."""
    http, _ = await at_work(reach)
    for tag, status in {'"1.queued"': 304, 'W/"1.queued"': 304, "*": 304, '"1.sent"': 200}.items():
        answer = await http.get("/v1/me", headers={"If-None-Match": tag})
        assert (answer.status_code, answer.headers["etag"]) == (status, '"1.queued"'), tag
        assert (answer.content == b"") == (status == 304)


async def test_a_change_is_made_and_told(reach: Reach) -> None:
    """By the rules of operators' changes, and with one email; nobody else is touched."""
    http, person = await at_work(reach)
    bob = await signed_up(reach, "bob@example.com")
    answer = await http.patch("/v1/me", json={"name": " Ada L ", "description": "x"})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2.queued"')
    assert (answer.json()["name"], answer.json()["description"]) == ("Ada L", "x")
    assert answer.json() == seen_by_owner(await record_of(reach, person.id))
    assert (await http.patch("/v1/me", json={"description": None})).json()["description"] is None
    assert (await http.patch("/v1/me", json={"name": "Ada L"})).headers["etag"] == '"3.queued"'
    for wrong in ({"name": "a@b.c"}, {"email": "eve@example.com"}, {"confirmed_at": None}):
        assert (await http.patch("/v1/me", json=wrong)).status_code == 422, wrong
    assert await templates_in(reach) == ["changed", "changed", "welcome", "welcome"]
    assert (await record_of(reach, bob.id))["name"] == "Ada"


async def test_what_was_not_seen_is_not_changed(reach: Reach) -> None:
    """`If-Match` counts the version, for PATCH and DELETE."""
    http, _ = await at_work(reach)
    stale = {"If-Match": '"2.queued"'}
    assert (await http.patch("/v1/me", json={"name": "Eve"}, headers=stale)).status_code == 412
    assert (await http.delete("/v1/me", headers=stale)).status_code == 412
    assert (await http.get("/v1/me")).headers["etag"] == '"1.queued"'
    fresh = {"If-Match": '"1.sent"'}
    assert (await http.patch("/v1/me", json={"name": "Eve"}, headers=fresh)).status_code == 200
    assert (await http.delete("/v1/me", headers={"If-Match": '"2.x"'})).status_code == 204


@pytest.mark.parametrize("scope", ["confirm", "manage"])
async def test_confirming_twice_is_confirming_once(reach: Reach, scope: Any) -> None:
    """The time of the first stays, the version counts once, and no email comes of it."""
    person = await signed_up(reach)
    token = token_of(reach.settings, person.id, scope)
    first = await say(reach, ("POST", "/v1/me/confirmation"), token)
    assert (first.status_code, first.headers["etag"]) == (200, '"2.queued"')
    assert list(first.json()) == ["confirmed_at"]
    again = await say(reach, ("POST", "/v1/me/confirmation"), token)
    assert (again.status_code, again.json()) == (200, first.json())
    found = await record_of(reach, person.id)
    assert found["confirmed_at"] == first.json()["confirmed_at"] is not None
    assert await templates_in(reach) == ["welcome"]


async def test_voided_links_are_void_at_once(reach: Reach) -> None:
    """All so far, whatever their scope, the one that did it too; later ones work; others' stay."""
    person, bob = await signed_up(reach), await signed_up(reach, "bob@example.com")
    old = {scope: token_of(reach.settings, person.id, scope) for scope in ("manage", "confirm")}
    answer = await say(reach, ("DELETE", "/v1/me/links"), old["manage"])
    assert (answer.status_code, answer.content) == (204, b"")
    before = await reach.database.read(everything)
    for operation in BY_MANAGE:
        scope = "confirm" if "confirmation" in operation[1] else "manage"
        assert (await say(reach, operation, old[scope])).status_code == 401, operation
        assert (await say(reach, operation, old["manage"])).status_code == 401, operation
    assert await reach.database.read(everything) == before
    for token in (token_of(reach.settings, person.id, version=1), token_of(reach.settings, bob.id)):
        assert (await say(reach, ("GET", "/v1/me"), token)).headers["etag"] == '"1.queued"'


@asynccontextmanager
async def voiding(settings: Settings, person_id: UUID) -> AsyncIterator[None]:
    """Void somebody's links in a transaction that ends with this."""
    statement = f"UPDATE people SET links_version = links_version + 1 WHERE id = '{person_id}'"
    if settings.database.is_sqlite:
        file = settings.database.url.database or ""
        with closing(connect(file, isolation_level=None, timeout=10)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute(statement)
            yield
            other.execute("COMMIT")
        return
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        async with connection.transaction():
            await connection.execute(statement)
            yield
    finally:
        connection.terminate()


@pytest.mark.parametrize("operation", [one for one in BY_MANAGE if one[0] != "GET"], ids=" ".join)
async def test_a_link_voided_meanwhile_changes_nothing(
    reach: Reach, operation: tuple[str, str]
) -> None:
    """A request that waits for the transaction which voids its link is a 401."""
    person = await signed_up(reach)
    statuses: list[int] = []

    async def act() -> None:
        answer = await say(reach, operation, token_of(reach.settings, person.id))
        statuses.append(answer.status_code)

    async with anyio.create_task_group() as group, voiding(reach.settings, person.id):
        group.start_soon(act)
        await eventually(lambda: is_awaited(reach.settings, "SELECT people.links_version"))
    assert statuses == [401]
    found = await reach.database.read(queries.stored, person.id)
    assert found is not None
    assert (found["name"], found["version"], found["links_version"]) == ("Ada", 1, 1)
    assert (found["confirmed_at"], await templates_in(reach)) == (None, ["welcome"])


async def test_a_voided_link_takes_no_turn_of_its_owners(reach: Reach) -> None:
    """Somebody who found an old link cannot use the limit up for who holds the new one."""
    limited = reach.settings.model_copy(update={"limit_api": "3/minute"})
    async with running_reach(limited) as other:
        person = await signed_up(other)
        old, new = (token_of(limited, person.id, version=version) for version in (0, 1))
        assert (await say(other, ("DELETE", "/v1/me/links"), old)).status_code == 204
        for status in (401, 401, 429, 429):
            assert (await say(other, ("GET", "/v1/me"), old)).status_code == status
        for status in (200, 200, 200, 429):
            assert (await say(other, ("GET", "/v1/me"), new)).status_code == status


async def test_all_that_is_stored_can_be_taken_along(reach: Reach, mail_server: MailServer) -> None:
    """Every column of the record, its messages and attempts; nothing of others, nothing kept."""
    await signed_up(reach, "bob@example.com", name="Bob")
    http, person = await at_work(reach, description="curious")
    busy = once("450 4.2.0 busy, ada")
    mail_server.script["rcpt"] = lambda s, address: busy(s, address) if "ada" in address else None
    async with running_worker(reach.settings):
        await eventually(lambda: len(mail_server.messages) == 2)
    async with running_worker(reach.settings):
        await http.patch("/v1/me", json={"name": "Ada Lovelace"})
        await eventually(lambda: len(mail_server.messages) == 3)
    confirmed = await http.post("/v1/me/confirmation", headers={"Idempotency-Key": "one"})
    answer = await http.get("/v1/me/export")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-disposition"] == 'attachment; filename="my-record.json"'
    found = answer.json()
    columns = await reach.database.read(queries.stored, person.id)
    assert columns is not None
    assert set(found["person"]) == set(columns)
    assert found["person"]["email_key"] == "ada@example.com"
    assert [found["person"][n] for n in ("name", "description")] == ["Ada Lovelace", "curious"]
    welcome, changed = found["messages"]
    assert [one["template"] for one in found["messages"]] == ["welcome", "changed"]
    assert welcome["data"] == {"name": "Ada"}
    assert [one["outcome"] for one in welcome["history"]] == ["deferred", "sent"]
    assert "busy, ada" in welcome["history"][0]["text"]
    assert [one["outcome"] for one in changed["history"]] == ["sent"]
    (kept,) = found["answers"]
    assert (kept["route"], kept["body"]) == ("/v1/me/confirmation", confirmed.text)
    assert "bob" not in answer.text.lower()
    assert not {"worker", "trace_context", "lease"} & set(re.findall(r"\w+", answer.text))


async def test_nothing_of_it_is_kept_on_the_way(reach: Reach) -> None:
    """No cache may keep an answer, whatever the answer is."""
    for number, operation in enumerate(OWN):
        person = await signed_up(reach, f"p{number}@example.com")
        token = token_of(reach.settings, person.id)
        confirm = token_of(reach.settings, person.id, "confirm")
        for given in (None, confirm, token):
            answer = await say(reach, operation, given)
            assert answer.headers["cache-control"] == "no-store", (operation, answer.status_code)
    person = await signed_up(reach)
    tag = {**by_link(token_of(reach.settings, person.id)), "If-None-Match": "*"}
    assert (await reach.http.get("/v1/me", headers=tag)).headers["cache-control"] == "no-store"
    assert (await reach.http.put("/v1/me", headers=tag)).headers["cache-control"] == "no-store"


async def test_after_delete_nothing_is_left(
    reach: Reach, mail_server: MailServer, tmp_path: Path
) -> None:
    """No row in any table, and on SQLite no byte in any file, of a link asked for neither."""
    email = "erase-me@example.com"
    await signed_up(reach, "bob@example.com")
    before = await reach.database.read(everything)
    # Asked before anybody was known by that address: it is stored under no person.
    key = {"Idempotency-Key": f"zz-{email}"}
    early = await reach.http.post("/v1/links", json={"email": email}, headers=key)
    assert early.status_code == 202
    http, person = await at_work(reach, email=email, name="Erase-Me", description="erase-me " * 50)
    token = http.headers["Authorization"].removeprefix("Bearer ")
    assert (await http.post("/v1/links", json={"email": email})).status_code == 202
    assert (await http.patch("/v1/me", json={"name": "Erase-Me Too"})).status_code == 200
    assert (await http.post("/v1/me/confirmation", headers=key)).status_code == 200
    async with running_worker(reach.settings):
        await eventually(lambda: len(mail_server.messages) == 4)
    assert (await http.get("/v1/me/export")).status_code == 200
    assert (await http.delete("/v1/me")).status_code == 204
    for operation in BY_MANAGE:
        assert (await say(reach, operation, token)).status_code == 401, operation
    after = await reach.database.read(everything)
    assert after["people"] == before["people"]
    assert len(after["messages"]) == len(after["attempts"]) == 1
    # What strangers asked for is under nobody: see tests/idempotency/test_one_answer.py.
    assert {
        (caller, person_id) for caller, _, _, _, person_id, *_ in after["idempotency_keys"]
    } == {("public", None)}
    assert "erase-me" not in repr(after).lower()
    assert str(person.id) not in repr(after)
    if reach.settings.database.is_sqlite:
        wanted = [b"erase-me", str(person.id).encode(), token.encode()]
        for name, content in contents(tmp_path).items():
            assert [text for text in wanted if text in content.lower()] == [], name
