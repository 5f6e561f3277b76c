"""The OpenAPI document is one that tools can read, and says what the routes do."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reach.app import create_app
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.http.document import SCOPES, inlined
from tests.support.people import NOBODY
from tests.support.processes.reach import Reach

Operations = dict[tuple[str, str], dict[str, Any]]

#: What every operation may answer; and those with a body, or with a key.
OF_ALL = {"400", "408", "422", "431", "500", "501", "503"}
OF_BODIES = {"413", "415"}
OF_KEYS = {"401", "403", "429"}
ANSWERS = {
    ("post", "/v1/signups"): OF_BODIES | {"202", "429"},
    ("post", "/v1/links"): OF_BODIES | {"202", "429"},
    ("get", "/v1/challenge"): {"200", "404"},
    ("get", "/v1/me"): OF_KEYS | {"200", "304", "412"},
    ("patch", "/v1/me"): OF_BODIES | OF_KEYS | {"200", "412"},
    ("delete", "/v1/me"): OF_KEYS | {"204", "412"},
    ("post", "/v1/me/confirmation"): OF_KEYS | {"200"},
    ("delete", "/v1/me/links"): OF_KEYS | {"204"},
    ("post", "/v1/me/email"): OF_BODIES | OF_KEYS | {"202", "409"},
    ("delete", "/v1/me/email"): OF_KEYS | {"204"},
    ("post", "/v1/me/email/confirmation"): OF_KEYS | {"200", "409"},
    ("get", "/v1/me/export"): OF_KEYS | {"200"},
    ("get", "/v1/people/export"): OF_KEYS | {"200"},
    ("get", "/v1/people/{id}/consent"): OF_KEYS | {"200", "404"},
    ("post", "/v1/people"): OF_BODIES | OF_KEYS | {"201", "409"},
    ("get", "/v1/people"): OF_KEYS | {"200"},
    ("get", "/v1/people/{id}"): OF_KEYS | {"200", "304", "404", "412"},
    ("patch", "/v1/people/{id}"): OF_BODIES | OF_KEYS | {"200", "404", "412"},
    ("delete", "/v1/people/{id}"): OF_KEYS | {"204", "404", "412"},
    ("get", "/v1/people/{id}/messages"): OF_KEYS | {"200", "404"},
    ("post", "/v1/messages"): OF_BODIES | OF_KEYS | {"201", "404", "409"},
    ("get", "/v1/messages"): OF_KEYS | {"200"},
    ("get", "/v1/messages/{id}"): OF_KEYS | {"200", "404"},
    ("post", "/v1/messages/{id}/retry"): OF_KEYS | {"200", "404", "409"},
    ("post", "/v1/messages/{id}/cancel"): OF_KEYS | {"200", "404", "409"},
    ("post", "/v1/messages/retry"): OF_BODIES | OF_KEYS | {"200"},
    ("post", "/v1/messages/cancel"): OF_BODIES | OF_KEYS | {"200"},
    ("post", "/v1/bounces/{provider}"): OF_BODIES | {"200", "401", "404", "429"},
    ("get", "/v1/suppressions"): OF_KEYS | {"200"},
    ("post", "/v1/suppressions"): OF_BODIES | OF_KEYS | {"200", "201"},
    ("get", "/v1/suppressions/{id}"): OF_KEYS | {"200", "404"},
    ("delete", "/v1/suppressions/{id}"): OF_KEYS | {"204", "404"},
    ("get", "/v1/stats"): OF_KEYS | {"200"},
    ("get", "/v1/keys"): OF_KEYS | {"200"},
    ("post", "/v1/keys"): OF_BODIES | OF_KEYS | {"201"},
    ("delete", "/v1/keys/{id}"): OF_KEYS | {"204", "404"},
    ("get", "/v1/audit"): OF_KEYS | {"200"},
    ("get", "/v1/webhooks"): OF_KEYS | {"200"},
    ("post", "/v1/webhooks"): OF_BODIES | OF_KEYS | {"201", "409"},
    ("get", "/v1/webhooks/{id}"): OF_KEYS | {"200", "404"},
    ("patch", "/v1/webhooks/{id}"): OF_BODIES | OF_KEYS | {"200", "404"},
    ("delete", "/v1/webhooks/{id}"): OF_KEYS | {"204", "404"},
    ("post", "/v1/webhooks/{id}/rotate"): OF_KEYS | {"200", "404"},
    ("post", "/v1/webhooks/{id}/enable"): OF_KEYS | {"200", "404"},
    ("post", "/v1/webhooks/{id}/disable"): OF_KEYS | {"200", "404"},
    ("post", "/v1/webhooks/{id}/test"): OF_KEYS | {"202", "404", "409"},
    ("post", "/v1/webhooks/{id}/replay"): OF_BODIES | OF_KEYS | {"202", "404", "409"},
    ("get", "/v1/webhooks/{id}/deliveries"): OF_KEYS | {"200", "404"},
}
#: What providers call, who sign their bodies.
REPORTS = ("post", "/v1/bounces/{provider}")
#: The headers of refusals, and of every answer.
OF_REFUSALS = {
    "401": {"WWW-Authenticate"},
    "429": {"Retry-After", "RateLimit", "RateLimit-Policy"},
    "503": {"Retry-After"},
}
OF_ANSWERS = {"Cache-Control", "X-Request-ID"}
#: What is refused while it is read may have no name yet.
OF_THE_READER = {"400", "408", "431", "501", "503"}
HEADERS = {
    ("get", "/v1/me", "200"): {"ETag"},
    ("get", "/v1/me", "304"): {"ETag"},
    ("patch", "/v1/me", "200"): {"ETag"},
    ("post", "/v1/me/confirmation", "200"): {"ETag"},
    ("post", "/v1/me/email/confirmation", "200"): {"ETag"},
    ("get", "/v1/me/export", "200"): {"Content-Disposition"},
    ("get", "/v1/people/export", "200"): {"Content-Disposition"},
    ("post", "/v1/people", "201"): {"ETag", "Location"},
    ("get", "/v1/people/{id}", "200"): {"ETag"},
    ("get", "/v1/people/{id}", "304"): {"ETag"},
    ("patch", "/v1/people/{id}", "200"): {"ETag"},
    ("post", "/v1/messages", "201"): {"Location"},
    ("post", "/v1/suppressions", "201"): {"Location"},
}
CONDITIONS = {
    ("get", "/v1/me"): ["If-Match", "If-None-Match"],
    ("patch", "/v1/me"): ["If-Match", "If-None-Match"],
    ("delete", "/v1/me"): ["If-Match", "If-None-Match"],
    ("get", "/v1/people/{id}"): ["If-Match", "If-None-Match"],
    ("patch", "/v1/people/{id}"): ["If-Match", "If-None-Match"],
    ("delete", "/v1/people/{id}"): ["If-Match", "If-None-Match"],
}


@pytest.fixture
async def served(reach: Reach) -> dict[str, Any]:
    """The document, as it is served."""
    found: dict[str, Any] = (await reach.http.get("/openapi.json")).json()
    return found


@pytest.fixture
def document(served: dict[str, Any]) -> dict[str, Any]:
    """The document, with nothing that is only referred to."""
    return inlined(served)


def operations(document: dict[str, Any]) -> Operations:
    """Every operation, by its method and path."""
    return {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def references(part: object) -> Iterator[str]:
    """Every ``$ref`` below a part of the document."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


