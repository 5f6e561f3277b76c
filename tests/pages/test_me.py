"""The pages of one's own record: what a link leads to, and what its buttons do."""

import re
from collections.abc import Callable

import pytest

from reach.auth.links import Link, Scope
from reach.db.types import new_id
from reach.settings import Settings
from tests.support.people import Holder, holder
from tests.support.processes.reach import Reach, messages_of, running_reach

SCOPES: tuple[Scope, ...] = ("manage", "confirm")


def deletes_cookie(said: str, scope: str) -> bool:
    """Whether a ``Set-Cookie`` has the browser forget the link."""
    return (
        said.startswith(f'reach-{scope}="";') and f"Path=/{scope};" in said and "Max-Age=0" in said
    )


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_link_leaves_the_address_at_once(reach: Reach, scope: Scope, method: str) -> None:
    """Its token moves to a cookie that no script reads and no other site's form sends."""
    person = await holder(reach, scope)
    answer = await reach.http.request(method, f"/{scope}?token={person.token}&x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/{scope}?kept")
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text == ""
    (said,) = answer.headers.get_list("set-cookie")
    value, *attributes = said.split("; ")
    assert value == f"reach-{scope}={person.token}"
    assert set(attributes) == {"HttpOnly", "Max-Age=3600", f"Path=/{scope}", "SameSite=lax"}


async def test_a_cookie_lives_no_longer_than_its_link(
    make_settings: Callable[..., Settings], sqlite: str
) -> None:
    """And only travels encrypted, where people come by https."""
    settings = make_settings(
        database_url=sqlite, link_days=60 / 86_400, public_url="https://signup.example.org"
    )
    async with running_reach(settings) as reach:
        token = reach.app.state.services.links.mint(Link(new_id(), "manage", 0))
        there = f"http://127.0.0.1:{reach.settings.port}"
        answer = await reach.http.get(f"{there}/manage?token={token}")
    (said,) = answer.headers.get_list("set-cookie")
    assert "Secure" in said.split("; ")
    (seconds,) = re.findall(r"Max-Age=(\d+);", said)
    assert int(seconds) <= 60


@pytest.mark.parametrize("scope", SCOPES)
async def test_scanners_change_nothing(reach: Reach, scope: Scope) -> None:
    """Who follows every link, with cookies and on to every page, leaves all as it was."""
    person = await holder(reach, scope)
    before = await person.stored()
    for _ in range(2):
        for method in ("GET", "HEAD"):
            await reach.http.request(method, f"/{scope}?token={person.token}")
            for path in (f"/{scope}", "/manage/removal", "/manage/export", "/manage/links"):
                await reach.http.request(method, path, headers=person.cookie)
    assert await person.stored() == before
    assert (await person.get(f"/{scope}")).status_code == 200


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("around", ["{}", "x&token={}", "{}&token=x", "{0}&token={0}"])
async def test_a_link_leads_to_its_own_page(reach: Reach, scope: Scope, around: str) -> None:
    """On the other scope's page, or among others: no address keeps a token that works."""
    person = await holder(reach, scope)
    for page in SCOPES:
        answer = await reach.http.get(f"/{page}?token={around.format(person.token)}")
        if page != scope:
            # There the browser shows what it holds: see pages.me.
            assert answer.headers["location"] == f"/{scope}?token={person.token}"
            assert "set-cookie" not in answer.headers
            answer = await reach.http.get(answer.headers["location"])
        assert (answer.status_code, answer.headers["location"]) == (303, f"/{scope}?kept")
        assert f"Path=/{scope};" in answer.headers["set-cookie"]
        assert f"reach-{scope}={person.token};" in answer.headers["set-cookie"]


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_link_that_does_not_work(reach: Reach, scope: Scope) -> None:
    """Junk, bent, given twice: it leads to one kind page, with the form for a new link."""
    person = await holder(reach, scope)
    token = person.token
    bad = ["", "x", token[:-1], token + "A", token.swapcase(), "x&token=y"]
    pages = set()
    for text in bad:
        for method in ("GET", "HEAD"):
            led = await reach.http.request(method, f"/{scope}?token={text}")
            assert (led.status_code, led.headers["location"]) == (303, "/links/void")
            assert "set-cookie" not in led.headers
            assert led.headers["cache-control"] == "no-store"
            assert (await reach.http.request(method, "/links/void")).status_code == 401
        answer = await reach.http.get("/links/void", headers={"Accept": "text/html"})
        assert answer.headers["www-authenticate"]
        pages.add(re.sub(r'name="started" value="[^"]*"', "", answer.text))
    (page,) = pages
    assert '<form method="post" action="/links"' in page


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_link_that_was_voided_is_forgotten(reach: Reach, scope: Scope) -> None:
    """A cookie that works no longer, or never did, is deleted, and its buttons do nothing."""
    person = await holder(reach, scope)
    proof = await person.proof()
    manager = Holder(reach, person.person_id, "manage")
    assert (await manager.post("/manage/links")).headers["location"] == "/manage/voided"
    headers = {**person.cookie, "Origin": reach.settings.origin}
    answers = [await person.get(f"/{scope}")]
    answers.append(await reach.http.post(f"/{scope}", data={"form": proof}, headers=headers))
    junk = {**headers, "Cookie": f"reach-{scope}=junk"}
    answers.append(await reach.http.get(f"/{scope}", headers=junk))
    answers.append(await reach.http.post(f"/{scope}", data={"form": proof}, headers=junk))
    for answer in answers:
        assert answer.status_code == 401
        assert deletes_cookie(answer.headers["set-cookie"], scope)
        assert 'action="/links"' in answer.text
        assert 'href="/links/void?lang=de"' in answer.text
    assert (await person.stored() or {})["confirmed_at"] is None


