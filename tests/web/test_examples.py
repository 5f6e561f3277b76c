"""The examples of the OpenAPI document do what they say, when they are sent as they are."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from reach.auth.links import Link, Links, Scope
from reach.db.transaction import Transaction
from reach.events.model import webhooks
from reach.people.model import people
from reach.people.schemas import SpamFields
from tests.support.http.document import SIGNED, inlined
from tests.support.people import everybody, operator, owed
from tests.support.processes.reach import Reach

Operation = dict[str, Any]
#: Whom the examples speak of where they give an id.
SOMEBODY = UUID("01a20aee-6a2a-7a2b-8fad-3dec2137a7f1")
#: How many bodies there are: a walk that finds none would show nothing.
BODIES = 8


def with_bodies(document: dict[str, Any]) -> Iterator[tuple[str, str, Operation]]:
    """Every operation with a body that nobody need sign: method, path, and what is said of it."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "requestBody" in operation and path != SIGNED:
                yield method, path, operation


def examples(operation: Operation) -> list[Any]:
    """Every example that an operation's body has, wherever OpenAPI has a place for it."""
    found = []
    for content in operation["requestBody"]["content"].values():
        found += [content["example"]] if "example" in content else []
        found += [one["value"] for one in content.get("examples", {}).values()]
        found += content["schema"].get("examples", [])
    return found


def success(operation: Operation) -> int:
    """The status that an operation documents for when all went well: 201, if something was made."""
    return max(int(code) for code in operation["responses"] if code.startswith("2"))


async def add_somebody(reach: Reach) -> None:
    """Have somebody with the id that the examples speak of."""
    body = {"email": "somebody@example.com", "name": "Somebody", "welcome": False}
    added = await reach.http.post("/v1/people", json=body, headers=await reach.key())

    def rename(tx: Transaction) -> int:
        is_theirs = people.c.id == UUID(added.json()["id"])
        return tx.execute(update(people).where(is_theirs).values(id=SOMEBODY)).rowcount

    assert await reach.database.write(rename) == 1


async def add_webhook(reach: Reach) -> None:
    """Have a webhook with that id, too."""
    body = {"url": "https://example.org/hooks"}
    added = await reach.http.post("/v1/webhooks", json=body, headers=await reach.key())

    def rename(tx: Transaction) -> int:
        is_it = webhooks.c.id == UUID(added.json()["id"])
        return tx.execute(update(webhooks).where(is_it).values(id=SOMEBODY)).rowcount

    assert await reach.database.write(rename) == 1


async def link(reach: Reach, scope: Scope = "manage") -> dict[str, str]:
    """The header with somebody's own link."""
    token = Links(reach.settings).mint(Link(SOMEBODY, scope, 0), 4_000_000_000)
    return {"Authorization": f"Bearer {token}"}


async def test_every_example_does_what_it_says(reach: Reach) -> None:
    """Each body has one; sent as it is, by who may, it gets the status that is documented."""
    document = inlined((await reach.http.get("/openapi.json")).json())
    await add_somebody(reach)
    await add_webhook(reach)
    key = await reach.key()
    sent = 0
    for method, path, operation in with_bodies(document):
        found = examples(operation)
        assert found, (method, path)
        for body in found:
            schemes = {name for one in operation.get("security", ()) for name in one}
            headers = key if "operatorKey" in schemes else {}
            headers = await link(reach) if "linkToken" in schemes else headers
            url = path.replace("{id}", str(SOMEBODY))
            answer = await reach.http.request(method, url, json=body, headers=headers)
            assert answer.status_code == success(operation), (method, path, answer.text)
            sent += 1
    assert sent >= BODIES


async def test_the_example_of_a_sign_up_signs_up(reach: Reach) -> None:
    """It has nothing of spam protection in it; the person is stored, and the email owed."""
    http = await operator(reach)
    document = inlined((await http.get("/openapi.json")).json())
    for path in ("/v1/signups", "/v1/links"):
        (body,) = examples(document["paths"][path]["post"])
        assert not set(body) & set(SpamFields.model_fields)
        assert (await http.post(path, json=body)).status_code == 202
    (person,) = await everybody(http)
    assert (person["email"], person["name"]) == ("ada@example.com", "Ada Lovelace")
    assert "welcome" in [message["template"] for message in await owed(http)]


async def test_nothing_else_is_filled_in(reach: Reach) -> None:
    """No header nor parameter: pages would send it along, and a condition on another record fails.

    Nor a key of another request, which is refused once the body is another.
    """
    document = inlined((await reach.http.get("/openapi.json")).json())
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for parameter in operation.get("parameters", ()):
                said = {*parameter, *parameter["schema"]}
                assert not said & {"example", "examples"}, (method, path, parameter["name"])


async def test_examples_of_answers_are_such(reach: Reach) -> None:
    """An answer has the members of its example."""
    document = inlined((await reach.http.get("/openapi.json")).json())
    await add_somebody(reach)
    key, shown = await reach.key(), 0
    await reach.sign_up()
    for path in ("/v1/people", "/v1/messages", "/v1/stats"):
        answer = (await reach.http.get(path, headers=key)).raise_for_status().json()
        content = document["paths"][path]["get"]["responses"]["200"]["content"]
        schema = content["application/json"]["schema"]
        if "items" in answer:
            answer, schema = answer["items"][0], schema["properties"]["items"]["items"]
        (example,) = schema["examples"]
        assert set(example) | _null(answer) == set(answer), path
        shown += 1
    assert shown == 3


def _null(answer: dict[str, Any]) -> set[str]:
    """The members that may be null: FastAPI leaves those out of its document's examples."""
    return {"due_at", "last_error"} & set(answer)


@pytest.mark.parametrize("field", sorted(SpamFields.model_fields))
async def test_what_spam_protection_asks_for_may_be_left_out(reach: Reach, field: str) -> None:
    """The document says so of each, and what it is."""
    document = inlined((await reach.http.get("/openapi.json")).json())
    content = document["paths"]["/v1/signups"]["post"]["requestBody"]["content"]
    schema = content["application/json"]["schema"]
    assert field in schema["properties"]
    assert field not in schema["required"]
    assert schema["properties"][field]["description"]