async def test_its_parts_have_names_and_are_there(served: dict[str, Any]) -> None:
    """OpenAPI 3.1: keys of components match a pattern, and what is referred to exists."""
    assert served["openapi"].startswith("3.1")
    for group in served["components"].values():
        for key in group:
            assert re.fullmatch(r"[a-zA-Z0-9._-]+", key), key
    found = set(references(served))
    assert "#/components/schemas/Problem" in found
    for reference in found:
        part: Any = served
        for key in reference.removeprefix("#/").split("/"):
            part = part[key.replace("~1", "/").replace("~0", "~")]
    ids = [operation["operationId"] for operation in operations(served).values()]
    assert len(set(ids)) == len(ids)


async def test_each_call_has_a_title_and_a_place(document: dict[str, Any]) -> None:
    """A short title that no other has, in one of the groups; and those are introduced, in order."""
    groups = [tag["name"] for tag in document["tags"]]
    groups_of_keys = ["People", "Messages", "Suppressions", "Statistics", "Keys", "Audit"]
    groups_of_keys.append("Webhooks")
    assert groups == ["Sign up", *groups_of_keys, "Reports", "Your record"]
    assert all(len(tag["description"]) > 40 for tag in document["tags"])
    titles = [operation["summary"] for operation in operations(document).values()]
    assert len(set(titles)) == len(titles)
    for title in titles:
        assert re.fullmatch(r"[A-Z][^.`_]{5,49}", title), title
    used = {tuple(operation["tags"]) for operation in operations(document).values()}
    assert used == {(name,) for name in groups}
    for operation in operations(document).values():
        assert not operation.get("description", "").startswith(operation["summary"])
    assert document["info"]["title"] == "Reach API"
    assert "reach-data/operator-key" in document["info"]["description"]


