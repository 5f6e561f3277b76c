"""A query that the route does not know is refused, wherever in the API: a slip finds nobody."""

from typing import Any

import httpx
import pytest

from tests.support.http.bodies import CANARY
from tests.support.http.document import OPEN
from tests.support.people import (
    NOBODY,
    OWN,
    by_link,
    everybody,
    operator,
    owed,
    signed_up,
    token_of,
)
from tests.support.processes.reach import ADA, Reach

#: What is sent to each address, so that nothing but the query is wrong with it.
EVE = {"email": "eve@example.com", "name": "Eve"}
BODIES: dict[tuple[str, str], object] = {
    ("POST", "/v1/signups"): EVE,
    ("POST", "/v1/links"): {"email": ADA["email"]},
    ("POST", "/v1/people"): EVE,
    ("PATCH", "/v1/people/{id}"): {"name": "Eve"},
    ("PATCH", "/v1/me"): {"name": "Eve"},
    ("POST", "/v1/messages"): {"person_id": NOBODY, "template": "welcome"},
    ("POST", "/v1/messages/retry"): {"filter": {"state": "failed"}},
    ("POST", "/v1/messages/cancel"): {"filter": {"state": "queued"}},
    ("POST", "/v1/suppressions"): {"email": "eve@example.org"},
    ("POST", "/v1/webhooks"): {"url": "https://example.org/hooks"},
    ("PATCH", "/v1/webhooks/{id}"): {"types": ["*"]},
    ("POST", "/v1/webhooks/{id}/replay"): {"since": "2026-01-01T00:00:00Z"},
    ("POST", "/v1/keys"): {"name": "another", "scopes": ["people:read"]},
}
#: Values that are good, of parameters that do not take any.
GOOD = {
    "recipient": ADA["email"],
    "address": ADA["email"],
    "cause": "bounced",
    "since": "2026-01-01T00:00:00Z",
    "until": "2026-01-01T00:00:00Z",
    "state": "sent",
    "confirmed": "true",
    "cursor": "AaIK7moqeiuPrT3sITen8Q",
    "language": "de",
    "welcome": "sent",
    "sort": "newest",
    "template": "welcome",
    "action": "person.add",
    "subject": NOBODY,
    "columns": "id",
    "format": "csv",
}
#: Where a parameter of that name takes others.
OTHERS = {("/v1/webhooks/{id}/deliveries", "state"): "failed"}
#: Queries, and the parameter that each fault names; None where it is not repeated.
UNKNOWN: dict[str, list[str | None]] = {
    f"confirmd={CANARY}": ["confirmd"],
    "confirmd": ["confirmd"],
    f"confirmd=&confirmd={CANARY}": ["confirmd"],
    "Limit=1": ["Limit"],
    f"&&a=1&{CANARY}.{CANARY}.{CANARY}.{CANARY}=1": ["a", None],
    f"{CANARY}@example.com=1": [None],
    f"%00{CANARY}=1&%ff={CANARY}": [None, None],
    "&".join(f"a{n}=1" for n in range(50)): [f"a{n}" for n in range(10)],
}


async def faults(answer: httpx.Response) -> list[dict[str, str]]:
    """The faults of a 422 that repeats no value."""
    assert answer.status_code == 422, (answer.request.url, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"].endswith("/problems/invalid")
    assert CANARY not in answer.text
    found: list[dict[str, str]] = answer.json()["errors"]
    return found


async def test_no_address_takes_what_it_does_not_know(reach: Reach) -> None:
    """Each below /v1, those to come too; nothing is done, and without a key nothing is told."""
    ada = await signed_up(reach)
    key, link = await reach.key(), by_link(token_of(reach.settings, ada.id))
    found = {one for one in reach.routes if one[1].startswith("/v1")}
    assert len(found) > 20
    for method, path in sorted(found):
        url, json = path.replace("{id}", str(ada.id)), BODIES.get((method, path))
        headers = link if (method, path) in OWN else key
        if "manage" not in OWN.get((method, path), {"manage"}):
            headers = by_link(token_of(reach.settings, ada.id, "address"))
        for query, named in UNKNOWN.items():
            asked = f"{url}?{query}"
            answer = await reach.http.request(method, asked, json=json, headers=headers)
            assert [one.get("parameter") for one in await faults(answer)] == named, asked
            if (method, path) not in OPEN:
                stranger = await reach.http.request(method, asked, json=json)
                assert stranger.status_code == 401
    http = await operator(reach)
    assert [person["name"] for person in await everybody(http)] == ["Ada"]
    assert [message["template"] for message in await owed(http)] == ["welcome"]
    assert [one["name"] for one in (await http.get("/v1/keys")).json()["items"]] == ["test"] * 2


async def test_what_is_documented_is_known_and_said_once(reach: Reach) -> None:
    """Each parameter of the document is taken, once; its name is told to those who slip."""
    ada = await signed_up(reach)
    http = await operator(reach)
    checked = 0
    for path, methods in (await http.get("/openapi.json")).json()["paths"].items():
        for method, operation in methods.items():
            parameters: list[dict[str, Any]] = operation.get("parameters", [])
            names = sorted(p["name"] for p in parameters if p["in"] == "query")
            url = path.replace("{id}", str(ada.id))
            for name in names:
                once = await http.request(method, f"{url}?{name}=")
                assert "There is no such parameter" not in once.text, (url, name)
                good = OTHERS.get((path, name)) or GOOD.get(name, "1")
                one = f"{name}={good}"
                twice = await http.request(method, f"{url}?{one}&{one}")
                assert {"parameter": name, "detail": "It may be given once."} in (
                    await faults(twice)
                )
                slip = await http.request(method, f"{url}?{name}x=1")
                assert f"Known are: {', '.join(names)}." in slip.text
                checked += 1
    assert checked >= 14


@pytest.mark.parametrize("query", ["", "?", "?&", "?&&"])
async def test_an_empty_query_is_none(reach: Reach, query: str) -> None:
    """As tools write it that always end an address with a question mark."""
    http = await operator(reach)
    assert (await http.get(f"/v1/people{query}")).status_code == 200
    assert (await reach.http.post(f"/v1/signups{query}", json=ADA)).status_code == 202


@pytest.mark.parametrize("path", ["/", "/links", "/check-your-inbox", "/docs", "/problems/invalid"])
async def test_pages_take_what_others_add(reach: Reach, path: str) -> None:
    """Other sites mark where people come from: a page is a page all the same."""
    plain = await reach.http.get(path)
    marked = await reach.http.get(f"{path}?utm_source=news&utm_source=x&fbclid=1&limit=x")
    assert (plain.status_code, marked.status_code) == (200, 200)


@pytest.mark.parametrize("path", ["/", "/links"])
async def test_forms_take_what_others_add(reach: Reach, path: str) -> None:
    """A form that is sent to the address that it was read at."""
    answer = await reach.http.post(
        f"{path}?utm_source=news",
        data=ADA if path == "/" else {"email": ADA["email"]},
        headers={"Origin": reach.settings.origin},
    )
    assert answer.status_code == 303
