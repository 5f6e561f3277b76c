"""The form on the page: the same sign-up, for people with a browser."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import httpx

from reach.settings import Settings
from tests.support.forms import BROWSER, DESCRIPTIONS, NAMES
from tests.support.http.bodies import CANARY, FORM
from tests.support.people import everybody, operator, templates
from tests.support.processes.reach import ADA, Reach, running_reach

UNREADABLE = {
    "a field twice": b"name=Ada&name=Eve&email=canary-7f3a%40example.com",
    "invalid UTF-8": b"name=canary-7f3a%FF&email=ada%40example.com",
    "a surrogate": b"name=canary-7f3a%ED%A0%80&email=ada%40example.com",
    "bare invalid UTF-8": b"name=canary-7f3a\xff&email=ada%40example.com",
    "many fields": b"canary-7f3a&" * 60,
}


async def fill_in(reach: Reach, **fields: str) -> httpx.Response:
    """Send the form as a browser does."""
    return await reach.http.post("/", data={**ADA, "description": "", **fields}, headers=BROWSER)


async def test_a_form_signs_up(reach: Reach) -> None:
    """303 to a page, whether the address is new or known; on disk, with the email owed."""
    http = await operator(reach)
    first, second = await fill_in(reach), await fill_in(reach, name="Eve")
    for answer in (first, second):
        assert (answer.status_code, answer.headers["location"]) == (303, "/check-your-inbox")
        assert answer.content == b""
    (person,) = await everybody(http)
    # What a stranger typed for an address that is not confirmed, the next one replaces.
    assert (person["name"], person["description"]) == ("Eve", None)
    assert await templates(http) == ["welcome", "welcome"]
    assert (await reach.http.get("/check-your-inbox")).status_code == 200


async def test_curl_need_not_escape(reach: Reach) -> None:
    """`curl -d name=Zoë` sends the letters as they are."""
    http = await operator(reach)
    body = "name=Zoë&email=zoe@bücher.example".encode()
    answer = await reach.http.post("/", content=body, headers=FORM)
    assert answer.status_code == 303
    assert [person["name"] for person in await everybody(http)] == ["Zoë"]


async def test_the_rules_are_those_of_the_api(reach: Reach) -> None:
    """A page with what is wrong beside the field, which still holds what was typed."""
    http = await operator(reach)
    for field, cases in {"name": NAMES, "description": DESCRIPTIONS}.items():
        for number, (text, expected) in enumerate(cases.items()):
            email = f"{field}{number}@example.com"
            answer = await fill_in(reach, **{"email": email, field: text})
            assert answer.status_code == (422 if expected is None else 303), (field, text)
            if expected is None:
                assert f'id="{field}-error"' in answer.text
                assert email in answer.text
    assert len(await everybody(http)) == sum(
        expected is not None for expected in [*NAMES.values(), *DESCRIPTIONS.values()]
    )


async def test_what_is_typed_cannot_write_the_page(reach: Reach) -> None:
    """It comes back in the form, escaped."""
    answer = await fill_in(reach, name='"><script>alert(1)</script>', email="no address")
    assert answer.status_code == 422
    assert "<script>" not in answer.text
    assert "&lt;script&gt;" in answer.text


async def test_unknown_and_missing_fields_are_refused(reach: Reach) -> None:
    """As in the API; an unknown field's name is not repeated."""
    http = await operator(reach)
    unknown = await fill_in(reach, **{CANARY: "x"})
    missing = await reach.http.post("/", data={"name": "Ada"}, headers=BROWSER)
    nothing = await reach.http.post("/", headers={**BROWSER, **FORM})
    assert [a.status_code for a in (unknown, missing, nothing)] == [422, 422, 422]
    assert CANARY not in unknown.text
    assert await everybody(http) == []


async def test_forms_that_cannot_be_read(reach: Reach) -> None:
    """400, 413 and 415: a page for a browser, a problem for others; nothing typed in either."""
    http = await operator(reach)
    cases = [(name, body, FORM, 400) for name, body in UNREADABLE.items()]
    cases.append(("a large one", urlencode({"name": CANARY * 6000}).encode(), FORM, 413))
    cases.append(("another type", b"canary-7f3a", {"Content-Type": "multipart/form-data"}, 415))
    for name, body, headers, status in cases:
        page = await reach.http.post("/", content=body, headers={**BROWSER, **headers})
        problem = await reach.http.post("/", content=body, headers=headers)
        assert (page.status_code, problem.status_code) == (status, status), name
        assert page.headers["content-type"].startswith("text/html")
        assert problem.headers["content-type"] == "application/problem+json"
        assert CANARY not in page.text + problem.text, name
    assert await everybody(http) == []


async def test_a_form_without_its_database_keeps_what_was_typed(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    """503 and when to come back: what was typed is still in the form."""
    gone = f"sqlite:///{tmp_path}/no-such-folder/reach.sqlite3"
    async with running_reach(make_settings(database_url=gone)) as reach:
        answer = await fill_in(reach, name="Ada Lovelace")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert 'value="Ada Lovelace"' in answer.text
