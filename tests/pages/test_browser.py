"""The pages in a real browser, with scripts and without: nothing is blocked, nothing leaves us."""

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from playwright.async_api import Browser, Page, expect
from pydantic import SecretStr

from reach.auth.links import Scope
from reach.mailbox.server import Mailbox
from reach.pages.me import RECORDS
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.people import holder, new_address_token
from tests.support.processes.reach import Reach, running_reach, running_worker
from tests.support.servers.browser import (
    WIDEST,
    NoBrowser,
    Visit,
    visiting,
    visiting_without_cookies,
)
from tests.support.servers.elsewhere import elsewhere

PAGES = ["/", "/links", "/check-your-inbox", "/problems/invalid", "/nothing", "/manage?token=x"]
PAGES += [
    "/confirm?kept",
    "/manage/removed",
    "/manage/voided",
    "/confirm/done",
    "/mailbox",
    "/docs",
]
#: How many wrong links, and wrong keys, are told so; and what the page elsewhere loads of Reach.
MOST_WRONG = 30
LOADED = 1 + 2 * MOST_WRONG


@pytest.fixture(params=[True, False], ids=["scripts", "no-scripts"])
async def visit(request: pytest.FixtureRequest, browser: Browser) -> AsyncIterator[Visit]:
    """Visit twice: with a browser that runs scripts, and with one that does not."""
    async with visiting(browser, java_script_enabled=request.param) as visit:
        yield visit


@pytest.fixture
async def here(sqlite: str, make_settings: Callable[..., Settings]) -> AsyncIterator[Reach]:
    """Reach with its mailbox."""
    settings = make_settings(database_url=sqlite, form_min_seconds=0)
    async with running_reach(settings, mailbox=Mailbox(settings.data_dir / "mailbox")) as reach:
        yield reach


@pytest.fixture
async def limited(sqlite: str, make_settings: Callable[..., Settings]) -> AsyncIterator[Reach]:
    """Reach, where thirty wrong keys or links of one client are too many, as by default."""
    limits = dict.fromkeys(("limit_failed_keys", "limit_failed_links"), f"{MOST_WRONG}/hour")
    async with running_reach(make_settings(database_url=sqlite, **limits)) as reach:
        yield reach


async def heading(page: Page, text: str) -> None:
    """Wait for a page that is headed so."""
    await expect(page.locator("h1")).to_have_text(text)


async def test_signing_up(here: Reach, visit: Visit) -> None:
    """By form: what is wrong is said, what is right leads to the inbox, and that to the mailbox."""
    page, origin = visit.page, here.settings.origin
    await page.goto(origin)
    await page.get_by_label("Your name").fill("www.spam")
    await page.get_by_label("Your email address").fill("ada@example.com")
    await page.get_by_role("button", name="Sign up").click()
    await expect(page.get_by_role("alert")).to_contain_text("A name must not hold")
    await page.get_by_label("Your name").fill("Ada")
    await page.get_by_role("button", name="Sign up").click()
    await heading(page, "Check your inbox")
    assert page.url == f"{origin}/check-your-inbox"
    people = await here.http.get("/v1/people", headers=await here.key())
    assert [person["name"] for person in people.json()["items"]] == ["Ada"]
    mailbox: Mailbox = here.app.state.services.mailbox
    mailbox.put(b"Subject: Hello\r\nContent-Type: text/html\r\n\r\n<p style='color:red'>Hi Ada")
    await page.get_by_role("link", name="Open the mailbox").click()
    await page.get_by_role("link", name="Hello").click()
    frame = page.frame_locator("iframe")
    await expect(frame.get_by_text("Hi Ada")).to_be_visible()


