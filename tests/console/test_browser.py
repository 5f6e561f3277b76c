"""The console in a real browser: by the keyboard alone, by axe's rules, without scripts too."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from docs.pictures.console import heading, walk_console
from reach.auth import keys
from reach.settings import Settings
from tests.support.processes.reach import Reach, running_reach
from tests.support.servers.browser import WIDEST, visiting


@pytest.fixture
async def busy(sqlite: str, make_settings: Callable[..., Settings]) -> AsyncIterator[Reach]:
    """Reach, where some have signed up."""
    async with running_reach(make_settings(database_url=sqlite)) as reach:
        for n in range(3):
            await reach.sign_up(f"p{n}@example.com")
        yield reach


async def key_of(reach: Reach) -> str:
    """Make a key with every scope."""
    return (await reach.key())["Authorization"].removeprefix("Bearer ")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
async def test_the_keyboard_is_enough_and_each_page_is_accessible(
    browser: Browser, busy: Reach, width: int, scheme: Any
) -> None:
    """Each step of an operator's way; nothing is blocked, and nothing leaves this machine."""
    found: dict[str, list[str]] = {}
    seen: list[str] = []

    async def look(page: Page, name: str) -> None:
        seen.append(name)
        # What is in the frame is the email's.
        results = await Axe().run(page, {"exclude": [["iframe"]]})
        broken = [
            f"{rule['id']}: {node['html'][:200]}"
            for rule in results.response["violations"]
            for node in rule["nodes"]
        ]
        if not await page.evaluate(WIDEST):
            broken.append("wider than the window")
        if broken:
            found[name] = broken

    viewport: Any = {"width": width, "height": 800}
    async with visiting(browser, viewport=viewport, color_scheme=scheme) as visit:
        await walk_console(visit.page, busy.settings.origin, await key_of(busy), look)
    assert found == {}
    assert len(seen) == len(set(seen)) >= 14


async def test_it_works_without_scripts(browser: Browser, busy: Reach) -> None:
    """Sign in, filter, follow a page of a list, make a key: forms and links do it."""
    origin = busy.settings.origin
    async with visiting(browser, java_script_enabled=False) as visit:
        page = visit.page
        await page.goto(f"{origin}/console/audit?action=key.create")
        await page.get_by_label("API key").fill(await key_of(busy))
        await page.get_by_role("button", name="Sign in").click()
        await heading(page, "Audit")
        assert page.url == f"{origin}/console/audit?action=key.create"
        await page.get_by_label("What", exact=True).select_option("session.start")
        await page.get_by_role("button", name="Find").click()
        await expect(page.locator("tbody tr")).to_have_count(1)
        await page.get_by_role("link", name="Overview").click()
        await page.get_by_text("The same as a table").first.click()
        await expect(page.locator("tbody tr").first).to_be_visible()
        await page.get_by_role("link", name="Templates").click()
        await page.get_by_role("link", name="Source").click()
        await expect(page.locator("pre.email")).to_contain_text("MIME-Version: 1.0")


async def test_an_open_page_leads_to_the_sign_in_once_the_session_is_over(
    browser: Browser, busy: Reach
) -> None:
    """By a script's request, and by the stream of the overview; and back again."""
    origin, key = busy.settings.origin, await key_of(busy)
    async with visiting(browser) as visit:
        page = visit.page
        await page.goto(f"{origin}/console/audit")
        await page.get_by_label("API key").fill(key)
        await page.keyboard.press("Enter")
        await heading(page, "Audit")
        await busy.database.write(keys.revoke, key)
        await page.get_by_label("What", exact=True).select_option("session.start")
        await heading(page, "Sign in to the console")
        await expect(page.get_by_role("status")).to_contain_text("has ended")
        await page.get_by_label("API key").fill(await key_of(busy))
        await page.keyboard.press("Enter")
        await heading(page, "Audit")
