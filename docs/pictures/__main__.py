"""Takes the pictures of every page and every email: `make pictures`.

Reach runs as on anybody's machine, and a browser goes somebody's whole way through it. Each page is
taken on a desk and on a phone, the one light and the other dark.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page

from docs.pictures.console import walk_console
from docs.pictures.walk import walk
from reach.mail.samples import DATA
from reach.settings import Settings
from tests.support.processes.ports import free_port
from tests.support.processes.running import running_api
from tests.support.servers.browser import NoBrowser, started

FOLDER = Path(__file__).parent
#: The window and the scheme, by what the picture's name says.
VIEWS: dict[str, Any] = {
    "desk": {"viewport": {"width": 1200, "height": 760}, "color_scheme": "light"},
    "phone": {"viewport": {"width": 390, "height": 780}, "color_scheme": "dark"},
}
#: What emails are read in: a small phone, a phone, a window.
MAIL_VIEWS: dict[int, Any] = {320: "dark", 390: "light", 700: "light"}


async def main() -> None:
    """Take all pictures again."""
    with tempfile.TemporaryDirectory() as folder:
        # Ten forms a minute are enough for anybody but this.
        settings = Settings(
            data_dir=Path(folder), port=free_port(), limit_signups="off", form_min_seconds=0
        )
        async with running_api(settings, "up"), started() as browser:
            for view, options in VIEWS.items():
                await _take_pages(browser, settings.origin, view, options)
                await _take_console(browser, settings, view, options)
            for template in sorted(DATA):
                await _take_email(browser, settings.origin, template)


async def _take_pages(browser: Browser, origin: str, view: str, options: Any) -> None:
    async def shoot(page: Page, name: str) -> None:
        await page.screenshot(path=FOLDER / f"{name}-{view}.png")

    context = await browser.new_context(**options)
    await walk(await context.new_page(), origin, f"{view}@example.com", shoot)
    await context.close()


async def _take_console(browser: Browser, settings: Settings, view: str, options: Any) -> None:
    async def shoot(page: Page, name: str) -> None:
        await page.screenshot(path=FOLDER / f"{name}-{view}.png")

    key = (settings.data_dir / "operator-key").read_text(encoding="utf-8").strip()
    context = await browser.new_context(**options)
    await walk_console(await context.new_page(), settings.origin, key, shoot)
    await context.close()


async def _take_email(browser: Browser, origin: str, template: str) -> None:
    for width, scheme in MAIL_VIEWS.items():
        viewport: Any = {"width": width, "height": 600}
        context = await browser.new_context(viewport=viewport, color_scheme=scheme)
        page = await context.new_page()
        await page.goto(f"{origin}/mailbox/templates/{template}?part=html")
        await page.screenshot(path=FOLDER / f"email-{template}-{width}.png", full_page=True)
        await context.close()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except NoBrowser as reason:
        sys.exit(str(reason))