async def test_the_links_of_an_email(here: Reach, visit: Visit) -> None:
    """Signed up by form, the email is read in the mailbox; its links confirm, and manage."""
    page, mailbox = visit.page, here.app.state.services.mailbox
    await page.goto(here.settings.origin)
    await page.get_by_label("Your name").fill("Ada")
    await page.get_by_label("Your email address").fill("ada@example.com")
    await page.get_by_role("button", name="Sign up").click()
    async with mailbox.serve() as smtp_url:
        settings = here.settings.model_copy(update={"smtp_url": SecretStr(smtp_url)})
        async with running_worker(settings):
            await eventually(mailbox.list)
    await page.get_by_role("link", name="Open the mailbox").click()
    await page.get_by_role("link", name="Welcome").click()
    mail = page.frame_locator("iframe")
    async with page.expect_popup() as confirm:
        await mail.locator("a.press[href*=confirm]").click()
    await (await confirm.value).get_by_role("button", name="Yes, confirm it").click()
    await heading(await confirm.value, "Your address is confirmed")
    async with page.expect_popup() as manage:
        await mail.locator("a[href*=manage]").first.click()
    await heading(await manage.value, "Your data")
    assert (await manage.value).url == f"{here.settings.origin}/manage"
    await expect((await manage.value).get_by_text("Not yet")).to_have_count(0)


async def test_managing_ones_record(here: Reach, visit: Visit) -> None:
    """From the link to the goodbye: see, change, confirm, download, remove."""
    page, origin = visit.page, here.settings.origin
    person = await holder(here)
    await page.goto(f"{origin}/manage?token={person.token}")
    assert page.url == f"{origin}/manage"
    await page.get_by_label("Your name").fill("www.spam")
    await page.get_by_role("button", name="Save changes").click()
    await expect(page.get_by_label("Your name")).to_have_value("www.spam")
    await page.get_by_label("Your name").fill("Ada L.")
    await page.get_by_role("button", name="Save changes").click()
    await expect(page.get_by_role("status")).to_have_text("Your changes are saved.")
    await page.get_by_role("button", name="Confirm that this address").click()
    await expect(page.get_by_role("status")).to_have_text("Your address is confirmed.")
    stored = await person.stored() or {}
    assert (stored["name"], bool(stored["confirmed_at"])) == ("Ada L.", True)
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download").click()
    file = anyio.Path(await (await download.value).path())
    assert "ada@example.com" in await file.read_text()
    await page.get_by_role("link", name="Delete all my data").click()
    await page.get_by_role("link", name="No, keep it").click()
    await page.get_by_role("link", name="Delete all my data").click()
    await page.get_by_role("button", name="Yes, delete everything").click()
    await heading(page, "Your data is deleted")
    assert await page.context.cookies() == []
    assert await person.stored() is None
    await page.goto(f"{origin}/manage")
    await heading(page, "This link does not work, or no longer")


async def test_voiding_ones_links(here: Reach, visit: Visit) -> None:
    """Then the link leads to the form for a new one."""
    page, origin = visit.page, here.settings.origin
    person = await holder(here)
    await page.goto(f"{origin}/manage?token={person.token}")
    await page.get_by_role("button", name="Stop every link").click()
    await heading(page, "Your old links no longer work")
    assert await page.context.cookies() == []
    await page.goto(f"{origin}/manage?token={person.token}")
    await heading(page, "This link does not work, or no longer")
    await page.get_by_label("Your email address").fill("ada@example.com")
    await page.get_by_role("button", name="Email me a link").click()
    await heading(page, "Check your inbox")


async def test_changing_ones_address(here: Reach, visit: Visit) -> None:
    """Asked for on the record; the link to the new address shows two buttons, and one does it."""
    page, origin = visit.page, here.settings.origin
    person = await holder(here)
    await page.goto(f"{origin}/manage?token={person.token}")
    await page.get_by_label("Your new address").fill("ada@example.org")
    await page.get_by_role("button", name="Send the email").click()
    await expect(page.get_by_role("status")).to_contain_text("on its way to your new address")
    await page.get_by_role("button", name="Stop it").click()
    await expect(page.get_by_role("status")).to_have_text("Your address stays as it is.")
    await page.get_by_label("Your new address").fill("ada@example.org")
    await page.get_by_role("button", name="Send the email").click()
    await expect(page.get_by_text("We wait for")).to_be_visible()
    token = await new_address_token(here, person.person_id)
    await page.goto(f"{origin}/address?token={token}")
    assert page.url == f"{origin}/address"
    await expect(page.get_by_role("button", name="No, stop it")).to_be_visible()
    assert (await person.stored() or {})["email"] == "ada@example.com"
    await page.get_by_role("button", name="Yes, use this address").click()
    await heading(page, "Your address has changed")
    assert (await person.stored() or {})["email"] == "ada@example.org"
    await page.goto(f"{origin}/manage")
    await heading(page, "This link does not work, or no longer")