@pytest.mark.parametrize("url", ["", "https://signup.example.com"])
async def test_the_server_is_named_where_it_has_a_name(
    sqlite: str, make_settings: Callable[..., Settings], url: str
) -> None:
    """By `REACH_PUBLIC_URL`; without one, it is the server that the document is from."""
    settings = make_settings(database_url=sqlite, public_url=url, secret_key="s" * 32)
    async with opened(settings) as database:
        document = create_app(settings, database).openapi()
    assert document.get("servers") == ([{"url": url}] if url else None)


async def test_all_but_sign_ups_needs_a_key_or_a_link(document: dict[str, Any]) -> None:
    """And the document says which, and with which scopes."""
    secured = {key for key, operation in operations(document).items() if "security" in operation}
    public = {("post", "/v1/signups"), ("post", "/v1/links"), ("get", "/v1/challenge"), REPORTS}
    assert set(operations(document)) - secured == public
    for key in secured:
        scheme = "linkToken" if key[1] == "/v1/me" or "/me/" in key[1] else "operatorKey"
        scopes = SCOPES.get((key[0].upper(), key[1]), set())
        assert operations(document)[key]["security"] == [{scheme: sorted(scopes)}]
    assert set(document["components"]["securitySchemes"]) == {"operatorKey", "linkToken"}


async def test_it_lists_every_answer(document: dict[str, Any]) -> None:
    """Those that there are, with their headers; each refusal is a problem."""
    found = operations(document)
    assert {key: set(o["responses"]) - OF_ALL for key, o in found.items()} == ANSWERS
    assert all(set(o["responses"]) >= OF_ALL for o in found.values())
    for (method, path), operation in found.items():
        for status, answer in operation["responses"].items():
            assert answer["description"]
            if status >= "400":
                assert list(answer["content"]) == ["application/problem+json"]
            wanted = OF_REFUSALS.get(status, set()) | HEADERS.get((method, path, status), set())
            assert set(answer["headers"]) == wanted | OF_ANSWERS, (method, path, status)
            optional = {name for name, one in answer["headers"].items() if not one["required"]}
            assert optional == ({"X-Request-ID"} if status in OF_THE_READER else set())


async def test_it_lists_every_parameter(document: dict[str, Any]) -> None:
    """Each path has its id; conditions are where they are looked at."""
    conditions = {}
    for (method, path), operation in operations(document).items():
        parameters = operation.get("parameters", [])
        in_path = [p["name"] for p in parameters if p["in"] == "path"]
        assert in_path == re.findall(r"{(\w+)}", path)
        if in_header := [p["name"] for p in parameters if p["in"] == "header"]:
            conditions[method, path] = in_header
    posts = {key: ["Idempotency-Key"] for key in operations(document) if key[0] == "post"}
    del posts[REPORTS]  # what is reported again is known
    assert conditions == CONDITIONS | posts


async def test_bodies_are_described_to_those_who_send_them(document: dict[str, Any]) -> None:
    """Without notes to those who read our code, and without defaults that are none."""
    bodies = {
        key: operation["requestBody"]["content"]["application/json"]["schema"]
        for key, operation in operations(document).items()
        if "requestBody" in operation
    }
    assert len(bodies) == 15
    assert "``" not in str(bodies)
    assert "alidate with" not in str(bodies)
    changes = bodies["patch", "/v1/people/{id}"]
    assert "required" not in changes
    assert not any("default" in field for field in changes["properties"].values())


async def test_a_problem_is_as_described(reach: Reach, document: dict[str, Any]) -> None:
    """Of two kinds of error, all that they have is in the document."""
    schema = document["components"]["schemas"]["Problem"]["properties"]
    key = await reach.key()
    for answer in (
        await reach.http.post("/v1/signups", json={}),
        await reach.http.get("/v1/people?limit=x", headers=key),
        await reach.http.get(f"/v1/people/{NOBODY}", headers=key),
    ):
        assert set(answer.json()) <= set(schema)
        for error in answer.json().get("errors", ()):
            assert set(error) <= set(schema["errors"]["items"]["properties"])
