"""One person's whole way in German: page, email, confirm, manage, change of address, removal."""

import re
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from docs.pictures.walk import links_to
from docs.translations import read
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.processes.ports import free_port
from tests.support.processes.running import running_api
from tests.support.servers.browser import visiting

ADA, NEW = "ada@example.com", "ada@example.org"
#: Whole words that no German text has: one on a page means that a text was forgotten.
ENGLISH = re.compile(r"\b(the|you|your|and|this|with|please|address|from|sign)\b", re.IGNORECASE)


@pytest.fixture
async def origin(make_settings: Callable[..., Settings]) -> AsyncIterator[str]:
    """All of Reach, as on anybody's machine."""
    settings = make_settings(port=free_port(), form_min_seconds=0, brand_name="Ada")
    async with running_api(settings, "up"):
        yield settings.origin


def german(text: str) -> str:
    """Give a text as the catalogue has it."""
    found = read("de").get(text)
    assert found is not None, text
    return str(found.string)


async def is_german(page: Page, heading: str) -> None:
    """Look at a page: its heading, what it says of its language, and all of its words."""
    await expect(page.locator("h1")).to_have_text(german(heading))
    assert await page.evaluate("document.documentElement.lang") == "de"
    words = await page.locator("main").inner_text()
    assert not ENGLISH.search(words), words


async def mails_to(origin: str, email: str) -> list[tuple[str, str, str]]:
    """Give the subject, the language and the text of each email to an address, the newest first."""
    found = []
    async with httpx.AsyncClient(base_url=origin) as http:
        for mail in (await http.get("/mailbox/messages")).json():
            if mail["to"] == email:
                one = (await http.get(f"/mailbox/messages/{mail['id']}")).json()
                headers = {name.lower(): value for name, value in one["headers"]}
                found.append((mail["subject"], headers["content-language"], one["text"]))
    return found


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
async def test_all_of_it_is_in_german(browser: Browser, origin: str, scripts: bool) -> None:
    """By a browser that prefers German; each email too, and none has a word of English."""
    async with visiting(browser, locale="de-DE", java_script_enabled=scripts) as visit:
        page = visit.page
        await page.goto(origin)
        await expect(page).to_have_title(
            german("Sign up to %(brand_name)s") % {"brand_name": "Ada"}
        )
        await page.locator("[name=name]").fill("Ada Lovelace")
        await page.locator("[name=email]").fill(ADA)
        await page.get_by_role("button", name=german("Sign up")).click()
        await is_german(page, "Check your inbox")
        welcome = await links_to(origin, ADA)
        await page.goto(welcome["confirm"])
        await is_german(page, "Is this your address?")
        await page.get_by_role("button", name=german("Yes, confirm it")).click()
        await is_german(page, "Your address is confirmed")
        await page.goto(welcome["manage"])
        await is_german(page, "Your data")
        await page.locator("form[action^='/manage/address'] [name=email]").fill(NEW)
        await page.get_by_role("button", name=german("Send the email")).click()
        await is_german(page, "Your data")
        await page.goto((await links_to(origin, NEW))["address"])
        await is_german(page, "Use this address from now on?")
        await page.get_by_role("button", name=german("Yes, use this address")).click()
        await page.goto(f"{origin}/links")
        await page.locator("[name=email]").fill(NEW)
        await page.get_by_role("button", name=german("Email me a link")).click()
        await is_german(page, "Check your inbox")
        await page.goto(await manage_link(origin))
        await is_german(page, "Your data")
        await page.get_by_role("link", name=german("Delete all my data…")).click()
        await is_german(page, "Delete everything?")
        await page.get_by_role("button", name=german("Yes, delete everything")).click()
        await is_german(page, "Your data is deleted")
    sent = [*await mails_to(origin, ADA), *await mails_to(origin, NEW)]
    assert len(sent) == 5
    for subject, language, text in sent:
        assert language == "de"
        words = re.sub(r"http\S+|\S+@\S+", "", text)
        assert not ENGLISH.search(subject + words), (subject, words)


async def manage_link(origin: str) -> str:
    """Wait for the link that was asked for at the new address."""

    async def newest() -> str | None:
        return (await links_to(origin, NEW)).get("manage")

    return str(await eventually(newest, every=0.1))
