"""An operator's whole way through the console, with the keyboard alone: for pictures and tests."""

from playwright.async_api import Page, expect

from docs.pictures.walk import See

#: So many times somebody presses Tab to get anywhere on a page.
MOST_TABS = 80
FOCUSED = "document.activeElement?.innerText?.trim() || document.activeElement?.name || ''"
ADDRESS = "ada.lovelace@example.org"
#: Its own, or that of its row.
OUTLINES = """(() => {
  const one = document.activeElement;
  return [one, one.closest("tr") ?? one].map((part) => getComputedStyle(part).outlineStyle);
})()"""


async def walk_console(page: Page, origin: str, key: str, see: See) -> None:
    """Sign in, look at each part, add somebody and erase them, make a key and revoke it, and go."""
    await page.goto(f"{origin}/console")
    await see(page, "console-sign-in")
    await page.keyboard.type("rk_nothing")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_be_visible()
    await see(page, "console-sign-in-wrong")
    await page.keyboard.type(key)
    await page.keyboard.press("Enter")
    await heading(page, "Overview")
    await expect(page.get_by_text("Live: as of")).to_be_visible()
    await see(page, "console-overview")
    await _look_at_somebody(page, see)
    await press(page, "Templates")
    await heading(page, "Templates")
    await see(page, "console-templates")
    await press(page, "Text", parts="main")
    await expect(page.locator("pre.email")).to_be_visible()
    await see(page, "console-template-text")
    await press(page, "address", parts="main", then="")
    await page.keyboard.type("ops@example.com")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("The test is in the outbox")).to_be_visible()
    await see(page, "console-test-sent")
    await _make_key(page, see)
    await press(page, "Audit")
    await heading(page, "Audit")
    await see(page, "console-audit")
    await press(page, "actor", parts="main", then="")
    await page.keyboard.type("nobody")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Nothing like this was done")).to_be_visible()
    await see(page, "console-audit-nothing")
    await press(page, "For your site")
    await heading(page, "For your site")
    await see(page, "console-site")
    await page.goto(f"{origin}/console/nothing")
    await see(page, "console-nothing")
    await press(page, "Signed in as", parts=".who")
    await press(page, "Sign out", parts=".who")
    await heading(page, "Sign in to the console")


async def _look_at_somebody(page: Page, see: See) -> None:
    """Add a person, see them and their email, and erase them."""
    await press(page, "People")
    await heading(page, "People")
    await press(page, "Add a person", parts="main")
    await heading(page, "Add a person")
    await press(page, "email", parts="main", then="")
    await page.keyboard.type(ADDRESS)
    await press(page, "name", parts="main", then="")
    await page.keyboard.type("Ada Lovelace")
    await see(page, "console-person-new")
    await page.keyboard.press("Enter")
    await heading(page, "Ada Lovelace")
    await see(page, "console-person")
    await press(page, "People")
    await heading(page, "People")
    await see(page, "console-people")
    await press(page, "Messages")
    await heading(page, "Messages")
    await see(page, "console-messages")
    await press(page, ADDRESS, parts="main")
    await expect(page.locator("#email iframe")).to_be_visible()
    await see(page, "console-message")
    await press(page, "Text", parts="main")
    await expect(page.locator("#email pre")).to_be_visible()
    await see(page, "console-message-text")
    await press(page, "People")
    await heading(page, "People")
    await press(page, ADDRESS, parts="main")
    await heading(page, "Ada Lovelace")
    await press(page, "Erase…", parts="main")
    await heading(page, "Erase Ada Lovelace?")
    await see(page, "console-person-erase")
    await press(page, "Erase them", parts="main")
    await heading(page, "People")


async def _make_key(page: Page, see: See) -> None:
    """Make a key, see it once, and revoke it."""
    await press(page, "Keys")
    await heading(page, "Keys")
    await see(page, "console-keys")
    await press(page, "New key", parts="main")
    await heading(page, "New key")
    await page.keyboard.type("shop")
    await press(page, "scope.people:read", parts="main", then="Space")
    await see(page, "console-new-key")
    await press(page, "Make the key", parts="main")
    await heading(page, "The key shop is made")
    await see(page, "console-key-made")
    await press(page, "All keys", parts="main")
    await heading(page, "Keys")
    await press(page, "Revoke shop", parts="main")
    await heading(page, "Revoke the key shop?")
    await see(page, "console-revoke")
    await press(page, "Revoke it", parts="main")
    await expect(page.get_by_text("revoked", exact=True).first).to_be_visible()


async def heading(page: Page, text: str) -> None:
    """Wait for a page that is headed so."""
    await expect(page.locator("h1")).to_have_text(text)


async def press(page: Page, words: str, *, parts: str = ".places", then: str = "Enter") -> None:
    """Go to what is called so by Tab, within a part of the page, and press a key there.

    Raises AssertionError if the keyboard does not get there, or one could not see that it has.
    """
    for _ in range(MOST_TABS):
        await page.keyboard.press("Tab")
        is_within = await page.evaluate("part => !!document.activeElement?.closest(part)", parts)
        found = " ".join((await page.evaluate(FOCUSED)).split())
        if is_within and f"{found} ".startswith(f"{words} "):
            if "solid" not in await page.evaluate(OUTLINES):
                raise AssertionError(f"{words} does not show that it has the focus")
            if then:
                await page.keyboard.press(then)
            return
    raise AssertionError(f"Tab does not get to {words}")
