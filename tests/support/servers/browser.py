"""A real browser, and what it complains of; it can reach this machine and nothing else."""

import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: What Chromium has of its own in every window: two pages for suggestions under an address that
#: nobody types. To load them takes more than to load and use a page of Reach's.
NEVER_SEEN = ("WebUIOmniboxPopup", "WebUIOmniboxAimPopup")
#: The last such flag counts, so this one says what Playwright's own does, too.
TURNED_OFF = (
    *("AimEnabled", "AvoidCorsURLLoaderRestartOnRedirect", "AvoidUnnecessaryBeforeUnloadCheckSync"),
    *("DestroyProfileOnBrowserClose", "HttpsFirstBalancedModeAutoEnable", "HttpsUpgrades"),
    *("LensOverlay", "MediaRouter", "NetworkTimeServiceQuerying", "OptimizationHints"),
    *("PaintHolding", "PreconnectToSearch", "ThirdPartyStoragePartitioning"),
)
FLAGS = (
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--disable-gpu",
    f"--disable-features={','.join((*TURNED_OFF, *NEVER_SEEN))}",
)
#: Chromium says so of every 401 and 422, which are pages like any other.
EXPECTED = "Failed to load resource: the server responded with a status of 4"
#: Of Chromium's content settings: allow is 1.
BLOCKED = 2
#: And of its modes for other sites' cookies.
THIRD_PARTY_BLOCKED = 1


class NoBrowser(Exception):
    """No browser can be had here; ``args[0]`` says why."""


def program() -> str:
    """Find Chromium. Raises NoBrowser."""
    given = os.environ.get("REACH_TEST_BROWSER")
    found = given or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise NoBrowser(
            f"there is no browser: none of {', '.join(NAMES)} on the PATH; "
            "REACH_TEST_BROWSER can name one"
        )
    return found


@dataclass
class Visit:
    """A page in a browser, all that the browser complained of, and where it sent requests."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        context = self.page.context
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("request", lambda request: self._note(request.url))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(EXPECTED):
            self.complaints.append(message.text)

    def _note(self, url: str) -> None:
        if not url.startswith(("data:", "blob:", "about:")):
            self.hosts.add(urlsplit(url).hostname or url)

    def check(self) -> None:
        """Raise AssertionError if something was blocked or broken, or a request left us."""
        assert self.complaints == []
        assert self.hosts <= {"127.0.0.1", "localhost"}


@asynccontextmanager
async def started() -> AsyncIterator[Browser]:
    """Run the browser, without a screen. Raises NoBrowser."""
    path = program()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=FLAGS, chromium_sandbox=os.geteuid() != 0
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visiting_without_cookies(folder: Path, **options: Any) -> AsyncIterator[Visit]:
    """Open a page as somebody who has told their browser to keep no cookies, of no site.

    ``folder`` is for its profile. Raises NoBrowser.
    """
    chosen = {"default_content_setting_values": {"cookies": BLOCKED}}
    async with _visiting_as(folder, chosen, options) as visit:
        yield visit


@asynccontextmanager
async def visiting_without_others_cookies(folder: Path, **options: Any) -> AsyncIterator[Visit]:
    """Open a page as somebody whose browser keeps no cookies of a site inside another's page.

    ``folder`` is for its profile. Raises NoBrowser.
    """
    chosen = {"block_third_party_cookies": True, "cookie_controls_mode": THIRD_PARTY_BLOCKED}
    async with _visiting_as(folder, chosen, options) as visit:
        yield visit


@asynccontextmanager
async def _visiting_as(
    folder: Path, preferences: dict[str, Any], options: dict[str, Any]
) -> AsyncIterator[Visit]:
    chosen = {"profile": preferences}
    profile = folder / "Default"
    profile.mkdir(parents=True)
    (profile / "Preferences").write_text(json.dumps(chosen), encoding="utf-8")
    path = program()
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            folder,
            executable_path=path,
            args=FLAGS,
            chromium_sandbox=os.geteuid() != 0,
            **options,
        )
        visit = Visit(await context.new_page())
        visit.page.set_default_timeout(15_000)
        try:
            yield visit
            visit.check()
        finally:
            await context.close()


@asynccontextmanager
async def visiting(browser: Browser, **options: Any) -> AsyncIterator[Visit]:
    """Open a page, as somebody who was never here; look at the complaints at the end."""
    context = await browser.new_context(**options)
    visit = Visit(await context.new_page())
    visit.page.set_default_timeout(15_000)
    try:
        yield visit
        visit.check()
    finally:
        await context.close()


WIDEST = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
