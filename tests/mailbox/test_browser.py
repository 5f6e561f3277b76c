"""The mailbox in a real browser: on a telephone, and while new mail comes in."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from reach.mailbox.news import MOST_LISTENERS
from reach.mailbox.server import Mailbox
from reach.settings import Settings
from tests.support.processes.reach import Reach, running_reach
from tests.support.servers.browser import WIDEST, visiting

LONG = "Sehr-lange-Betreffzeile_ohne_Leerzeichen/" * 6
PHONES: Any = {"width": 320, "height": 640}
DESK: Any = {"width": 1280, "height": 700}
#: Where an element is on the screen.
TOP = "entry => Math.round(entry.getBoundingClientRect().top)"


@pytest.fixture
async def here(sqlite: str, make_settings: Callable[..., Settings]) -> AsyncIterator[Reach]:
    """Reach with its mailbox."""
    settings = make_settings(database_url=sqlite, brand_name="Donaudampfschifffahrtsgesellschaft")
    async with running_reach(settings, mailbox=Mailbox(settings.data_dir / "mailbox")) as reach:
        yield reach


def put(reach: Reach, subject: str, text: str = "Hello") -> None:
    """Put a mail in the mailbox, with words that nothing breaks anywhere."""
    mailbox: Mailbox = reach.app.state.services.mailbox
    address = f"{'a' * 60}@{'d' * 60}.{'e' * 60}.example"
    mailbox.put(
        f"From: {'R' * 50} <{address}>\r\nTo: {address}\r\nSubject: {subject}\r\n"
        "Content-Type: multipart/alternative; boundary=x\r\n\r\n"
        f"--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
        "--x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
        f"<p>{text}</p>\r\n--x--\r\n".encode()
    )


def entry(page: Page, subject: str) -> Any:
    """Find a mail's line in the list."""
    return page.get_by_role("link", name=subject)


@pytest.mark.parametrize(
    ("width", "scheme"), [(320, "light"), (390, "dark"), (768, "light"), (1280, "light")]
)
async def test_the_mailbox_is_never_wider_than_the_screen(
    here: Reach, browser: Browser, width: int, scheme: Any
) -> None:
    """Whatever a mail's subject, addresses and links are; in the list, and in each of its parts."""
    put(here, LONG, f"https://signup.example.com/manage?token={'x' * 300}")
    (mail,) = here.app.state.services.mailbox.list()
    viewport: Any = {"width": width, "height": 700}
    async with visiting(browser, viewport=viewport, color_scheme=scheme) as visit:
        for path in ("", *(f"?message={mail.id}&part={p}" for p in ("html", "text", "source"))):
            await visit.page.goto(f"{here.settings.origin}/mailbox{path}")
            assert await visit.page.evaluate(WIDEST), path
            inside = visit.page.locator("h1, h2, .entry, .tabs, iframe, pre, dd, time")
            for n in range(await inside.count()):
                box = await inside.nth(n).bounding_box()
                assert box is None or box["x"] + box["width"] <= width, path


@pytest.mark.parametrize("viewport", [PHONES, DESK], ids=["telephone", "desk"])
async def test_new_mail_comes_in_and_the_readers_place_stays(
    here: Reach, browser: Browser, viewport: Any
) -> None:
    """The page is not loaded again; what is looked at does not move, and keeps the focus."""
    async with visiting(browser, viewport=viewport) as visit:
        page = visit.page
        await page.goto(f"{here.settings.origin}/mailbox")
        await page.evaluate("window.isSame = true")
        put(here, "Mail 0")
        await expect(entry(page, "Mail 0")).to_be_visible()
        await expect(page.get_by_role("status")).to_have_text("1 new email.")
        await expect(page.get_by_text("No email yet")).to_have_count(0)
        for n in range(1, 40):
            put(here, f"Mail {n}.")
        await expect(page.locator(".entry")).to_have_count(40)
        await expect(page.locator(".entry").first).to_contain_text("Mail 39.")
        place = entry(page, "Mail 12.")
        await place.focus()
        await place.scroll_into_view_if_needed()
        before = await place.evaluate(TOP)
        put(here, "The newest")
        await expect(page.locator(".entry")).to_have_count(41)
        assert await place.evaluate(TOP) == before
        assert await place.evaluate("entry => entry === document.activeElement")
        assert await page.evaluate("window.isSame")


@pytest.mark.parametrize("viewport", [PHONES, DESK], ids=["telephone", "desk"])
async def test_who_reads_a_mail_is_left_alone(here: Reach, browser: Browser, viewport: Any) -> None:
    """The list beside it grows; the mail stays where it is, with what was marked in it."""
    put(here, "First", "word " * 3000)
    (mail,) = here.app.state.services.mailbox.list()
    async with visiting(browser, viewport=viewport) as visit:
        page = visit.page
        await page.goto(f"{here.settings.origin}/mailbox?message={mail.id}&part=text")
        text = page.locator("pre.text")
        await page.evaluate("scrollTo(0, 150)")
        await text.evaluate("one => { one.scrollTop = 90; getSelection().selectAllChildren(one); }")
        before = await text.evaluate(TOP)
        put(here, "Second")
        await expect(page.get_by_role("status")).to_have_text("1 new email.")
        assert await page.locator(".entry").count() == 2
        assert await page.locator(".entry[aria-current]").count() == 1
        assert await text.evaluate(TOP) == before
        assert await text.evaluate("one => one.scrollTop") == 90
        assert await page.evaluate("getSelection().toString().length") > 1000


