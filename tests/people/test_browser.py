"""The form in a real browser: it proves by itself that a person filled it in."""

import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from anyio import to_thread
from playwright.async_api import Browser, Error, async_playwright, expect

from reach.settings import Settings
from tests.support.people import everybody, operator
from tests.support.processes.reach import Reach, running_reach

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A browser that is installed here, on the PATH or by playwright."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    async with async_playwright() as playwright:
        own = await to_thread.run_sync(Path(playwright.chromium.executable_path).exists)
        if path is None and not own:
            pytest.skip("no browser is installed")
        # Chromium's own sandbox needs more than a container gives.
        running = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        await running.close()


@pytest.fixture
async def guarded(settings: Settings) -> AsyncIterator[Reach]:
    """Reach with the proof of work switched on, and a form that may come back at once."""
    changes = {"altcha": True, "form_min_seconds": 0}
    async with running_reach(settings.model_copy(update=changes)) as reach:
        yield reach


async def test_a_person_signs_up(guarded: Reach, browser: Browser) -> None:
    """They type, press the button, and are through; nothing breaks the page's policy."""
    page = await browser.new_page()
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


async def test_nobody_meets_the_trap(guarded: Reach, browser: Browser) -> None:
    """Not by the Tab key, not by the eye, not by a screen reader."""
    page = await browser.new_page()
    await page.goto(guarded.settings.origin)
    reached = []
    for _ in range(8):
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate("document.activeElement.name ?? ''"))
    assert {"name", "email", "description"} <= set(reached)
    assert "motto" not in reached
    await expect(page.locator("[name=motto]")).not_to_be_in_viewport()
    assert "Leave this empty" not in await page.locator("body").aria_snapshot()


async def test_a_check_that_does_not_work_says_so(guarded: Reach, browser: Browser) -> None:
    """Without a challenge the form stays as it is, says so aloud, and works when tried again."""
    page = await browser.new_page()
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
    page = await browser.new_page(java_script_enabled=False)
    await page.goto(guarded.settings.origin)
    await expect(page.get_by_text("needs JavaScript")).to_be_visible()
    await expect(page.get_by_role("button", name="Sign up")).to_be_disabled()
    with pytest.raises(Error, match="Timeout"):
        await page.get_by_role("button", name="Sign up").click(timeout=200)
