"""A link of somebody else: it does not take the place of one's own without a question."""

import html
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest

from reach.auth.links import Link, Scope
from reach.pages.me import RECORDS
from tests.support.people import PROOF, Holder, holder
from tests.support.processes.reach import Reach


class Browser:
    """A browser that keeps cookies by path, as browsers do, and follows nothing by itself."""

    def __init__(self, http: httpx.AsyncClient, origin: str) -> None:
        """Begin with the cookies of a client: none."""
        self.http, self._origin = http, origin

    async def get(self, path: str, method: str = "GET") -> httpx.Response:
        """Open a page."""
        return await self.http.request(method, path)

    async def post(self, path: str, form: Mapping[str, str]) -> httpx.Response:
        """Press a button."""
        return await self.http.post(path, data=form, headers={"Origin": self._origin})

    async def follow(self, path: str) -> httpx.Response:
        """Open a page, and what it leads to."""
        return await self.http.get(path, follow_redirects=True)

    @property
    def held(self) -> dict[tuple[str, str], str | None]:
        """The cookies, by name and path."""
        return {(one.name, one.path): one.value for one in self.http.cookies.jar}


def proof_of(page: httpx.Response) -> str:
    """What the forms of a page hold."""
    (found,) = set(PROOF.findall(page.text))
    return html.unescape(found)


@pytest.fixture
async def browser(reach: Reach) -> AsyncIterator[Browser]:
    """A browser that was never here."""
    origin = reach.settings.origin
    accept = {"Accept": "text/html"}
    async with httpx.AsyncClient(base_url=origin, trust_env=False, headers=accept) as http:
        yield Browser(http, origin)


async def two(reach: Reach, browser: Browser, scope: Scope = "manage") -> tuple[Holder, Holder]:
    """Ada, whose link the browser holds, and Eve."""
    ada = await holder(reach, scope)
    eve = await holder(reach, scope, email="eve@example.com", name="Eve")
    assert "ada@example.com" in (await browser.follow(f"/{scope}?token={ada.token}")).text
    return ada, eve


@pytest.mark.parametrize("scope", RECORDS)
async def test_it_is_asked_for_and_the_own_record_stays(
    reach: Reach, browser: Browser, scope: Scope
) -> None:
    """Whichever page the link is opened on; its token is in no page and no address."""
    ada, eve = await two(reach, browser, scope)
    for page in RECORDS:
        asked = await browser.follow(f"/{page}?token={eve.token}")
        assert asked.status_code == 200
        assert asked.url.path == f"/{scope}/switch"
        assert not asked.url.query
        assert "This link belongs to another address" in asked.text
        assert "a…@example.com" in asked.text
        for told in ("ada@example.com", "eve@example.com", ada.token, eve.token):
            assert told not in asked.text
        assert asked.headers["cache-control"] == "no-store"
        assert browser.held == {
            (f"reach-{scope}", f"/{scope}"): ada.token,
            (f"reach-{scope}-offer", f"/{scope}/switch"): eve.token,
        }
        assert "ada@example.com" in (await browser.get(f"/{scope}")).text


@pytest.mark.parametrize("scope", RECORDS)
async def test_the_button_switches(reach: Reach, browser: Browser, scope: Scope) -> None:
    """Then the other record is there, and nothing is left to ask."""
    _, eve = await two(reach, browser, scope)
    asked = await browser.follow(f"/{scope}?token={eve.token}")
    answer = await browser.post(f"/{scope}/switch", {"form": proof_of(asked)})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/{scope}?kept")
    assert browser.held == {(f"reach-{scope}", f"/{scope}"): eve.token}
    assert "eve@example.com" in (await browser.follow(answer.headers["location"])).text
    assert (await browser.get(f"/{scope}/switch")).headers["location"] == f"/{scope}"
    again = await browser.post(f"/{scope}/switch", {"form": proof_of(asked)})
    assert again.status_code == 401
    assert "eve@example.com" in (await browser.get(f"/{scope}")).text


