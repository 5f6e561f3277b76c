"""The form in a real browser: it proves by itself that a person filled it in."""

import re
from collections.abc import AsyncIterator, Callable

import pytest
from playwright.async_api import Browser, Error, Page, expect

from reach.settings import Settings
from tests.support.people import everybody, operator
from tests.support.processes.reach import Reach, running_reach
from tests.support.servers.browser import visiting


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """Offer a page, as somebody sees it who was never here."""
    context = await browser.new_context()
    yield await context.new_page()
    await context.close()


@pytest.fixture
async def guarded(sqlite: str, make_settings: Callable[..., Settings]) -> AsyncIterator[Reach]:
    """Reach with the proof of work switched on, and a form that may come back at once."""
    settings = make_settings(database_url=sqlite, altcha=True, form_min_seconds=0)
    async with running_reach(settings) as reach:
        yield reach


async def test_a_person_signs_up(guarded: Reach, page: Page) -> None:
    """They type, press the button, and are through; nothing breaks the page's policy."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    await page.goto(guarded.settings.origin)
    await page.get_by_label("Your name").fill("Ada")
    await page.get_by_label("Your email address").fill("ada@example.com")
    await page.get_by_role("button", name="Sign up").click()
    await page.wait_for_url("**/check-your-inbox")
    assert said == []
    assert [one["name"] for one in await everybody(await operator(guarded))] == ["Ada"]


async def test_nobody_meets_the_trap(guarded: Reach, page: Page) -> None:
    """Not by the Tab key, not by the eye, not by a screen reader."""
    await page.goto(guarded.settings.origin)
    reached = []
    for _ in range(8):
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate("document.activeElement.name ?? ''"))
    assert {"name", "email", "description"} <= set(reached)
    assert "motto" not in reached
    await expect(page.locator("[name=motto]")).not_to_be_in_viewport()
    assert "Leave this empty" not in await page.locator("body").aria_snapshot()


async def test_a_check_that_does_not_work_says_so(guarded: Reach, page: Page) -> None:
    """Without a challenge the form stays as it is, says so aloud, and works when tried again."""
    await page.goto(guarded.settings.origin)
    await page.route("**/v1/challenge", lambda route: route.abort())
    await page.get_by_label("Your name").fill("Ada")
    await page.get_by_label("Your email address").fill("ada@example.com")
    await page.get_by_role("button", name="Sign up").click()
    await expect(page.get_by_role("status")).to_have_text(re.compile("did not work"))
    await page.unroute("**/v1/challenge")
    await page.get_by_role("button", name="Sign up").click()
    await page.wait_for_url("**/check-your-inbox")
    assert len(await everybody(await operator(guarded))) == 1


async def test_without_scripts_nothing_is_sent(guarded: Reach, browser: Browser) -> None:
    """The page says what to do: nothing is taken for spam without a word."""
    async with visiting(browser, java_script_enabled=False) as visit:
        page = visit.page
        await page.goto(guarded.settings.origin)
        await expect(page.get_by_text("needs JavaScript")).to_be_visible()
        await expect(page.get_by_role("button", name="Sign up")).to_be_disabled()
        with pytest.raises(Error, match="Timeout"):
            await page.get_by_role("button", name="Sign up").click(timeout=200)
