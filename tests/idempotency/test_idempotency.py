"""The same request again, with its `Idempotency-Key`: the same answer, and nothing done again."""

from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from reach.auth.signing import Signer
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import now
from reach.idempotency.keys import read_key
from reach.idempotency.stored import idempotency_keys, sweep
from tests.support.clock import eventually
from tests.support.forms import shape
from tests.support.http.bodies import JSON
from tests.support.people import NOBODY, add, everybody, operator, owed, templates
from tests.support.processes.reach import ADA, Reach, running_reach, running_worker

POSTS = ["/v1/signups", "/v1/people"]
#: What the header may be, and the key that it is; None if it is refused.
KEYS: dict[str, str | None] = {
    "abc": "abc",
    '"abc"': "abc",
    '"a\\"b"': 'a"b',
    '"a\\\\b"': "a\\b",
    "a\\b": "a\\b",
    '"a b, c"': "a b, c",
    "a b": "a b",
    '"abc': None,
    'abc"': None,
    '"abc"x': None,
    '"abc";q=1': None,
    '"abc", "def"': None,
    "abc,def": None,
    '"a\\bc"': None,
    '"': None,
    '""': None,
    "": None,
    "a" * 255: "a" * 255,
    "a" * 256: None,
    f'"{"a" * 254}\\""': "a" * 254 + '"',
    f'"{"a" * 256}"': None,
    "käse": None,
    '"käse"': None,
    "a\tb": None,
    "a\x7fb": None,
}


async def post(
    http: httpx.AsyncClient, url: str, key: str, body: object = None, **headers: str
) -> httpx.Response:
    """Post with a key."""
    return await http.post(url, json=body, headers={"Idempotency-Key": key, **headers})


async def stored(database: Database) -> Sequence[Any]:
    """Every row of the table, by key."""

    def rows(tx: Transaction) -> Sequence[Any]:
        return tx.execute(select(idempotency_keys).order_by(idempotency_keys.c.key)).all()

    return await database.read(rows)


def written(reach: Reach, key: str, address: str = "") -> str:
    """What is stored of a key; where anybody may ask, it is made of their ``address`` as well."""
    text = f"{address}\n{key}" if address else key
    return Signer(reach.settings, "idempotency-key").signature(text)


async def age(database: Database, seconds: float) -> None:
    """Let time pass over all that is stored."""

    def execute(tx: Transaction) -> None:
        tx.execute(update(idempotency_keys).values(created_at=now(-seconds)))

    await database.write(execute)


@pytest.mark.parametrize("url", POSTS)
async def test_the_same_again(reach: Reach, url: str) -> None:
    """One person, one email, and an answer that differs in nothing but its date and its id.

    White space and the order of members make no other request of it; quotes make no other key.
    """
    http = await operator(reach)
    first = await post(http, url, "one", ADA)
    assert first.is_success
    rewritten = b' {"name" : "Ada",\n "email":"ada@ex\\u0061mple.com" } '
    again = await http.post(url, content=rewritten, headers={**JSON, "Idempotency-Key": '"one"'})
    assert shape(again) == shape(first) == shape(await post(http, url, "one", ADA))
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(await everybody(http)) == 1
    assert await templates(http) == ["welcome"]
    (row,) = await stored(reach.database)
    address = ADA["email"] if url == "/v1/signups" else ""
    assert (row.key, row.status) == (written(reach, "one", address), first.status_code)
    assert "ada" not in f"{row.caller}{row.route}{row.key}{row.fingerprint}"


@pytest.mark.parametrize("url", POSTS)
async def test_another_body_is_refused(reach: Reach, url: str) -> None:
    """422 of a type of its own; nothing changes, and the first one's answer is still there."""
    http = await operator(reach)
    first = await post(http, url, "one", ADA)
    for body in ({**ADA, "name": "Eve"}, {**ADA, "description": "more"}):
        other = await post(http, url, "one", body)
        assert other.status_code == 422
        assert other.json()["type"].endswith("/problems/idempotency-key-reused")
    assert shape(await post(http, url, "one", ADA)) == shape(first)
    (person,) = await everybody(http)
    assert (person["name"], person["description"]) == ("Ada", None)
    assert await templates(http) == ["welcome"]
    page = await http.get("/problems/idempotency-key-reused")
    assert page.status_code == 200


