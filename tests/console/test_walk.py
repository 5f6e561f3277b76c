"""An operator's way through the console, by the keyboard alone: from a name to the mail that left.

Each page on it is looked at as axe does, wide and light, and narrow and dark.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect
from pydantic import SecretStr

from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.processes.reach import Reach, messages_of, running_reach, running_worker
from tests.support.servers.browser import WIDEST, visiting
from tests.support.servers.mail import MailServer

WIDE: Any = {"width": 1280, "height": 800}
NARROW: Any = {"width": 390, "height": 800}
NO_SUCH = "550 5.1.1 No such mailbox here"
PEOPLE = ("ada", "grace", "mary")
#: So often Tab is pressed at most to come to what is looked for.
MOST_TABS = 60
FOCUSED = """() => {
  const one = document.activeElement;
  return (one.labels?.[0] ?? one).textContent.trim();
}"""


@pytest.fixture
async def working(
    sqlite: str, make_settings: Callable[..., Settings], mail_server: MailServer
) -> AsyncIterator[Reach]:
    """Reach with a worker, whose mail server refuses three people's welcomes."""
    mail_server.script["rcpt"] = NO_SUCH
    smtp_url = SecretStr(mail_server.url)
    settings = make_settings(database_url=sqlite, form_min_seconds=0, smtp_url=smtp_url)
    async with running_reach(settings) as reach, running_worker(reach.settings):
        for name in PEOPLE:
            answer = await reach.sign_up(f"{name}@example.com", f"{name.title()} <script>")
            assert answer.status_code == 202

        async def all_failed() -> bool:
            return len(await messages_of(reach, state="failed")) == len(PEOPLE)

        await eventually(all_failed)
        yield reach


async def tab_to(page: Page, words: str) -> None:
    """Press Tab until what is called so has the focus, which can be seen."""
    for _ in range(MOST_TABS):
        await page.keyboard.press("Tab")
        if (await page.evaluate(FOCUSED)).startswith(words):
            return
    raise AssertionError(f"Tab never comes to {words!r} on {page.url}")


async def follow(page: Page, words: str, path: str) -> None:
    """Tab to a link or a button, and press it."""
    await tab_to(page, words)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**{path}")


class Look:
    """Looks at pages, and keeps what is wrong with them."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.seen: list[str] = []
        self.wrong: list[str] = []

    async def __call__(self, name: str) -> None:
        """Look at the page as it is now, both ways."""
        self.seen.append(name)
        for scheme, size in (("light", WIDE), ("dark", NARROW)):
            options: Any = {"color_scheme": scheme}
            await self._page.emulate_media(**options)
            await self._page.set_viewport_size(size)
            found = (await Axe().run(self._page)).response["violations"]
            nodes = [(rule["id"], node["html"][:200]) for rule in found for node in rule["nodes"]]
            self.wrong += [f"{name}, {scheme}: {rule}: {html}" for rule, html in nodes]
            if not await self._page.evaluate(WIDEST):
                self.wrong.append(f"{name}, {size['width']} px: wider than the window")
        await self._page.set_viewport_size(WIDE)


async def test_the_keyboard_is_enough(
    browser: Browser, working: Reach, mail_server: MailServer
) -> None:
    """Sign in, find a person, find the failed message, read why, retry all, watch it leave."""
    key = (await working.key())["Authorization"].removeprefix("Bearer ")
    async with visiting(browser, viewport=WIDE, reduced_motion="reduce") as visit:
        page, look = visit.page, Look(visit.page)
        await page.goto(f"{working.settings.origin}/console/people")
        await page.keyboard.type(key)
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/console/people")
        await look("people")
        await find_the_reason(page, look)
        gate = mail_server.gate("dot")
        mail_server.script.clear()
        await retry_all(page, look)
        await expect(page.locator(".linked")).to_have_count(len(PEOPLE))
        await look("leaving")
        gate.open()
        await expect(page.get_by_text("None waits")).to_be_visible()
        assert sorted(mail_server.recipients) == [f"{name}@example.com" for name in PEOPLE]
        await see_the_rest(page, look)
    assert look.wrong == [], "\n".join(look.wrong)
    assert len(look.seen) == len(set(look.seen))


async def find_the_reason(page: Page, look: Look) -> None:
    """From the list of people to what the mail server said about one's welcome."""
    await page.keyboard.press("/")
    await page.keyboard.type("ADA")
    await expect(page.get_by_role("status").first).to_have_text("1 person found")
    await follow(page, "ada@example.com", "/console/people/*")
    await expect(page.locator("h1")).to_have_text("Ada <script>")
    await look("person")
    await follow(page, "welcome", "/console/messages/*")
    await expect(page.locator(".try").get_by_text("rejected")).to_be_visible()
    await expect(page.locator(".said")).to_contain_text("550 RCPT TO: 5.1.1 No such mailbox here")
    await expect(page.locator(".meaning")).to_contain_text("it is about this message")
    await expect(page.frame_locator("iframe").get_by_text("Ada <script>").first).to_be_visible()
    await look("message")


async def retry_all(page: Page, look: Look) -> None:
    """From the messages that failed, with how many they are, to those that are queued."""
    await page.keyboard.press("Home")
    await follow(page, "Messages", "/console/messages")
    await tab_to(page, "State")
    await page.keyboard.type("failed")
    await expect(page.get_by_role("status").first).to_have_text("3 messages found")
    await look("failed")
    await follow(page, "Retry all", "/console/messages/retry?state=failed*")
    await expect(page.locator("h1")).to_have_text("Retry 3 messages?")
    await look("asked")
    await follow(page, "Retry all 3", "/console/messages?state=queued*")


async def see_the_rest(page: Page, look: Look) -> None:
    """The pages beside the way."""
    origin = page.url.split("/console")[0]
    for path in ("people?search=nobody", "people/new", "suppressions/new"):
        await page.goto(f"{origin}/console/{path}")
        await look(path)
    await page.goto(f"{origin}/console/people")
    await follow(page, "grace@example.com", "/console/people/*")
    person = page.url
    for name in ("send", "erase"):
        await page.goto(f"{person}/{name}")
        await look(name)
    await page.goto(person)
    await follow(page, "welcome", "/console/messages/*")
    await page.goto(f"{page.url}/email?part=source")
    await look("email")