async def test_no_other_site_presses_the_button(reach: Reach, browser: Browser) -> None:
    """Nor does the page of another link than the one that is offered now."""
    ada, eve = await two(reach, browser)
    asked = await browser.follow(f"/manage?token={eve.token}")
    own = proof_of(await browser.get("/manage"))
    mallory = await holder(reach, email="mallory@example.com", name="Mallory")
    other = proof_of(await browser.follow(f"/manage?token={mallory.token}"))
    for form in ({"other": ""}, {"form": own}, {"form": proof_of(asked)}):
        assert (await browser.post("/manage/switch", form)).status_code == 403
    for origin in ("https://evil.example", "null"):
        elsewhere = await browser.http.post(
            "/manage/switch", data={"form": other}, headers={"Origin": origin}
        )
        assert elsewhere.status_code == 403
    assert browser.held["reach-manage", "/manage"] == ada.token


async def test_ones_own_links_ask_nothing(reach: Reach, browser: Browser) -> None:
    """A newer email's takes the place of the older one's; one that was voided does not."""
    ada = await holder(reach)
    links = reach.app.state.services.links
    newer = links.mint(Link(ada.person_id, "manage", 1))
    for token, method in ((ada.token, "GET"), (newer, "HEAD")):
        answer = await browser.get(f"/manage?token={token}", method)
        assert answer.headers["location"] == "/manage?kept"
        assert browser.held == {("reach-manage", "/manage"): token}
    answer = await browser.follow(f"/manage?token={ada.token}")
    assert (answer.status_code, answer.url.path) == (401, "/links/void")
    assert browser.held == {("reach-manage", "/manage"): newer}


@pytest.mark.parametrize("end", ["voided", "removed", "junk"])
async def test_a_link_that_works_no_longer_is_replaced_without_a_question(
    reach: Reach, browser: Browser, end: str
) -> None:
    """There is no record of one's own to lose."""
    ada, eve = await two(reach, browser)
    asked = await browser.follow(f"/manage?token={eve.token}")
    assert asked.url.path == "/manage/switch"
    if end == "junk":
        browser.http.cookies.set("reach-manage", "junk", domain="127.0.0.1", path="/manage")
    else:
        await ada.post({"voided": "/manage/links", "removed": "/manage/removal"}[end])
    meanwhile = await browser.get("/manage/switch")
    assert meanwhile.headers["location"] == "/manage?kept"
    assert browser.held == {("reach-manage", "/manage"): eve.token}
    assert "eve@example.com" in (await browser.follow("/manage")).text


async def test_a_void_link_does_not_end_ones_own_visit(reach: Reach, browser: Browser) -> None:
    """Somebody else's that was voided, or whose owner is gone: a 401, and one's own stays."""
    ada, eve = await two(reach, browser)
    await eve.post("/manage/links")
    answer = await browser.follow(f"/manage?token={eve.token}")
    assert (answer.status_code, answer.url.query) == (401, b"")
    assert browser.held == {("reach-manage", "/manage"): ada.token}
    assert "ada@example.com" in (await browser.get("/manage")).text


@pytest.mark.parametrize("end", ["/manage/links", "/manage/removal"])
async def test_a_link_that_went_void_while_it_was_offered_is_not_held(
    reach: Reach, browser: Browser, end: str
) -> None:
    """Neither by the button nor by its page: one's own stays, and nothing is left to ask."""
    ada, eve = await two(reach, browser)
    asked = await browser.follow(f"/manage?token={eve.token}")
    await eve.post(end)
    answer = await browser.post("/manage/switch", {"form": proof_of(asked)})
    assert answer.status_code == 401
    assert browser.held == {("reach-manage", "/manage"): ada.token}
    browser.http.cookies.set(
        "reach-manage-offer", eve.token, domain="127.0.0.1", path="/manage/switch"
    )
    assert (await browser.get("/manage/switch")).status_code == 401
    assert browser.held == {("reach-manage", "/manage"): ada.token}
    assert "ada@example.com" in (await browser.get("/manage")).text