async def test_what_fails_is_not_stored(reach: Reach) -> None:
    """409, 422, 404: the same key may succeed later, with another body too."""
    http = await operator(reach)
    await add(http)
    assert (await post(http, "/v1/people", "one", ADA)).status_code == 409
    assert (await post(http, "/v1/people", "one", {"name": "Ada"})).status_code == 422
    assert (await post(http, "/v1/signups", "one", {"name": "Ada"})).status_code == 422
    body = {"person_id": NOBODY, "template": "welcome"}
    assert (await post(http, "/v1/messages", "one", body)).status_code == 404
    assert (await post(http, "/v1/messages", "one", {**body, "template": "x"})).status_code == 422
    (message,) = await owed(http)
    assert (await post(http, f"/v1/messages/{NOBODY}/cancel", "one")).status_code == 404
    assert await stored(reach.database) == []
    assert (await post(http, f"/v1/messages/{message['id']}/cancel", "two")).status_code == 200
    assert (await post(http, f"/v1/messages/{message['id']}/cancel", "one")).status_code == 409
    bob = await post(http, "/v1/people", "one", {**ADA, "email": "bob@example.com"})
    assert bob.status_code == 201
    kept = {row.key for row in await stored(reach.database)}
    assert kept == {written(reach, "one"), written(reach, "two")}


async def test_messages_again(reach: Reach) -> None:
    """Promised, cancelled and queued once each: repeated, the answer is that of its time."""
    http = await operator(reach)
    person = (await add(http, welcome=False)).json()
    body = {"person_id": person["id"], "template": "welcome"}
    first = await post(http, "/v1/messages", "one", body)
    assert first.status_code == 201
    assert shape(await post(http, "/v1/messages", "one", body)) == shape(first)
    assert first.headers["location"] == f"/v1/messages/{first.json()['id']}"
    assert len(await owed(http)) == 1
    url = first.headers["location"]
    cancelled = await post(http, f"{url}/cancel", "one")
    queued = await post(http, f"{url}/retry", "one")
    assert shape(await post(http, f"{url}/cancel", "one")) == shape(cancelled)
    assert cancelled.json()["state"] == "cancelled"
    assert (await http.get(url)).json()["state"] == "queued"
    assert (await post(http, f"{url}/cancel", "two")).status_code == 200
    assert shape(await post(http, f"{url}/retry", "one")) == shape(queued)
    assert (await http.get(url)).json()["state"] == "cancelled"


async def test_a_key_is_its_callers_and_its_routes(reach: Reach) -> None:
    """Strangers, operators and routes with one key and other bodies do not meet."""
    http = await operator(reach)
    names = ["ada", "bob", "eve"]
    people = [{"email": f"{name}@example.com", "name": name.title()} for name in names]
    for person in people:
        assert (await post(http, "/v1/signups", "one", person)).status_code == 202
    for person in people:
        key = await reach.key()
        new = {**person, "email": f"new-{person['email']}"}
        assert (await post(http, "/v1/people", "one", new, **key)).status_code == 201
    assert len(await everybody(http)) == 6
    for message in await owed(http):
        answer = await post(http, f"/v1/messages/{message['id']}/cancel", "one")
        assert answer.json()["id"] == message["id"]
    other_case = {"email": "ADA@example.com", "name": "Ada"}
    assert (await post(http, "/v1/signups", "one", other_case)).status_code == 422


async def test_a_stranger_learns_nothing_from_a_key(reach: Reach) -> None:
    """First, again and with another body: the same three answers for a known address and a new."""
    await reach.sign_up("known@example.com")
    seen = []
    for email in ("known@example.com", "new@example.com"):
        body = {"email": email, "name": "Ada"}
        calls = [body, body, {**body, "name": "Eve"}]
        seen.append([shape(await post(reach.http, "/v1/signups", "k", one)) for one in calls])
    assert seen[0] == seen[1]


async def test_the_header_is_one_string(reach: Reach) -> None:
    """Quoted or bare, 1 to 255 characters of printable ASCII; else 400, and nothing is done."""
    http = await operator(reach)
    for url in POSTS:
        for number, (given, key) in enumerate(KEYS.items()):
            body = {**ADA, "email": f"p{number}@{url[4:]}.example.com"}
            another = (await reach.key())["Authorization"].encode()
            headers = {b"Idempotency-Key": given.encode("latin-1"), b"Authorization": another}
            answer = await http.post(url, json=body, headers=headers)
            assert answer.status_code == 400 if key is None else answer.is_success, given
    keys = {number: key for number, key in enumerate(KEYS.values()) if key}
    # White space around it is not the header's; a client of ours would not even send some.
    for given in ("  abc\t", '"abc"\t '):
        assert read_key([given]) == "abc"
    kept = sorted(row.key for row in await stored(reach.database))
    public = [written(reach, k, f"p{n}@signups.example.com") for n, k in keys.items()]
    assert kept == sorted([*public, *(written(reach, key) for key in keys.values())])
    assert len(await everybody(http)) == len(keys) * 2
    body = {**ADA, "email": "two@example.com"}
    twice = [("Idempotency-Key", "one"), ("Idempotency-Key", "one")]
    for url in [*POSTS, "/v1/messages"]:
        answer = await http.post(url, json=body, headers=[*twice, *http.headers.items()])
        assert answer.status_code in (400, 422), url
    for what in ("retry", "cancel"):
        answer = await post(http, f"/v1/messages/{NOBODY}/{what}", '"')
        assert answer.status_code == 400


