"""Whatever is sent, the answer is a 4xx problem that repeats none of it, and nothing is stored."""

from collections.abc import AsyncIterator, Mapping

import httpx
import pytest

from tests.support.http.bodies import (
    CANARY,
    FORM,
    INVALID,
    JSON,
    MOST_BYTES,
    OTHER_SHAPES,
    UNREADABLE,
    of_bytes,
    sign_up,
)
from tests.support.http.document import SIGNED
from tests.support.people import by_link, token_of
from tests.support.processes.reach import ADA, Reach, messages_of

SIXTY_MB = 60_000_000
NOBODY = "01a20aee-6a2a-7a2b-8fad-3dec2137a7f1"

WRONG_TYPES = {
    "none": {},
    "text": {"Content-Type": "text/plain"},
    "a form": FORM,
    "nearly": {"Content-Type": "application/jsonx"},
    "several": {"Content-Type": "application/json, text/plain"},
    "Latin-1": {"Content-Type": "application/json; charset=latin-1"},
    "UTF-16": {"Content-Type": 'application/json; charset="utf-16"'},
    "gzip": {**JSON, "Content-Encoding": "gzip"},
    "the canary": {"Content-Type": CANARY},
    "the canary's charset": {"Content-Type": f"application/json; charset={CANARY}"},
    "the canary's encoding": {**JSON, "Content-Encoding": CANARY},
}


async def addresses(reach: Reach) -> list[tuple[str, str]]:
    """Every method and path of the API that takes a body which nobody need sign."""
    paths = (await reach.http.get("/openapi.json")).json()["paths"]
    return [
        (method.upper(), path.replace("{id}", NOBODY))
        for path, methods in paths.items()
        for method, operation in methods.items()
        if "requestBody" in operation and path != SIGNED
    ]


def fault(answer: httpx.Response, status: int) -> str | None:
    """What is wrong with a refusal: not this status, not a problem, or it repeats something."""
    if answer.status_code != status:
        return f"{answer.status_code}, not {status}"
    if answer.headers["content-type"] != "application/problem+json":
        return answer.headers["content-type"]
    if answer.json()["status"] != status or not answer.json()["title"]:
        return answer.text
    return "it repeats what was sent" if CANARY in answer.text + str(answer.headers) else None


def allowed(reach: Reach, path: str, key: dict[str, str]) -> dict[str, str]:
    """Give the key, or for one's own record a link, of nobody: bodies are looked at before."""
    return by_link(token_of(reach.settings, NOBODY)) if f"{path}/".startswith("/v1/me/") else key


async def faults_of(
    reach: Reach, bodies: Mapping[str, bytes], status: int, *addressed: tuple[str, str]
) -> dict[str, str]:
    """Send each body to each address as who may; name those that were not refused well."""
    found, key = {}, await reach.key()
    for method, path in addressed or await addresses(reach):
        headers = JSON | allowed(reach, path, key)
        for name, body in bodies.items():
            answer = await reach.http.request(method, path, content=body, headers=headers)
            if wrong := fault(answer, status):
                found[f"{method} {path}, {name}"] = wrong
    return found


async def is_empty(reach: Reach) -> bool:
    """Whether nobody is stored, and nothing is owed."""
    everybody = await reach.http.get("/v1/people", headers=await reach.key())
    return not everybody.json()["items"] and not await messages_of(reach)


async def test_what_cannot_be_read_is_a_400_at_every_address(reach: Reach) -> None:
    """Not UTF-8, not JSON, ambiguous, not storable, too deep."""
    assert len(await addresses(reach)) >= 4
    assert await faults_of(reach, UNREADABLE, 400) == {}
    assert await is_empty(reach)


async def test_what_breaks_a_rule_is_a_422(reach: Reach) -> None:
    """Wrong types, missing and unknown fields, whatever the sender and the address."""
    assert await faults_of(reach, OTHER_SHAPES, 422) == {}
    added = ("POST", "/v1/signups"), ("POST", "/v1/people")
    assert await faults_of(reach, INVALID, 422, *added) == {}
    assert await is_empty(reach)


