"""Somebody's whole way through the pages, in any language: for pictures and for tests."""

import asyncio
import re
from collections.abc import Awaitable, Callable

import httpx
from playwright.async_api import Page

#: What is done at each page, whose name it is given.
See = Callable[[Page, str], Awaitable[None]]

BUTTON = "main form button[type=submit]"
#: Pages that anybody can open, by the names of their pictures.
PAGES = {
    "links": "/links",
    "link-void": "/manage?token=x",
    "links-stopped": "/manage/voided",
    "no-cookies": "/confirm?kept",
    "nothing-here": "/nowhere",
    "problem": "/problems/quota-exceeded",
    "german": "/?lang=de",
    "mailbox": "/mailbox",
    "docs": "/docs",
    "frame": "/embed",
}


async def walk(page: Page, origin: str, email: str, see: See) -> None:
    """Sign up (with a slip or two), confirm, manage and remove; then look at all other pages."""
    await page.goto(origin)
    await see(page, "sign-up")
    await _sign_up(page, origin, "www.example.com", "ada@")
    await see(page, "sign-up-wrong")
    await _sign_up(page, origin, "Ada Lovelace", email.replace("example.com", "gmial.com"))
    await see(page, "did-you-mean")
    await _sign_up(page, origin, "Ada Lovelace", email)
    await page.wait_for_url("**/check-your-inbox")
    await see(page, "check-your-inbox")
    links = await links_to(origin, email)
    await page.goto(links["confirm"])
    await see(page, "confirm")
    await page.locator(BUTTON).click()
    await see(page, "confirmed")
    await page.goto(links["manage"])
    await see(page, "manage")
    await page.locator("[name=name]").fill("Ada King")
    await page.locator("form:has([name=name]) button").click()
    await see(page, "manage-changed")
    await page.goto(f"{origin}/manage/removal")
    await see(page, "removal")
    await page.locator(BUTTON).click()
    await see(page, "removed")
    for name, path in PAGES.items():
        await page.goto(f"{origin}{path}")
        await see(page, name)


async def _sign_up(page: Page, origin: str, name: str, email: str) -> None:
    await page.goto(origin)
    # What is wrong is for Reach to say, and not for the browser.
    await page.locator("main form").evaluate("form => { form.noValidate = true }")
    await page.locator("[name=name]").fill(name)
    await page.locator("[name=email]").fill(email)
    await page.locator(BUTTON).click()


async def links_to(origin: str, email: str) -> dict[str, str]:
    """Wait for somebody's email; give the links in it by their scopes. Raises TimeoutError."""
    async with httpx.AsyncClient(base_url=origin) as http:
        for _ in range(200):
            mails = (await http.get("/mailbox/messages")).json()
            ids = [mail["id"] for mail in mails if mail["to"] == email]
            if ids:
                text = (await http.get(f"/mailbox/messages/{ids[0]}")).json()["text"]
                return {m[2]: m[1] for m in re.finditer(r"(http\S+/(\w+)\?token=\S+)", text)}
            await asyncio.sleep(0.1)
    raise TimeoutError(email)
