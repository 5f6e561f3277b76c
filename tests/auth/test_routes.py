"""Operators look after keys by HTTP: what `keys:write` opens, and what it does not give."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from reach.auth import keys
from reach.settings import Settings
from tests.support.http.bodies import CANARY
from tests.support.people import NOBODY, operator
from tests.support.processes.reach import Reach

SHOP = {"name": "shop", "scopes": ["people:read"]}
FIELDS = {
    *("id", "name", "prefix", "scopes", "state"),
    *("created_at", "expires_at", "revoked_at", "last_used_at"),
}
ONCE = {"Idempotency-Key": "k1"}


async def made(http: httpx.AsyncClient, **fields: object) -> dict[str, Any]:
    """Make a key."""
    answer = await http.post("/v1/keys", json={**SHOP, **fields})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def listed(http: httpx.AsyncClient, **params: str) -> list[dict[str, Any]]:
    """List keys, the newest first."""
    answer = await http.get("/v1/keys", params=params)
    found: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return found


def by(key: str) -> dict[str, str]:
    """The header in which a key goes."""
    return {"Authorization": f"Bearer {key}"}


async def stored(settings: Settings) -> str:
    """All that the database holds, of every table, as text; of SQLite, its files' bytes too."""
    if settings.database.is_sqlite:
        folder = Path(settings.database.url.database or "").parent
        return "".join(path.read_bytes().decode("latin-1") for path in files(folder))
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        tables = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        )
        rows = [await connection.fetch(f'SELECT * FROM "{t}"') for (t,) in tables]
        return str([[tuple(row) for row in table] for table in rows])
    finally:
        await connection.close()


def files(folder: Path) -> Iterator[Path]:
    """The database's files."""
    return folder.glob("reach.sqlite3*")


async def test_a_key_is_made_and_shown_once(reach: Reach) -> None:
    """201 and the key, which works at once; no list has it, nor a cache."""
    http = await operator(reach)
    ends = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    answer = await http.post(
        "/v1/keys",
        json={
            "name": "  shop ",
            "scopes": ["people:read", "messages:read", "people:read"],
            "expires_at": ends.isoformat().replace("+00:00", "Z"),
        },
    )
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    key = answer.json()
    assert set(key) == FIELDS | {"key", "note"}
    assert (key["name"], key["scopes"]) == ("shop", ["messages:read", "people:read"])
    assert (key["state"], key["prefix"]) == ("valid", key["key"][:11])
    assert datetime.fromisoformat(key["expires_at"]) == ends
    assert keys.is_well_formed(key["key"])
    assert UUID(key["id"]).version == 7
    assert (await http.get("/v1/people", headers=by(key["key"]))).status_code == 200
    assert (await http.get("/v1/stats", headers=by(key["key"]))).status_code == 200
    assert (await http.post("/v1/people", headers=by(key["key"]))).status_code == 403
    assert (await http.get("/v1/keys", headers=by(key["key"]))).status_code == 403
    page = await http.get("/v1/keys")
    shown, mine = page.json()["items"]
    assert {name: shown[name] for name in FIELDS - {"last_used_at"}} == {
        name: key[name] for name in FIELDS - {"last_used_at"}
    }
    assert set(mine) == FIELDS
    assert key["key"][11:] not in page.text
    (digest,) = await reach.database.read(
        lambda tx: tx.execute(keys.api_keys.select().where(keys.api_keys.c.name == "shop")).all()
    )
    assert digest.digest not in page.text + answer.text


async def test_no_byte_of_it_is_in_the_database(reach: Reach) -> None:
    """Nor if the answer is kept to be given again: the second one says that it was shown once."""
    http = await operator(reach)
    first = await http.post("/v1/keys", json=SHOP, headers=ONCE)
    again = await http.post("/v1/keys", json=SHOP, headers=ONCE)
    assert (first.status_code, again.status_code) == (201, 201)
    told, told_again = first.json(), again.json()
    secret = told.pop("key")
    assert keys.is_well_formed(secret)
    assert told_again.pop("key") is None
    assert "shown once" in told_again.pop("note")
    assert "not shown again" in told.pop("note")
    assert told == told_again
    assert again.headers["cache-control"] == "no-store"
    assert len(await listed(http)) == 2
    other = await http.post("/v1/keys", json={**SHOP, "name": "other"}, headers=ONCE)
    assert other.json()["type"].endswith("/problems/idempotency-key-reused")
    held = await stored(reach.settings)
    assert told["prefix"][3:] in held
    for length in (6, 12, 38):
        for start in range(11, 50 - length):
            assert secret[start : start + length] not in held


