"""What operators do with people: add, show, list."""

import re
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import update

from reach.db.transaction import Transaction
from reach.db.types import now
from reach.people.model import people
from tests.support.clock import eventually
from tests.support.people import NOBODY, add, everybody, operator, owed, templates
from tests.support.processes.reach import Reach, running_worker
from tests.support.servers.mail import MailServer

ADDRESSES = ["ada@example.com", "a_d%a@example.com", "'@example.com", "bob@bücher.example"]
#: What is asked for, and who is found.
PREFIXES = {
    "ada@example.com": ADDRESSES[:1],
    "ADA@": ADDRESSES[:1],
    " ad ": ADDRESSES[:1],
    "a": ADDRESSES[:2],
    "a_": ADDRESSES[1:2],
    "A_D%": ADDRESSES[1:2],
    "'": ADDRESSES[2:3],
    "Bob@Bücher.example": ADDRESSES[3:],
    "bob@xn--": ADDRESSES[3:],
    "": ADDRESSES,
    **{q: [] for q in ["a%", "%", "_", "\\", "da@", "'OR'1=1--", "ada@example.comx", "z"]},
    **{q: [] for q in ["\U0010ffff", "b@b", "*"]},
}
BAD_PARAMETERS = {
    "limit": ["0", "201", "-1", "x", "", "1.5", "9" * 30, "NaN", "%2B5", "5.0", "1_0", "%205"],
    "cursor": ["x", "", "%00", "AAAA", "%F0%9F%98%80", "a+b", "A" * 23, "=" * 22, "A" * 21 + "B"],
    "confirmed": ["x", "", "%00", "null", "1", "yes", "True"],
    "q": ["%00", "a" * 255, "%20", "%20%09", "%E3%80%80", "ada%20l", "a%0Ab"],
}
NO_IDS = [
    "x",
    "1",
    "%00",
    "%ff",
    "null",
    NOBODY + "0",
    NOBODY[:-1] + "g",
    "..%2f",
    "'",
    NOBODY.replace("-", ""),
    "%7B" + NOBODY + "%7D",
    "urn:uuid:" + NOBODY,
]


async def listed(http: httpx.AsyncClient, **params: str) -> list[str]:
    """The addresses of a list of people."""
    return [person["email"] for person in await everybody(http, **params)]


async def test_an_operator_adds_a_person(reach: Reach) -> None:
    """201, with a Location that shows the person, an ETag, and the welcome promised."""
    http = await operator(reach)
    answer = await add(http, email="Ada@Example.com", description=" curious ")
    assert answer.status_code == 201
    person = answer.json()
    assert person == {
        "id": person["id"],
        "email": "Ada@Example.com",
        "name": "Ada",
        "description": "curious",
        "language": None,
        "confirmed_at": None,
        "created_at": person["created_at"],
        "updated_at": person["created_at"],
        "welcome": {"state": "queued", "sent_at": None},
    }
    assert person["created_at"].endswith("Z")
    assert UUID(person["id"]).version == 7
    assert answer.headers["etag"] == '"1.queued"'
    assert answer.headers["location"] == f"/v1/people/{person['id']}"
    shown = await http.get(answer.headers["location"])
    assert (shown.status_code, shown.json()) == (200, person)
    assert shown.headers["etag"] == answer.headers["etag"]
    assert await templates(http) == ["welcome"]


async def test_a_known_address_is_a_conflict(reach: Reach) -> None:
    """In any spelling of the same mailbox; nobody is changed, and nobody written to."""
    http = await operator(reach)
    await add(http)
    for email in ("ada@example.com", "ADA@EXAMPLE.com", " Ada@example.com "):
        answer = await add(http, email=email, name="Eve")
        assert answer.status_code == 409
        assert answer.json()["type"].endswith("/problems/already-signed-up")
        assert "ada" not in answer.text.lower()
    assert [(p["email"], p["name"]) for p in await everybody(http)] == [("ada@example.com", "Ada")]
    assert await templates(http) == ["welcome"]


async def test_no_welcome_if_none_is_wanted(reach: Reach) -> None:
    """The operator decides; who then signs up gets one, until they have confirmed."""
    http = await operator(reach)
    answer = await add(http, welcome=False)
    assert answer.json()["welcome"] == {"state": None, "sent_at": None}
    assert answer.headers["etag"] == '"1.none"'
    assert await templates(http) == []
    await reach.sign_up()
    assert await templates(http) == ["welcome"]


async def test_whether_to_welcome_is_true_or_false(reach: Reach) -> None:
    """Nothing else is guessed at."""
    http = await operator(reach)
    for welcome in ("no", 0, None, "false"):
        assert (await add(http, welcome=welcome)).status_code == 422
    assert await listed(http) == []


async def test_nobody_is_a_404(reach: Reach) -> None:
    """An id that nobody has, and what is no id at all."""
    http = await operator(reach)
    for method in ("GET", "PATCH", "DELETE"):
        body = {"name": "Eve"} if method == "PATCH" else None
        for person_id in [NOBODY, *NO_IDS]:
            url = f"/v1/people/{person_id}"
            answer = await http.request(method, url, headers={"If-Match": "*"}, json=body)
            assert answer.status_code == 404, (method, person_id)
            assert answer.headers["content-type"] == "application/problem+json"
    for person_id in [NOBODY, "x"]:
        answer = await http.get(f"/v1/people/{person_id}/messages")
        assert answer.json()["type"].endswith("/problems/no-such-person")