async def test_confirming_ones_address(here: Reach, visit: Visit) -> None:
    """The link shows a button, and only that confirms."""
    page, origin = visit.page, here.settings.origin
    person = await holder(here, "confirm")
    await page.goto(f"{origin}/confirm?token={person.token}")
    assert page.url == f"{origin}/confirm"
    assert (await person.stored() or {})["confirmed_at"] is None
    await page.get_by_role("button", name="Yes, confirm it").click()
    await heading(page, "Your address is confirmed")
    assert (await person.stored() or {})["confirmed_at"]


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
@pytest.mark.parametrize("scope", RECORDS)
async def test_a_browser_that_keeps_no_cookies_is_told_so(
    here: Reach, tmp_path: Path, scope: Scope, scripts: bool
) -> None:
    """The link is good, and the page says so, and what to do; it is in no address, as ever."""
    person = await holder(here, scope)
    before, link = await person.stored(), f"{here.settings.origin}/{scope}?token={person.token}"
    try:
        async with visiting_without_cookies(tmp_path, java_script_enabled=scripts) as visit:
            page = visit.page
            await page.goto(link)
            assert await page.context.cookies() == []
            await heading(page, "Your browser keeps no cookies here")
            await expect(page.get_by_text(urlsplit(here.settings.origin).netloc)).to_be_visible()
            assert "token" not in page.url
            assert person.token not in await page.content()
    except NoBrowser as reason:
        pytest.skip(str(reason))
    assert await person.stored() == before


async def test_a_link_followed_from_another_site(here: Reach, visit: Visit) -> None:
    """As from a web mail: the cookie is kept, and the page is shown."""
    page, person = visit.page, await holder(here)
    link = f"{here.settings.origin}/manage?token={person.token}"
    await page.set_content(f'<a href="{link}">Manage</a>')
    await page.get_by_role("link", name="Manage").click()
    await heading(page, "Your data")


async def test_a_link_to_another_persons_record(here: Reach, visit: Visit) -> None:
    """It is asked for whose record is meant: one may stay with one's own, or switch."""
    page, origin = visit.page, here.settings.origin
    ada, eve = await holder(here), await holder(here, email="eve@example.com", name="Eve")
    await page.goto(f"{origin}/manage?token={ada.token}")
    await heading(page, "Your data")
    await page.set_content(f'<a href="{origin}/manage?token={eve.token}">Your record</a>')
    await page.get_by_role("link", name="Your record").click()
    await heading(page, "This link belongs to another address")
    assert page.url == f"{origin}/manage/switch"
    await page.get_by_role("link", name="Stay with a…@example.com").click()
    await expect(page.get_by_text("ada@example.com")).to_be_visible()
    await page.go_back()
    await page.get_by_role("button", name="Switch to the other address").click()
    await heading(page, "Your data")
    assert page.url == f"{origin}/manage"
    await expect(page.get_by_text("eve@example.com")).to_be_visible()
    assert [cookie["name"] for cookie in await page.context.cookies()] == ["reach-manage"]


async def test_a_page_elsewhere_locks_nobody_out(limited: Reach, browser: Browser) -> None:
    """Whatever it has its visitor's browser load: keys and links work as before from there."""
    reach = limited
    person, origin = await holder(reach), reach.settings.origin
    wrong = f"{origin}/manage?token=x"
    loads = f'<link rel="prefetch" href="{wrong}"><iframe src="{wrong}"></iframe>' + "".join(
        f'<img src="{wrong}{n}"><img src="{origin}/v1/people?n={n}">' for n in range(MOST_WRONG)
    )
    async with elsewhere("127.0.0.1") as site, visiting(browser) as visit:
        site.html = loads
        asked: set[str] = set()
        for event in ("requestfinished", "requestfailed"):
            visit.page.on(event, lambda request: asked.add(request.url))
        await visit.page.goto(site.origin)
        await eventually(lambda: len(asked) >= 1 + LOADED)
        visit.complaints.clear()  # of each that it got no picture
    key = await reach.key()
    assert (await reach.http.get("/v1/people", headers=key)).status_code == 200
    assert (await person.get(f"/manage?token={person.token}")).status_code == 303
    statuses = [(await reach.http.get(wrong)).status_code for _ in range(MOST_WRONG + 1)]
    assert statuses == [303] * MOST_WRONG + [429]