async def test_of_many_at_once_one_is_shown_the_key(reach: Reach) -> None:
    """All are told of the same key; it is shown to the one that made it."""
    http = await operator(reach)
    answers = await asyncio.gather(
        *(http.post("/v1/keys", json=SHOP, headers=ONCE) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len([1 for answer in answers if answer.json()["key"]]) == 1
    assert len(await listed(http)) == 2


async def test_nobody_gives_what_they_have_not(reach: Reach) -> None:
    """A key that may make keys makes none that may more than it: 403, which names what it lacks."""
    http = await operator(reach, "keys:write", "people:read")
    for scopes, lacking in (
        (["people:write"], "people:write"),
        (["people:read", "messages:write", "messages:read"], "messages:read, messages:write"),
        (
            list(keys.SCOPES),
            (
                "audit:read, messages:read, messages:write, people:write, webhooks:read, "
                "webhooks:write"
            ),
        ),
    ):
        answer = await http.post("/v1/keys", json={"name": "x", "scopes": scopes})
        assert answer.status_code == 403
        assert answer.json()["type"].endswith("/problems/forbidden")
        said = f"This key cannot give what it does not have: {lacking}."
        assert answer.json()["detail"] == said
    key = await made(http, scopes=["people:read", "keys:write"])
    assert len(await listed(http)) == 2
    child = by(key["key"])
    assert (await http.post("/v1/keys", json=SHOP, headers=child)).status_code == 201
    body = {"name": "x", "scopes": ["people:write"]}
    assert (await http.post("/v1/keys", json=body, headers=child)).status_code == 403


async def test_a_key_is_revoked_at_once(reach: Reach) -> None:
    """204, and its next call is a 401; the list goes on showing it; a second time is a 404."""
    http = await operator(reach)
    key = await made(http)
    url = f"/v1/keys/{key['id']}"
    assert (await http.get("/v1/people", headers=by(key["key"]))).status_code == 200
    answer = await http.delete(url)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await http.get("/v1/people", headers=by(key["key"]))).status_code == 401
    shown, _ = await listed(http)
    assert (shown["id"], shown["state"]) == (key["id"], "revoked")
    assert shown["revoked_at"] is not None
    for gone in (url, f"/v1/keys/{NOBODY}", "/v1/keys/x", "/v1/keys/%00", "/v1/keys/shop"):
        answer = await http.delete(gone)
        assert answer.status_code == 404, gone
        assert answer.json()["type"].endswith("/problems/no-such-key")


async def test_a_key_may_revoke_itself(reach: Reach) -> None:
    """It is the last that it does."""
    http = await operator(reach)
    (mine,) = await listed(http)
    assert (await http.delete(f"/v1/keys/{mine['id']}")).status_code == 204
    assert (await http.get("/v1/keys")).status_code == 401


async def test_the_list_says_which_keys_are_over(reach: Reach) -> None:
    """Expired ones too; they can still be revoked."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    old = await reach.database.write(keys.add, keys.generate(), "old", ["people:read"], past)
    http = await operator(reach)
    assert [(k["name"], k["state"]) for k in await listed(http)] == [
        ("test", "valid"),
        ("old", "expired"),
    ]
    assert (await http.delete(f"/v1/keys/{old.id}")).status_code == 204
    assert [k["state"] for k in await listed(http)] == ["valid", "revoked"]


async def test_the_list_is_walked_once(reach: Reach) -> None:
    """Newest first; none is repeated or missed while new ones are made."""
    http = await operator(reach)
    names = [(await made(http, name=f"key {n}"))["name"] for n in range(6)]
    seen: list[str] = []
    params = {"limit": "3"}
    while True:
        page = (await http.get("/v1/keys", params=params)).json()
        seen += [key["name"] for key in page["items"]]
        await made(http, name="late")
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == [*reversed(names), "test"]
    for bad in ("limit=0", "limit=201", "limit=x", "cursor=x", "state=valid"):
        assert (await http.get(f"/v1/keys?{bad}")).status_code == 422, bad


#: What a key cannot be, and where the fault is.
BAD: list[tuple[dict[str, object], str]] = [
    ({"name": ""}, "/name"),
    ({"name": " \t "}, "/name"),
    ({"name": "x" * 101}, "/name"),
    ({"name": f"{CANARY}\n{CANARY}"}, "/name"),
    ({"name": f"{CANARY}\u202e"}, "/name"),
    ({"name": 5}, "/name"),
    ({"scopes": []}, "/scopes"),
    ({"scopes": [CANARY]}, "/scopes"),
    ({"scopes": CANARY}, "/scopes"),
    ({"scopes": ["people:read"] * (len(keys.SCOPES) + 1)}, "/scopes"),
    ({"scopes": None}, "/scopes"),
    ({"expires_at": CANARY}, "/expires_at"),
    ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
    ({"expires_at": "2099-01-01T00:00:00"}, "/expires_at"),
    ({"expires_at": "2099-02-30T00:00:00Z"}, "/expires_at"),
    ({"expires_at": "0001-01-01T00:00:00+14:00"}, "/expires_at"),
    ({"expires_at": 4102444800}, "/expires_at"),
    ({"expires_at": "4102444800"}, "/expires_at"),
    ({CANARY: 1}, ""),
]


async def test_a_key_that_makes_no_sense(reach: Reach, subtests: pytest.Subtests) -> None:
    """422, where it is, and no key; what was sent is not repeated."""
    http = await operator(reach)
    for fields, pointer in BAD:
        with subtests.test(fields=fields):
            answer = await http.post("/v1/keys", json={**SHOP, **fields})
            assert answer.status_code == 422
            assert {fault["pointer"] for fault in answer.json()["errors"]} == {pointer}
            assert CANARY not in answer.text
            assert len(await listed(http)) == 1


async def test_two_keys_may_have_one_name(reach: Reach) -> None:
    """As when one takes the other's place; each has its own id."""
    http = await operator(reach)
    one, other = await made(http), await made(http)
    assert one["name"] == other["name"]
    await http.delete(f"/v1/keys/{one['id']}")
    assert [k["state"] for k in await listed(http)] == ["valid", "revoked", "valid"]
    assert (await http.get("/v1/people", headers=by(other["key"]))).status_code == 200