async def test_the_record_is_shown(reach: Reach) -> None:
    """All that can be changed, as it is; in a page that no cache and no other site keeps."""
    person = await holder(reach, name='A"da & <b>')
    page = await person.get("/manage")
    assert "ada@example.com" in page.text
    assert 'value="A&#34;da &amp; &lt;b&gt;"' in page.text
    assert 'value="I like tea"' in page.text
    assert person.token not in page.text
    # Without a referrer a browser would hide where a form comes from.
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["cache-control"] == "no-store"
    assert "set-cookie" not in page.headers


async def test_a_change_is_stored(reach: Reach) -> None:
    """And mailed, and said on the page that follows; an emptied note is none."""
    person = await holder(reach)
    answer = await person.post("/manage", {"name": "Ada L.", "description": "  "})
    assert (answer.status_code, answer.headers["location"]) == (303, "/manage?done=changed")
    stored = await person.stored() or {}
    assert (stored["name"], stored["description"]) == ("Ada L.", None)
    assert "Your changes are saved." in (await person.get("/manage?done=changed")).text
    assert "<script" not in (await person.get("/manage?done=<script>")).text
    assert len(await messages_of(reach, template="changed")) == 1


async def test_what_is_wrong_is_said_and_what_was_typed_is_kept(reach: Reach) -> None:
    """The form comes back, and nothing is stored."""
    person = await holder(reach)
    before = await person.stored()
    answer = await person.post("/manage", {"name": "www.spam", "description": "d" * 501})
    assert answer.status_code == 422
    assert re.search(r'id="name"[^>]* value="www.spam"[^>]* aria-invalid="true"', answer.text)
    assert f'value="{"d" * 501}"' in answer.text
    assert re.findall(r'href="#(\w+)"', answer.text) == ["name", "description"]
    more = await person.post("/manage", {"name": "Ada", "email": "eve@example.com"})
    assert more.status_code == 422
    assert await person.stored() == before


@pytest.mark.parametrize(
    ("scope", "path", "after"),
    [
        ("manage", "/manage/confirmation", "/manage?done=confirmed"),
        ("confirm", "/confirm", "/confirm/done"),
    ],
)
async def test_an_address_is_confirmed(reach: Reach, scope: Scope, path: str, after: str) -> None:
    """By a button, on both pages; a second time changes nothing and is no error."""
    person = await holder(reach, scope)
    assert "ada@example.com" in (await person.get(f"/{scope}")).text
    proof = await person.proof()
    answer = await person.post(path)
    assert (answer.status_code, answer.headers["location"]) == (303, after)
    stored = await person.stored() or {}
    assert stored["confirmed_at"]
    headers = {**person.cookie, "Origin": reach.settings.origin}
    again = await reach.http.post(path, data={"form": proof}, headers=headers)
    assert again.headers["location"] == after
    assert await person.stored() == stored
    assert (await person.get(after)).status_code == 200
    if scope == "confirm":
        assert deletes_cookie(answer.headers["set-cookie"], scope)
        assert "Your address is confirmed" in (await person.get("/confirm")).text


async def test_everything_can_be_downloaded(reach: Reach) -> None:
    """As a file, which no page can be made of."""
    person = await holder(reach)
    answer = await person.post("/manage/export")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-disposition"] == 'attachment; filename="my-record.json"'
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["person"]["email"] == "ada@example.com"


async def test_a_person_is_removed(reach: Reach) -> None:
    """After one more question; then nothing of them is left, the cookie included."""
    person = await holder(reach)
    asked = await person.get("/manage/removal")
    assert 'method="post" action="/manage/removal"' in asked.text
    assert await person.stored()
    answer = await person.post("/manage/removal")
    assert (answer.status_code, answer.headers["location"]) == (303, "/manage/removed")
    assert deletes_cookie(answer.headers["set-cookie"], "manage")
    assert await person.stored() is None
    assert await messages_of(reach) == []
    assert (await person.get("/manage")).status_code == 401
    assert "Your data is deleted" in (await reach.http.get("/manage/removed")).text


async def test_a_confirm_link_manages_nothing(reach: Reach) -> None:
    """Put into the other cookie it is no better than junk."""
    person = await holder(reach, "confirm")
    headers = {"Cookie": f"reach-manage={person.token}", "Origin": reach.settings.origin}
    form = {"form": await person.proof()}
    assert (await reach.http.get("/manage", headers=headers)).status_code == 401
    answer = await reach.http.post("/manage/removal", data=form, headers=headers)
    assert answer.status_code == 401
    assert await person.stored()


async def test_no_token_is_logged(reach: Reach, told: Callable[[], str]) -> None:
    """Good or bad, followed or held."""
    person = await holder(reach)
    await reach.http.get(f"/manage?token={person.token}")
    await reach.http.get(f"/confirm?token={person.token}")
    await person.post("/manage", {"name": "www.spam", "description": ""})
    await person.post("/manage/removal")
    await person.get("/manage")
    written = told()
    assert "/manage" in written
    for part in (person.token, *person.token.split(".")[1:], "ada@example.com"):
        assert part not in written
