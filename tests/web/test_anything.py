"""No body, whatever it is, is a 500: machines look for one."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.http.bodies import FORM, JSON
from tests.support.processes.reach import ADA, Reach

#: Text as it may come: with every kind of character that some reader or store trips over.
TRICKY = st.text(
    st.characters() | st.sampled_from("\0\x1f\x7f\x85\u2028\u202e\u200b\ufeff\ufffe@.:/\\\"'%&=+ "),
    max_size=120,
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TRICKY,
    lambda some: st.lists(some, max_size=4) | st.dictionaries(TRICKY, some, max_size=4),
    max_leaves=8,
)
ADDRESSES = TRICKY | st.builds(lambda a, b: f"{a}@{b}", TRICKY, TRICKY) | st.emails()
#: Nearly right, so that they come further than the first check.
PEOPLE = st.fixed_dictionaries(
    {"email": ADDRESSES, "name": TRICKY}, optional={"description": VALUES, "welcome": VALUES}
)
CHANGES = st.fixed_dictionaries({}, optional={"name": VALUES, "description": VALUES})
BODIES = st.binary() | (VALUES | PEOPLE | CHANGES).map(lambda value: json.dumps(value).encode())

MANY = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
async def key(reach: Reach) -> dict[str, str]:
    """Make one key for all that a test asks."""
    return await reach.key()


@pytest.fixture
async def ada(reach: Reach, key: dict[str, str]) -> str:
    """Add Ada; her id."""
    answer = await reach.http.post("/v1/people", json={**ADA, "welcome": False}, headers=key)
    return str(answer.json()["id"])


@MANY
@given(body=BODIES)
async def test_no_body_is_a_500(reach: Reach, key: dict[str, str], ada: str, body: bytes) -> None:
    """Any bytes, any JSON, at every address that reads some."""
    headers = {**JSON, **key}
    for method, path in [
        ("POST", "/v1/signups"),
        ("POST", "/v1/people"),
        ("POST", "/v1/messages"),
        ("PATCH", f"/v1/people/{ada}"),
    ]:
        answer = await reach.http.request(method, path, content=body, headers=headers)
        assert answer.status_code < 500, (method, path, answer.text)


@MANY
@given(data=st.dictionaries(TRICKY, VALUES, max_size=5))
async def test_no_data_of_a_message_is_a_500(
    reach: Reach, key: dict[str, str], ada: str, data: dict[str, Any]
) -> None:
    """What is promised is stored as it came, on both databases; else it is a 400."""
    body = {"person_id": ada, "template": "welcome", "data": data}
    headers = {**JSON, **key}
    content = json.dumps(body).encode()
    answer = await reach.http.post("/v1/messages", content=content, headers=headers)
    assert answer.status_code in (201, 400), answer.text


@MANY
@given(body=st.binary(), fields=st.dictionaries(TRICKY, TRICKY, max_size=3))
async def test_no_form_is_a_500(reach: Reach, body: bytes, fields: dict[str, str]) -> None:
    """Any bytes, any fields, in the form on the page."""
    form = {**ADA, **{name: text for name, text in fields.items() if text.isprintable()}}
    for answer in (
        await reach.http.post("/", content=body, headers=FORM),
        await reach.http.post("/", data=form, headers=FORM),
    ):
        assert answer.status_code < 500, answer.text


@MANY
@given(q=TRICKY, cursor=TRICKY, template=TRICKY, path=TRICKY)
async def test_no_address_is_a_500(
    reach: Reach, key: dict[str, str], q: str, cursor: str, template: str, path: str
) -> None:
    """Any path, any parameters."""
    for url, params in [
        ("/v1/people", {"q": q}),
        ("/v1/people", {"cursor": cursor, "limit": q, "confirmed": template}),
        ("/v1/messages", {"template": template}),
        ("/v1/messages", {"state": template, "cursor": cursor}),
    ]:
        answer = await reach.http.get(url, params=params, headers=key)
        assert answer.status_code in (200, 422), (url, params, answer.text)
    for url in (f"/v1/people/{quoted(path)}", f"/v1/messages/{quoted(path)}"):
        assert (await reach.http.get(url, headers=key)).status_code in (200, 404, 405)


def quoted(text: str) -> str:
    """Write any text as one part of a path."""
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "replace")) or "x"
