"""Forms that carry a cookie: other sites cannot send them, nor holders of other links."""

import httpx
import pytest

from reach.auth.links import Scope
from reach.auth.signing import Signer
from reach.pages.me import RECORDS
from tests.support.people import Holder, holder
from tests.support.processes.reach import Reach, change_services

#: Each button, and what it would need besides.
BUTTONS = {
    "/manage": {"name": "Eve", "description": ""},
    "/manage/confirmation": {},
    "/manage/export": {},
    "/manage/links": {},
    "/manage/removal": {},
    "/confirm": {},
}
FOREIGN = [
    None,
    "null",
    "",
    "https://evil.example",
    "http://127.0.0.1",
    "http://localhost:{port}",
    "https://127.0.0.1:{port}",
    "http://127.0.0.1:{port}.evil.example",
    "http://127.0.0.1:{port}/",
    "http://127.0.0.1:{port} http://evil.example",
]


def scope_of(path: str) -> Scope:
    """What kind of link a button needs."""
    return "confirm" if path == "/confirm" else "manage"


async def send(person: Holder, path: str, origin: str | None, proof: str | None) -> httpx.Response:
    """Send a form as a browser that holds the link would."""
    form = {**BUTTONS[path], **({"other": ""} if proof is None else {"form": proof})}
    origins = {} if origin is None else {"Origin": origin}
    return await person.reach.http.post(path, data=form, headers={**person.cookie, **origins})


async def is_unchanged(person: Holder, before: object) -> bool:
    """Whether the record is as it was, and its link works."""
    works = (await person.get(f"/{person.scope}")).status_code == httpx.codes.OK
    return works and await person.stored() == before


@pytest.mark.parametrize("path", BUTTONS)
async def test_no_other_site_can_press_a_button(reach: Reach, path: str) -> None:
    """Not even one that knows what the form holds: the browser says where it comes from."""
    person = await holder(reach, scope_of(path))
    before, proof = await person.stored(), await person.proof()
    for origin in FOREIGN:
        given = origin and origin.format(port=reach.settings.port)
        answer = await send(person, path, given, proof)
        assert answer.status_code == 403, origin
        assert "This form is not from here" in answer.text
    twice = [("Origin", reach.settings.origin), ("Origin", "https://evil.example")]
    answer = await reach.http.post(
        path, data={"form": proof, **BUTTONS[path]}, headers=[*person.cookie.items(), *twice]
    )
    assert answer.status_code == 403
    assert await is_unchanged(person, before)


@pytest.mark.parametrize("path", BUTTONS)
async def test_each_link_has_its_own_forms(reach: Reach, path: str) -> None:
    """What another person's page holds, or nothing, or junk, or another purpose's: refused."""
    scope = scope_of(path)
    person = await holder(reach, scope)
    other = await holder(reach, scope, email="eve@example.com")
    before, proof = await person.stored(), await person.proof()
    forged = Signer(reach.settings, "link-tokens").signature(person.token)
    for wrong in (None, "", "x", proof[:-1], proof + "A", forged, await other.proof()):
        answer = await send(person, path, reach.settings.origin, wrong)
        assert answer.status_code == 403, wrong
        assert "set-cookie" not in answer.headers
    assert await is_unchanged(person, before)
    assert (await send(person, path, reach.settings.origin, proof)).status_code in (200, 303)


async def test_without_a_cookie_a_form_does_nothing(reach: Reach) -> None:
    """As other sites' forms come, for the cookie is not sent with them."""
    person = await holder(reach)
    before, proof = await person.stored(), await person.proof()
    for path, form in BUTTONS.items():
        answer = await reach.http.post(
            path, data={**form, "form": proof}, headers={"Origin": reach.settings.origin}
        )
        assert answer.status_code == 401
    assert await is_unchanged(person, before)


async def test_a_default_port_may_be_written_or_not(reach: Reach) -> None:
    """Browsers leave it out; the setting need not."""
    person = await holder(reach)
    proof = await person.proof()
    had = reach.app.state.services
    for url in ("HTTPS://Signup.Example.org:443", "https://signup.example.org"):
        settings = reach.settings.model_copy(update={"public_url": url})
        change_services(reach.app, settings=settings)
        answer = await send(person, "/manage/confirmation", "https://signup.example.org", proof)
        assert answer.status_code == 303
        answer = await send(person, "/manage/confirmation", "https://signup.example.org:443", proof)
        assert answer.status_code == 403
    reach.app.state.services = had


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"form=%FF", "application/x-www-form-urlencoded", 400),
        (b"form=1&form=2", "application/x-www-form-urlencoded", 400),
        (b"x=" + b"y" * 70_000, "application/x-www-form-urlencoded", 413),
    ],
)
async def test_a_body_that_is_no_form(reach: Reach, content: bytes, kind: str, status: int) -> None:
    """It is a clear refusal, as everywhere."""
    person = await holder(reach)
    headers = {**person.cookie, "Origin": reach.settings.origin, "Content-Type": kind}
    answer = await reach.http.post("/manage/removal", content=content, headers=headers)
    assert answer.status_code == status
    assert await person.stored()


@pytest.mark.parametrize("scope", RECORDS)
async def test_the_look_at_whether_a_cookie_is_kept(reach: Reach, scope: Scope) -> None:
    """With one, it leads to the page; without, it says so; it reads no link, presses no button."""
    person = await holder(reach, scope)
    before = await person.stored()
    arrived = await reach.http.get(f"/{scope}?token={person.token}")
    assert (arrived.status_code, arrived.headers["location"]) == (303, f"/{scope}?kept")
    assert person.token in arrived.headers["set-cookie"]
    reach.http.cookies.clear()
    kept = await person.get(f"/{scope}?kept")
    assert (kept.status_code, kept.headers["location"]) == (303, f"/{scope}")
    assert "set-cookie" not in kept.headers
    lost = await reach.http.get(f"/{scope}?kept", headers={"Accept": "text/html"})
    assert (lost.status_code, lost.headers["cache-control"]) == (401, "no-store")
    assert "Your browser keeps no cookies here" in lost.text
    assert lost.headers["www-authenticate"]
    junk = await reach.http.get(f"/{scope}?kept", headers={"Cookie": f"reach-{scope}=x"})
    assert junk.headers["location"] == f"/{scope}"
    for path in BUTTONS:
        if scope_of(path) == scope:
            pressed = await reach.http.post(f"{path}?kept", data={"form": await person.proof()})
            assert pressed.status_code == 403
    assert await person.stored() == before


async def test_who_was_here_an_hour_ago_is_told_to_open_the_link_again(reach: Reach) -> None:
    """The cookie is over; the link in the email may work still."""
    answer = await reach.http.get("/manage", headers={"Accept": "text/html"})
    assert answer.status_code == 401
    assert "open it in your email again" in " ".join(answer.text.split())