async def test_a_day_later_a_key_is_new(reach: Reach) -> None:
    """Unswept, it counts no more: another body is a first one; until then it counts."""
    http = await operator(reach)
    await post(http, "/v1/people", "one", ADA)
    bob = {"email": "bob@example.com", "name": "Bob"}
    await age(reach.database, 86_400 - 60)
    assert (await post(http, "/v1/people", "one", bob)).status_code == 422
    await age(reach.database, 86_400 + 1)
    new = await post(http, "/v1/people", "one", bob)
    assert new.status_code == 201
    assert shape(await post(http, "/v1/people", "one", bob)) == shape(new)
    assert len(await stored(reach.database)) == 1
    await age(reach.database, 86_400 + 1)
    assert (await post(http, "/v1/people", "one", bob)).status_code == 409


async def test_after_the_secret_was_replaced(reach: Reach) -> None:
    """While the old secret is accepted, its keys count, those of sign-ups too; and its bodies."""
    http = await operator(reach)
    first = [await post(http, url, "one", ADA) for url in reversed(POSTS)]
    (old,) = reach.settings.secret_keys
    secrets = [f"another-{old},{old}", f"another-{old}"]
    async with running_reach(
        reach.settings.model_validate(
            reach.settings.model_dump(exclude_unset=True) | {"secret_key": secrets[0]}
        )
    ) as replaced:
        replaced.http.headers["authorization"] = http.headers["authorization"]
        for url, answer in zip(reversed(POSTS), first, strict=True):
            assert shape(await post(replaced.http, url, "one", ADA)) == shape(answer)
            other = await post(replaced.http, url, "one", {**ADA, "name": "Eve"})
            assert other.status_code == 422
            assert other.json()["type"].endswith("/problems/idempotency-key-reused")
        assert len(await stored(reach.database)) == 2
        bob = {"email": "bob@example.com", "name": "Bob"}
        new = [await post(replaced.http, url, "two", bob) for url in reversed(POSTS)]
    async with running_reach(
        reach.settings.model_validate(
            reach.settings.model_dump(exclude_unset=True) | {"secret_key": secrets[1]}
        )
    ) as later:
        later.http.headers["authorization"] = http.headers["authorization"]
        for url, answer in zip(reversed(POSTS), new, strict=True):
            assert shape(await post(later.http, url, "two", bob)) == shape(answer)
    assert len(await everybody(http)) == 2
    # For each the operator's, and the one that a sign-up of the unconfirmed sends again.
    assert await templates(http) == ["welcome"] * 4


async def test_an_erased_persons_key_is_new(reach: Reach) -> None:
    """To operators: their answer went with the person. What is kept of a sign-up is nobody's."""
    http = await operator(reach)
    person = (await post(http, "/v1/people", "one", ADA)).json()
    await post(http, "/v1/signups", "one", ADA)
    owners = {row.route: row.person_id for row in await stored(reach.database)}
    assert {route: str(id_) for route, id_ in owners.items()} == {
        "/v1/people": person["id"],
        "/v1/signups": "None",
    }
    await http.delete(f"/v1/people/{person['id']}")
    assert [row.route for row in await stored(reach.database)] == ["/v1/signups"]
    again = await post(http, "/v1/people", "one", ADA)
    assert again.status_code == 201
    assert again.json()["id"] != person["id"]


async def test_what_is_a_day_old_is_swept(reach: Reach) -> None:
    """A thousand at a time, by the worker; and no younger one."""

    def fill(tx: Transaction) -> None:
        old = idempotency_keys.insert().values(created_at=now(-86_401))
        row = {"caller": "c", "route": "r", "fingerprint": "f"}
        tx.execute(old, [{**row, "key": f"{number:04}"} for number in range(2300)])

    def left(tx: Transaction) -> int:
        return tx.execute(select(func.count()).select_from(idempotency_keys)).scalar_one()

    async def one_is_left() -> bool:
        return await reach.database.read(left) == 1

    await reach.database.write(fill)
    await post(reach.http, "/v1/signups", "one", ADA)
    assert await reach.database.write(sweep) == 1000
    async with running_worker(reach.settings):
        await eventually(one_is_left)
    assert await reach.database.write(sweep) == 0
