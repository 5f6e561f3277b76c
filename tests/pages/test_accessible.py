"""Every page, for everybody: axe finds nothing, nobody scrolls sideways, the keyboard is enough."""

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from babel.messages.pofile import write_po
from playwright.async_api import Browser, Page, expect

from docs.pictures.walk import PAGES, walk
from docs.translations import extract
from reach.settings import Settings
from tests.support.processes.ports import free_port
from tests.support.processes.running import running_api
from tests.support.servers.browser import WIDEST, visiting

#: The tools of others that pages hold are not ours to mend; all that is around them is.
OTHERS = {"docs": "#docs", "mailbox": "iframe"}
#: Markup and values, which stay as they are; the letters between them become Hebrew ones.
KEPT = re.compile(r"(%\(\w+\)[sd]|<[^>]*>)")


def pseudo(text: str) -> str:
    """Translate a text into something as long as Finnish, written from right to left."""
    parts = KEPT.split(text)
    for n in range(0, len(parts), 2):
        letters = [chr(0x05D0 + ord(c.lower()) % 22) if c.isalpha() else c for c in parts[n]]
        words = "".join(letters).split(" ")
        parts[n] = " ".join(word + word[: len(word) // 2] for word in words)
    return "".join(parts)


@pytest.fixture(scope="module")
def right_to_left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a catalogue of every text there is, in no language but from right to left."""
    catalog = extract()
    for message in catalog:
        if isinstance(message.id, (list, tuple)):
            message.string = tuple(map(pseudo, message.id))
        elif message.id:
            is_direction = message.context == "direction of writing"
            message.string = "rtl" if is_direction else pseudo(message.id)
    folder = tmp_path_factory.mktemp("catalogues")
    file = folder / "he" / "LC_MESSAGES" / "reach.po"
    file.parent.mkdir(parents=True)
    with file.open("wb") as stream:
        write_po(stream, catalog)
    return folder


@pytest.fixture
async def origin(make_settings: Callable[..., Settings], right_to_left: Path) -> AsyncIterator[str]:
    """All of Reach, as on anybody's machine; the mailbox too, which tests put off."""
    settings = make_settings(
        port=free_port(), form_min_seconds=0, languages="en, de, he", catalogues_dir=right_to_left
    )
    async with running_api(settings, "up"):
        yield settings.origin


@pytest.mark.parametrize(
    ("language", "width", "scheme"),
    [("he", 1280, "light"), ("de", 320, "dark")],
)
async def test_every_page_is_accessible(
    browser: Browser, origin: str, language: str, width: int, scheme: Any
) -> None:
    """Each step of somebody's whole way: by axe's rules, as wide as the window, in its language."""
    seen: list[str] = []
    found: dict[str, list[str]] = {}

    async def look(page: Page, name: str) -> None:
        seen.append(name)
        if name == "docs":
            await page.locator(".opblock").first.wait_for()
        outside = {"exclude": [[OTHERS[name]]]} if name in OTHERS else None
        # Swagger UI has a ``main`` in ours.
        rules = {"landmark-no-duplicate-main": {"enabled": name != "docs"}}
        results = await Axe().run(page, outside, {"rules": rules})
        broken = [
            f"{rule['id']}: {node['html'][:200]}"
            for rule in results.response["violations"]
            for node in rule["nodes"]
        ]
        if not await page.evaluate(WIDEST):
            broken.append("wider than the window")
        wanted = "de" if name == "german" else language
        if await page.evaluate("document.documentElement.lang") != wanted:
            broken.append("in another language")
        if broken:
            found[name] = broken

    viewport: Any = {"width": width, "height": 700}
    async with visiting(browser, viewport=viewport, color_scheme=scheme, locale=language) as visit:
        await walk(visit.page, origin, "ada@example.com", look)
    assert found == {}
    assert len(seen) == len(set(seen)) >= len(PAGES) + 10


async def test_the_keyboard_is_enough(browser: Browser, origin: str) -> None:
    """Signed up and sent again without a mouse; what has the focus can be seen."""
    async with visiting(browser) as visit:
        page = visit.page
        await page.goto(origin)
        for field, text in (("name", "Ada"), ("email", "ada@example.com")):
            for _ in range(10):
                await page.keyboard.press("Tab")
                if await page.evaluate("document.activeElement.name") == field:
                    break
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert await page.evaluate(outline) == "solid"
            await page.keyboard.type(text)
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/check-your-inbox")
        for _ in range(10):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.type") == "submit":
                break
        async with page.expect_navigation():
            await page.keyboard.press("Enter")
        await expect(page.locator("main strong")).to_have_text("ada@example.com")
