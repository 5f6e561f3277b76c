"""Every email as a browser shows it: on telephones and desks, in light and dark."""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from reach.mail.samples import DATA, sample, sample_composer
from tests.support.emails import BRANDS, LANGUAGES, branded, html_of
from tests.support.servers.browser import WIDEST, visiting

WIDTHS = (320, 390, 700)
#: The contrast of each text with what is behind it, by WCAG 2.2; what nobody sees is left out.
CONTRASTS = """() => {
  const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const numbers = color => color.match(/[\\d.]+/g).map(Number);
  const luminance = color => {
    const [r, g, b] = numbers(color).map(channel);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const isSeen = element => element.getClientRects().length > 0;
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((numbers(color)[3] ?? 1) === 1) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim(), element = walker.currentNode.parentElement;
    if (!text || !isSeen(element)) continue;
    const pair = [getComputedStyle(element).color, behind(element)].map(luminance);
    const [light, dark] = pair.sort((a, b) => b - a);
    found.push([text, (light + 0.05) / (dark + 0.05)]);
  }
  return found;
}"""
#: There is nothing left to do for who gets them.
LAST_WORDS = ("address-changed",)
#: Each element that reaches beyond the window, on either side.
BEYOND = """() => [...document.body.querySelectorAll("*")].filter(element => {
  const box = element.getBoundingClientRect();
  return box.width > 0 && (box.left < -0.5 || box.right > innerWidth + 0.5);
}).map(element => element.outerHTML.slice(0, 80))"""


async def judge(page: Page, html: str, *, has_button: bool = True) -> None:
    """Show an email, and fail if somebody could not read or use it."""
    await page.set_content(html)
    assert await page.evaluate(WIDEST)
    assert await page.evaluate(BEYOND) == []
    contrasts = await page.evaluate(CONTRASTS)
    assert len(contrasts) > 5
    assert [found for found in contrasts if found[1] < 4.5] == []
    assert not await page.locator(".preheader").is_visible()
    buttons = page.locator("a.press")
    assert await buttons.count() == has_button
    if has_button:
        assert await buttons.is_visible()
        box = await buttons.bounding_box()
        assert box is not None
        assert box["height"] >= 44


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("brand", BRANDS)
async def test_every_email_can_be_read_and_used_everywhere(
    browser: Browser, brand: str, scheme: Any
) -> None:
    """Nothing scrolls sideways; the button is there, to be hit by a thumb; contrast is 4.5."""
    async with visiting(browser, color_scheme=scheme) as visit:
        page = visit.page
        await page.route("https://fern.example/**", lambda route: route.fulfill(body=b""))
        for template in sorted(DATA):
            for number, language in enumerate(LANGUAGES):
                data = number % len(DATA[template])
                html = html_of(brand, template, data, language)
                # Other languages' words are longer; what could overflow does so where it is narrow.
                for width in WIDTHS if number == 0 else WIDTHS[:1]:
                    await page.set_viewport_size({"width": width, "height": 800})
                    await judge(page, html, has_button=template not in LAST_WORDS)
        visit.hosts -= {"fern.example"}


@pytest.mark.parametrize("color", ["#ffffff", "#000000", "#ff0000", "#ffd500", "#777777"])
async def test_a_button_can_be_read_whatever_the_brands_colour(
    browser: Browser, color: str
) -> None:
    """In both schemes: what stands on it has a contrast of 4.5 where the colour lets it."""
    html = html_of("none", "welcome", 0, "en", brand_color=color)
    for scheme in ("light", "dark"):
        options: Any = {"color_scheme": scheme}
        async with visiting(browser, **options) as visit:
            await visit.page.set_viewport_size({"width": 390, "height": 800})
            await judge(visit.page, html)


async def test_no_email_loads_anything_but_the_makers_logo(browser: Browser) -> None:
    """One request, to where the logo is; none if there is none."""
    for brand, hosts in (("whole", {"fern.example"}), ("none", set())):
        async with visiting(browser) as visit:
            await visit.page.route("https://fern.example/**", lambda route: route.fulfill(body=b""))
            for template in sorted(DATA):
                await visit.page.set_content(html_of(brand, template, 0, "en"))
            assert visit.hosts == hosts
            visit.hosts.clear()


async def test_a_logo_that_is_blocked_is_the_name(browser: Browser) -> None:
    """Most programs load no picture until somebody asks: then its alternative text is there."""
    async with visiting(browser) as visit:
        await visit.page.set_content(html_of("whole", "welcome", 0, "en"))
        logo = visit.page.get_by_role("img", name="Fern & Moss")
        assert await logo.is_visible()
        visit.complaints.clear()
        visit.hosts.clear()


async def test_an_email_can_be_written_from_right_to_left(browser: Browser, tmp_path: Path) -> None:
    """A catalogue says so; the column, the card and the button then begin on the right."""
    folder = tmp_path / "ar" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "reach.po").write_text(
        'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'
        'msgctxt "direction of writing"\nmsgid "ltr"\nmsgstr "rtl"\n',
        encoding="utf-8",
    )
    settings = branded("none", languages="en,ar", catalogues_dir=tmp_path)
    composer = sample_composer(settings)
    html = composer.render(sample(settings, "welcome", DATA["welcome"][0], language="ar")).html
    async with visiting(browser) as visit:
        page = visit.page
        for width in WIDTHS:
            await page.set_viewport_size({"width": width, "height": 800})
            await judge(page, html)
        card = await page.locator(".card").bounding_box()
        button = await page.locator(".press").bounding_box()
        assert card is not None
        assert button is not None
        assert button["x"] + button["width"] > card["x"] + card["width"] - 60
        assert button["x"] > card["x"] + 100