async def test_a_422_says_where_and_what(reach: Reach) -> None:
    """Each fault once, by JSON pointer; never the input, not even an unknown field's name."""
    body = {"email": 5, "name": "a@b", CANARY: 1, f"{CANARY}2": 2}
    answer = await reach.http.post("/v1/signups", json=body)
    assert answer.json() == {
        "type": f"{reach.settings.origin}/problems/invalid",
        "title": "Something in the request is not valid",
        "status": 422,
        "errors": [
            {"pointer": "/email", "detail": "Input should be a valid string"},
            {"pointer": "/name", "detail": "A name must not hold an address or a link."},
            {
                "pointer": "",
                "detail": "There is an unknown field. Known are: "
                "email, name, description, language, motto, website, started, "
                "altcha.",
            },
        ],
    }


async def test_fifty_unknown_fields_are_one_fault(reach: Reach) -> None:
    """As many as a body may have: they are said once."""
    answer = await reach.http.post("/v1/signups", json={str(n): n for n in range(50)})
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/email", "/name", ""]


async def test_faults_are_told_in_plain_words(reach: Reach) -> None:
    """In HTTP's and JSON's words: nobody out there has instances, dictionaries or bytes."""
    key = await reach.key()

    async def words(method: str, path: str, body: object = None) -> list[tuple[str, str]]:
        answer = await reach.http.request(method, path, json=body, headers=key)
        assert answer.status_code == 422
        errors = answer.json()["errors"]
        return [(e["pointer"] if body is not None else e["parameter"], e["detail"]) for e in errors]

    assert await words("POST", "/v1/signups", []) == [("", "Input should be an object")]
    message = {"person_id": 5, "template": "welcome", "data": 5}
    assert await words("POST", "/v1/messages", message) == [
        ("/person_id", "Input should be a valid UUID"),
        ("/data", "Input should be an object"),
    ]
    assert await words("GET", f"/v1/people?q={'a' * 255}&limit=x&confirmed=x") == [
        ("q", "It may have at most 254 characters."),
        ("confirmed", "Input should be true or false"),
        ("limit", "Input should be a whole number"),
    ]


async def test_another_content_type_is_a_415(reach: Reach) -> None:
    """JSON in UTF-8, not compressed, and said so; all else is refused unread."""
    key, wrong = await reach.key(), {}
    for method, path in await addresses(reach):
        for name, headers in WRONG_TYPES.items():
            answer = await reach.http.request(
                method, path, content=sign_up(), headers=allowed(reach, path, key) | headers
            )
            if found := fault(answer, 415):
                wrong[f"{method} {path}, {name}"] = found
    assert wrong == {}
    assert await is_empty(reach)


@pytest.mark.parametrize(
    "content_type",
    ["Application/JSON", "application/json; charset=UTF-8", 'application/json;charset="utf-8"'],
)
async def test_spellings_of_json_are_all_taken(reach: Reach, content_type: str) -> None:
    """Upper case, and a charset that says what is true."""
    headers = {"Content-Type": content_type}
    answer = await reach.http.post("/v1/signups", content=sign_up(), headers=headers)
    assert answer.status_code == 202


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_body_is_a_413(reach: Reach, chunked: bool) -> None:
    """Sixty megabytes, announced or not: the answer arrives, and people can still sign up."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(SIXTY_MB // 60_000):
            yield b"x" * 60_000

    headers = JSON if chunked else {**JSON, "Content-Length": str(SIXTY_MB)}
    answer = await reach.http.post("/v1/signups", content=chunks(), headers=headers)
    assert fault(answer, 413) is None
    assert (await reach.sign_up()).status_code == 202


async def test_sixty_four_kibibytes_are_read(reach: Reach) -> None:
    """The limit itself is within the limit, at every address; one byte more is not."""
    fits, does_not = {"64 KiB": of_bytes(MOST_BYTES)}, {"more": of_bytes(MOST_BYTES + 1)}
    assert [len(*fits.values()), len(*does_not.values())] == [65_536, 65_537]
    assert await faults_of(reach, fits, 422) == {}
    assert await faults_of(reach, does_not, 413) == {}
    assert await is_empty(reach)


async def test_a_refused_body_spoils_nothing(reach: Reach) -> None:
    """The connection that brought it can bring a sign-up next."""
    await reach.http.post("/v1/signups", content=UNREADABLE["deep lists"], headers=JSON)
    assert (await reach.http.post("/v1/signups", json=ADA)).status_code == 202
