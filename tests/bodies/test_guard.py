"""Whatever is sent, the answer is a 4xx problem that repeats none of it, and nothing is stored."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.servers.reach import Reach

CANARY = "canary-7f3a"
JSON = {"Content-Type": "application/json"}
DEEP = 30_000


def sign_up(**fields: object) -> bytes:
    """Write a sign-up with some fields changed."""
    return json.dumps({"email": "ada@example.com", "name": "Ada", **fields}).encode()


UNREADABLE = {
    "a lone surrogate": rb'{"email": "ada@example.com", "name": "canary-7f3a\ud800"}',
    "a lone surrogate in a key": rb'{"canary-7f3a\udfff": 1}',
    "NaN": b'{"email": "ada@example.com", "name": NaN}',
    "Infinity": b'{"email": "ada@example.com", "name": -Infinity}',
    "1e999": b'{"email": "ada@example.com", "name": 1e999}',
    "a huge integer": b'{"name": ' + b"9" * 5000 + b"}",
    "NUL": rb'{"email": "ada@example.com", "name": "canary-7f3a\u0000"}',
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * 8000 + b"1" + b"}" * 8000,
    "33 levels": b"[" * 33 + b"]" * 33,
    "a key twice": b'{"email": "ada@example.com", "name": "Ada", "name": "canary-7f3a"}',
    "a key twice, below": b'{"description": {"canary-7f3a": 1, "canary-7f3a": 2}}',
    "invalid UTF-8": b'{"name": "canary-7f3a\xff"}',
    "UTF-16": '{"name": "canary-7f3a"}'.encode("utf-16"),
    "a BOM": b"\xef\xbb\xbf{}",
    "nothing": b"",
    "no JSON": b"canary-7f3a",
}
INVALID = {
    "a number for an address": sign_up(email=5),
    "a list for a name": sign_up(name=[CANARY]),
    "true for a description": sign_up(description=True),
    "a string": b'"canary-7f3a"',
    "null": b"null",
    "a list": b"[]",
    "a field too few": b'{"email": "ada@example.com"}',
    "an unknown field": sign_up(**{CANARY: 1}),
    "no address": sign_up(email=CANARY),
    "a special domain": sign_up(email=f"{CANARY}@localhost"),
    "a quoted local part": sign_up(email='"a b"@example.com'),
    "a long address": sign_up(email="a" * 250 + "@example.com"),
    "a line break in an address": sign_up(email="ada@example.com\r\nBcc: b@example.com"),
    "an empty name": sign_up(name="  "),
    "a long name": sign_up(name="a" * 101),
    "a control character": sign_up(name="canary-7f3a\u0007"),
    "a line separator": sign_up(name="canary-7f3a\u2028x"),
    "a direction override": sign_up(name="canary-7f3a\u202ex"),
    "a link in a name": sign_up(name="see http://canary-7f3a"),
    "an address in a name": sign_up(name="canary-7f3a@example.com"),
    "a full-width address in a name": sign_up(name="canary-7f3a\uff20example.com"),
    "a site in a name": sign_up(name="WWW.canary-7f3a"),
    "a long description": sign_up(description="a" * 501),
}


async def refuses(reach: Reach, answer: httpx.Response, status: int) -> None:
    """Check an answer: a problem of this status, which repeats nothing; and nobody is stored."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert CANARY not in answer.text
    everyone = await reach.http.get("/v1/people", headers=await reach.key())
    assert everyone.json()["items"] == []


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_cannot_be_read_is_a_400(
    reach: Reach, body: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not UTF-8, not JSON, ambiguous, not storable, too deep."""
    answer = await reach.http.post("/v1/signups", content=body, headers=JSON)
    await refuses(reach, answer, 400)
    assert CANARY not in "".join(capfd.readouterr())


@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID)
async def test_what_breaks_a_rule_is_a_422(reach: Reach, body: bytes) -> None:
    """It says where and what; never the input, not even an unknown field's name."""
    answer = await reach.http.post("/v1/signups", content=body, headers=JSON)
    await refuses(reach, answer, 422)
    assert all({"pointer", "detail"} == set(error) for error in answer.json()["errors"])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=latin-1"},
        {**JSON, "Content-Encoding": "gzip"},
    ],
)
async def test_another_content_type_is_a_415(reach: Reach, headers: dict[str, str]) -> None:
    """JSON in UTF-8, not compressed, and said so."""
    answer = await reach.http.post("/v1/signups", content=sign_up(), headers=headers)
    await refuses(reach, answer, 415)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_body_is_a_413(reach: Reach, chunked: bool) -> None:
    """Sixty megabytes, announced or not: refused at 64 KiB, and the answer arrives."""
    size = 60_000_000

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // 60_000):
            yield b"x" * 60_000

    headers = JSON if chunked else {**JSON, "Content-Length": str(size)}
    answer = await reach.http.post("/v1/signups", content=chunks(), headers=headers)
    await refuses(reach, answer, 413)
    assert (await reach.sign_up()).status_code == 202


async def test_sixty_four_kibibytes_are_read(reach: Reach) -> None:
    """The limit itself is within the limit."""
    whole = b'{"name": "' + b"a" * (65_536 - 12) + b'"}'
    assert len(whole) == 65_536
    answer = await reach.http.post("/v1/signups", content=whole, headers=JSON)
    await refuses(reach, answer, 422)
    answer = await reach.http.post("/v1/signups", content=whole + b" ", headers=JSON)
    await refuses(reach, answer, 413)


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda some: st.lists(some) | st.dictionaries(st.text(), some),
    max_leaves=10,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    body=st.binary()
    | ANYTHING.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries({"email": st.text(), "name": st.text(), "description": ANYTHING}).map(
        lambda value: json.dumps(value).encode()
    )
)
async def test_no_body_is_a_500(reach: Reach, body: bytes) -> None:
    """Whatever the bytes, at every address that reads some."""
    key = await reach.key()
    for path in ("/v1/signups", "/v1/people", "/v1/messages"):
        answer = await reach.http.post(path, content=body, headers={**JSON, **key})
        assert answer.status_code < 500, answer.text