async def test_what_has_not_changed_is_not_sent_again(reach: Reach) -> None:
    """`If-None-Match` gives 304 while all of the ETag is the same, the welcome's state too."""
    http = await operator(reach)
    answer = await add(http)
    url, etag = answer.headers["location"], answer.headers["etag"]
    for given in (etag, f"W/{etag}", f'"0.sent", {etag}', "*"):
        same = await http.get(url, headers={"If-None-Match": given})
        assert (same.status_code, same.content) == (304, b""), given
        assert same.headers["etag"] == etag
    for given in ('"1.sent"', '"2.queued"', '"1,queued"'):
        other = await http.get(url, headers={"If-None-Match": given})
        assert other.status_code == 200, given
    for given in ("1.queued", "", "x", etag[:-1]):
        other = await http.get(url, headers={"If-None-Match": given})
        assert other.status_code == 400, given
    (message,) = await owed(http)
    await http.post(f"/v1/messages/{message['id']}/cancel")
    changed = await http.get(url, headers={"If-None-Match": etag})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"1.cancelled"')


async def test_a_second_welcome_is_a_change(reach: Reach, mail_server: MailServer) -> None:
    """Sent as the first was, but later: the record shows another time, and so has another ETag."""
    http = await operator(reach)
    answer = await add(http)
    url, body = (
        answer.headers["location"],
        {"template": "welcome", "person_id": answer.json()["id"]},
    )

    async def once_sent(number: int) -> httpx.Response:
        async def are_sent() -> bool:
            return [m["state"] for m in await owed(http)] == ["sent"] * number

        await eventually(are_sent)
        return await http.get(url)

    async with running_worker(reach.settings):
        first = await once_sent(1)
        assert (await http.post("/v1/messages", json=body)).status_code == 201
        await once_sent(2)
    assert len(mail_server.messages) == 2
    etag = first.headers["etag"]
    assert re.fullmatch(r'"1\.sent-[0-9a-f]+"', etag)
    again = await http.get(url, headers={"If-None-Match": etag})
    assert again.status_code == 200
    assert again.json()["welcome"]["sent_at"] > first.json()["welcome"]["sent_at"]
    same = await http.get(url, headers={"If-None-Match": again.headers["etag"]})
    assert same.status_code == 304
    # A change is of the record only, whatever became of the welcome since.
    changed = await http.patch(url, json={"name": "Eve"}, headers={"If-Match": etag})
    assert changed.status_code == 200


async def test_head_is_get_without_a_body(reach: Reach) -> None:
    """Below /v1 too: the same headers for what is there, and for what is not."""
    http = await operator(reach)
    url = (await add(http)).headers["location"]
    paths = ["/v1/people", url, f"{url}/messages", f"/v1/people/{NOBODY}", "/v1/people?limit=x"]
    for path in [*paths, "/v1/messages", "/v1/nothing"]:
        get, head = await http.get(path), await http.head(path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        for answer in (get, head):
            del answer.headers["x-request-id"], answer.headers["date"]
        assert head.headers == get.headers
    assert (await http.head("/v1/signups")).headers["allow"] == "POST"
    assert (await http.put(url)).headers["allow"] == "GET, HEAD, PATCH, DELETE"
    assert (await http.head(url, headers={"Authorization": ""})).status_code == 401


async def test_lists_are_cut_by_what_was_seen(reach: Reach) -> None:
    """Newest first; nobody is repeated or missed while others sign up."""
    http = await operator(reach)
    for number in range(7):
        await add(http, email=f"p{number}@example.com")
    pages: list[int] = []
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await http.get("/v1/people", params={"limit": "2", **cursor})
        found: dict[str, Any] = page.json()
        pages.append(len(found["items"]))
        seen += [person["email"] for person in found["items"]]
        await reach.sign_up(f"late{len(pages)}@example.com")
        if found["next_cursor"] is None:
            break
        cursor = {"cursor": found["next_cursor"]}
    assert pages == [2, 2, 2, 1]
    assert seen == [f"p{number}@example.com" for number in reversed(range(7))]
    full = await http.get("/v1/people", params={"limit": "11"})
    assert len(full.json()["items"]) == 11
    assert full.json()["next_cursor"] is None


async def test_q_is_a_plain_prefix(reach: Reach) -> None:
    """Upper case is the same; no character is special; a whole address in any spelling."""
    http = await operator(reach)
    for email in reversed(ADDRESSES):
        await add(http, email=email, welcome=False)
    found = {q: await listed(http, q=q) for q in PREFIXES}
    assert found == PREFIXES


async def test_the_confirmed_and_the_others(reach: Reach) -> None:
    """`confirmed` picks either; left out, it picks both; with `q` both must hold."""
    http = await operator(reach)
    await add(http)
    await add(http, email="bob@example.com")

    def confirm(tx: Transaction) -> None:
        tx.execute(update(people).where(people.c.name == "Ada").values(confirmed_at=now()))

    await reach.database.write(confirm)
    await add(http, email="ann@example.com")
    assert await listed(http, confirmed="true") == ["bob@example.com", "ada@example.com"]
    assert await listed(http, confirmed="false") == ["ann@example.com"]
    assert len(await listed(http)) == 3
    assert await listed(http, confirmed="true", q="a") == ["ada@example.com"]


async def test_bad_parameters_are_422(reach: Reach) -> None:
    """Each says which parameter."""
    http = await operator(reach)
    for name, values in BAD_PARAMETERS.items():
        for value in values:
            answer = await http.get(f"/v1/people?{name}={value}")
            assert answer.status_code == 422, (name, value)
            assert [error["parameter"] for error in answer.json()["errors"]] == [name]
    assert (await http.get("/v1/people?limit=200")).status_code == 200