async def test_another_sites_form(here: Reach, visit: Visit) -> None:
    """It is refused, though it knows all that it would have to hold."""
    page, person = visit.page, await holder(here)
    action = f"{here.settings.origin}/manage/removal"
    await page.goto(f"{here.settings.origin}/manage?token={person.token}")
    await page.goto("about:blank")
    proof = await person.proof()
    await page.set_content(
        f'<form method="post" action="{action}"><input name="form" value="{proof}"><button>Go'
    )
    await page.get_by_role("button", name="Go").click()
    await heading(page, "This form is not from here")
    assert await person.stored()


async def test_the_page_of_the_api(here: Reach, browser: Browser) -> None:
    """It shows every call, takes a key, and tries calls, all from this server."""
    key = (await here.key())["Authorization"].removeprefix("Bearer ")
    document = (await here.http.get("/openapi.json")).json()
    calls = sum(len(methods) for methods in document["paths"].values())
    async with visiting(browser) as visit:
        page = visit.page
        await page.goto(f"{here.settings.origin}/docs")
        await expect(page.locator(".opblock")).to_have_count(calls)
        await page.get_by_role("button", name="Authorize").first.click()
        keys = page.locator(".auth-container", has_text="operatorKey")
        await keys.locator("input").fill(key)
        await keys.get_by_role("button", name="Apply credentials").click()
        await keys.get_by_role("button", name="Close").click()
        await page.locator(
            ".opblock-summary-description", has_text=re.compile("^List people$")
        ).click()
        await page.get_by_role("button", name="Execute").click()
        answer = page.locator(".live-responses-table td.response-col_status:not(.col_header)")
        await expect(answer.first).to_contain_text("200")


async def test_the_page_of_the_api_without_scripts(here: Reach, browser: Browser) -> None:
    """It says what it lacks, and where all of it can be read."""
    async with visiting(browser, java_script_enabled=False) as visit:
        await visit.page.goto(f"{here.settings.origin}/docs")
        await expect(visit.page.get_by_text("needs JavaScript")).to_be_visible()
        await expect(visit.page.get_by_role("link", name="openapi.json").last).to_be_visible()


@pytest.mark.parametrize(("width", "scheme"), [(320, "dark"), (1280, "light")])
async def test_no_page_is_wider_than_the_screen(
    here: Reach, browser: Browser, width: int, scheme: Any
) -> None:
    """On a telephone nobody scrolls sideways, whatever people are called.

    Every field has its label, every page its heading; and none loads itself again (WCAG 2.2.1).
    """
    person, confirming = [
        await holder(here, scope, f"{scope}{'a' * 50}@{'d' * 60}.{'e' * 60}.example", "W" * 100)
        for scope in ("manage", "confirm")
    ]
    viewport: Any = {"width": width, "height": 700}
    async with visiting(browser, viewport=viewport, color_scheme=scheme) as visit:
        other = await holder(here, email="other@example.com")
        links = [f"/{one.scope}?token={one.token}" for one in (person, confirming, other)]
        for path in [*PAGES, *links, "/manage/removal", "/manage?kept", "/manage?done=changed"]:
            await visit.page.goto(here.settings.origin + path)
            if path == "/docs":
                await visit.page.locator(".opblock").first.wait_for()
            assert await visit.page.evaluate(WIDEST), path
            assert await visit.page.locator("h1:visible").count() == 1, path
            assert await visit.page.locator("meta[http-equiv]").count() == 0, path
            fields = visit.page.locator("main input:not([type=hidden]):visible")
            for n in range(await fields.count()):
                assert await fields.nth(n).evaluate("field => field.labels.length"), path