async def test_a_mailbox_that_does_not_answer_is_asked_again(here: Reach, browser: Browser) -> None:
    """The page says so, and stops saying so; what came meanwhile is there then."""
    news = here.app.state.services.mailbox.news
    async with visiting(browser) as visit:
        page = visit.page
        with ExitStack() as listeners:
            for _ in range(MOST_LISTENERS):
                listeners.enter_context(news.heard())
            await page.goto(f"{here.settings.origin}/mailbox")
            await expect(page.get_by_role("status")).to_have_text("No answer. Asking again…")
            await expect(page.get_by_role("link", name="Look for new emails")).to_be_visible()
            put(here, "There again")
        await expect(entry(page, "There again")).to_be_visible()
        await expect(page.get_by_role("status")).to_have_text("1 new email.")
        await expect(page.get_by_role("link", name="Look for new emails")).to_be_hidden()


async def test_what_is_read_or_deleted_elsewhere_shows(here: Reach, browser: Browser) -> None:
    """In the list, in the title, and without a word of the page loaded again."""
    for n in range(3):
        put(here, f"Mail {n}")
    mailbox: Mailbox = here.app.state.services.mailbox
    ids = [mail.id for mail in mailbox.list()]
    async with visiting(browser) as visit:
        page = visit.page
        await page.goto(f"{here.settings.origin}/mailbox")
        await expect(page).to_have_title(re.compile(r"^\(3\) Mailbox"))
        await page.evaluate("window.isSame = true")
        mailbox.mark_read(ids[0])
        await expect(page.locator(".entry.unread")).to_have_count(2)
        await expect(page.get_by_text("3 emails, 2 unread")).to_be_visible()
        mailbox.delete(ids[1])
        await expect(page.locator(".entry")).to_have_count(2)
        await expect(page).to_have_title(re.compile(r"^\(1\) Mailbox"))
        mailbox.clear()
        await expect(page.get_by_text("No email yet")).to_be_visible()
        await expect(page).to_have_title(re.compile("^Mailbox"))
        put(here, "New")
        await expect(entry(page, "New")).to_be_visible()
        await expect(page.get_by_text("No email yet")).to_have_count(0)
        assert await page.evaluate("window.isSame")


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "none"])
async def test_the_keyboard_alone_will_do(here: Reach, browser: Browser, scripts: bool) -> None:
    """Search, read, look at it as on a telephone, delete; then delete all, after a question."""
    for n in range(3):
        put(here, f"Mail {n}")
    async with visiting(browser, viewport=DESK, java_script_enabled=scripts) as visit:
        page = visit.page

        async def press(role: Any, name: str) -> None:
            target = page.get_by_role(role, name=name, exact=True)
            for _ in range(30):
                await page.keyboard.press("Tab")
                if await target.evaluate("one => one === document.activeElement"):
                    break
            await page.keyboard.press("Enter")

        await page.goto(f"{here.settings.origin}/mailbox")
        await page.get_by_role("searchbox", name="Search emails").focus()
        await page.keyboard.type("mail 1")
        await page.keyboard.press("Enter")
        await expect(page.locator(".entry")).to_have_count(1)
        await page.locator(".entry").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("h2")).to_have_text("Mail 1")
        await press("link", "320 px")
        frame = page.locator("iframe")
        await expect(frame).to_have_class("w320")
        assert await frame.evaluate("one => one.clientWidth") == 320
        await press("button", "Delete")
        await expect(page.get_by_text("No email has these words.")).to_be_visible()
        await press("link", "End the search")
        await expect(page.locator(".entry")).to_have_count(2)
        await press("link", "Delete all…")
        await press("button", "Yes, delete")
        await expect(page.get_by_text("No email yet")).to_be_visible()
    assert not here.app.state.services.mailbox.list()


async def test_a_page_in_the_background_does_not_listen(here: Reach, browser: Browser) -> None:
    """A browser opens few connections to one server: ten such pages would use them up."""
    async with visiting(browser) as visit:
        for _ in range(10):
            page = await visit.page.context.new_page()
            await page.goto(f"{here.settings.origin}/mailbox")
            await page.evaluate(
                "Object.defineProperty(document, 'hidden', {value: true});"
                "document.dispatchEvent(new Event('visibilitychange'))"
            )
        await visit.page.goto(f"{here.settings.origin}/mailbox")
        put(here, "Heard")
        await expect(entry(visit.page, "Heard")).to_be_visible()


async def test_without_scripts_a_link_shows_new_mail(here: Reach, browser: Browser) -> None:
    """Both in the list and beside a mail."""
    async with visiting(browser, java_script_enabled=False) as visit:
        page = visit.page
        await page.goto(f"{here.settings.origin}/mailbox")
        put(here, "First")
        await page.get_by_role("link", name="Look for new emails").click()
        await entry(page, "First").click()
        put(here, "Second")
        await page.get_by_role("link", name="All emails, and new ones").click()
        await expect(entry(page, "Second")).to_be_visible()
