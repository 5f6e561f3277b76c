"""A form on somebody's own page, in a real browser: by a form, by a script, in a frame.

The page is of another site than Reach (``localhost`` and 127.0.0.1 are two), and its policy is as
strict as can be; the browser keeps no cookies of sites inside other sites' pages.
"""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import FrameLocator, Page, expect

from reach.settings import Settings
from reach.web.snippets import snippets
from tests.support.clock import eventually
from tests.support.people import everybody, operator
from tests.support.processes.reach import Reach, running_reach
from tests.support.servers.browser import WIDEST, NoBrowser, Visit, visiting_without_others_cookies
from tests.support.servers.elsewhere import Elsewhere, elsewhere

SCRIPTS = pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
#: Nothing may be loaded, run or made of text, but what is added.
STRICT = (
    "default-src 'none'; img-src data:; require-trusted-types-for 'script'; trusted-types 'none'"
)
OWN_FORM = """
<form data-reach method="post" action="{}/">
  <label>Name <input name="name"></label> <label>Email <input name="email" type="email"></label>
  <input type="hidden" name="next" value="{}/thanks"><button>Join</button>
</form><script src="{}/embed.js" async></script>
"""
#: Whether a frame has what third parties have not, where cookies of theirs are blocked.
HAS_STORAGE = "() => { try { return Boolean(localStorage) } catch { return false } }"


@dataclass
class OwnSite:
    """Reach, a site of somebody's own, and a visitor of it."""

    reach: Reach
    site: Elsewhere
    visit: Visit

    @property
    def page(self) -> Page:
        """What the visitor sees."""
        return self.visit.page

    async def open(self, html: str, *policy: str) -> None:
        """Visit the page, whose policy admits nothing but what is named."""
        self.site.html, self.site.policy = html, "; ".join((STRICT, *policy))
        await self.page.goto(self.site.origin)

    async def people(self) -> list[tuple[str, str, str | None]]:
        """List who signed up: address, name, language."""
        found = await everybody(await operator(self.reach))
        return [(one["email"], one["name"], one["language"]) for one in found]


Enter = Callable[..., Any]


@pytest.fixture
async def enter(
    sqlite: str, make_settings: Callable[..., Settings], tmp_path: Path
) -> AsyncIterator[Enter]:
    """Offer a site with a visitor; takes what the browser is to be, and settings by name."""
    async with AsyncExitStack() as stack:

        @asynccontextmanager
        async def make(browser: dict[str, Any], **changes: Any) -> AsyncIterator[OwnSite]:
            async with elsewhere() as site:
                given = {"form_min_seconds": 0, "return_urls": f"{site.origin}/thanks", **changes}
                settings = make_settings(database_url=sqlite, **given)
                async with (
                    running_reach(settings) as reach,
                    visiting_without_others_cookies(tmp_path / "browser", **browser) as visit,
                ):
                    yield OwnSite(reach, site, visit)

        async def entered(browser: dict[str, Any] | None = None, **changes: Any) -> OwnSite:
            try:
                return await stack.enter_async_context(make(browser or {}, **changes))
            except NoBrowser as reason:
                pytest.skip(str(reason))

        yield entered


async def fill(where: Page | FrameLocator, email: str = "ada@example.com") -> None:
    """Type a name and an address."""
    await where.get_by_label("Your name").fill("Ada")
    await where.get_by_label("Your email address").fill(email)


async def press(where: Page | FrameLocator, name: str = "Sign up") -> None:
    """Press a button."""
    await where.get_by_role("button", name=name).click()


@SCRIPTS
async def test_a_form_leads_back_to_the_page(enter: Enter, scripts: bool) -> None:
    """By way of whatever is to be put right first, at Reach's own pages."""
    here = await enter({"java_script_enabled": scripts})
    page, origin = here.page, here.reach.settings.origin
    policy = f"form-action 'self' {origin}"
    await here.open(snippets(here.reach.settings)["form"].html, policy)
    await fill(page)
    await press(page)
    await expect(page.get_by_role("heading", name="Thanks")).to_be_visible()
    assert page.url == f"{here.site.origin}/thanks"
    assert await here.people() == [("ada@example.com", "Ada", "en")]
    await here.open(snippets(here.reach.settings)["form"].html, policy)
    await page.get_by_label("Your name").fill("www.spam")
    await page.get_by_label("Your email address").fill("eve@gmial.com")
    await press(page)
    await expect(page.get_by_role("alert")).to_contain_text("A name must not hold")
    await page.get_by_label("Your name").fill("Eve")
    await press(page)
    await press(page, "Yes, use eve@gmail.com")
    await expect(page.get_by_role("heading", name="Thanks")).to_be_visible()
    assert page.url == f"{here.site.origin}/thanks"
    assert [email for email, *_ in await here.people()] == ["eve@gmail.com", "ada@example.com"]


async def test_a_form_with_proof_of_work_leads_back(enter: Enter) -> None:
    """It has none to show, so the page that has the browser make one comes between."""
    here = await enter(altcha=True)
    origin = here.reach.settings.origin
    await here.open(snippets(here.reach.settings)["form"].html, f"form-action 'self' {origin}")
    await fill(here.page)
    await press(here.page)
    await expect(here.page.get_by_role("alert")).to_contain_text("press the button once more")
    await press(here.page)
    await expect(here.page.get_by_role("heading", name="Thanks")).to_be_visible()


@SCRIPTS
async def test_who_sent_too_often_is_led_back_later(enter: Enter, scripts: bool) -> None:
    """The page that says when to try again keeps what was typed, and where to lead back to."""
    here = await enter({"java_script_enabled": scripts}, limit_signups="1/hour")
    origin, html = here.reach.settings.origin, snippets(here.reach.settings)["form"].html
    await here.open(html, f"form-action 'self' {origin}")
    await fill(here.page)
    await here.reach.http.post("/")
    await press(here.page)
    await expect(here.page.get_by_role("alert")).to_contain_text("Please try again in an hour")
    await expect(here.page.get_by_label("Your email")).to_have_value("ada@example.com")
    await expect(here.page.locator("[name=next]")).to_have_value(f"{here.site.origin}/thanks")


def script_policy(here: OwnSite) -> str:
    """What a page's policy must name for the script: as the tutorial says."""
    origin = here.reach.settings.origin
    return f"script-src {origin}; connect-src {origin}"


@pytest.mark.parametrize("proof", [False, True], ids=["no-proof", "proof"])
async def test_a_script_signs_up_in_place(enter: Enter, proof: bool) -> None:
    """Faults beside the fields, a question about a slip, and words of success; by keyboard."""
    here = await enter(altcha=proof)
    page = here.page
    await here.open(snippets(here.reach.settings)["script"].html, script_policy(here))
    await fill(page, "ada")
    await page.get_by_label("Your name").press("Enter")
    email = page.get_by_label("Your email address")
    await expect(email).to_be_focused()
    await expect(email).to_have_attribute("aria-invalid", "true")
    await expect(email).to_have_accessible_description(re.compile("address"))
    await expect(page.get_by_role("status")).to_contain_text("Please look at this again")
    await email.fill("ada@gmial.com")
    await email.press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("Did you mean ada@gmail.com?")
    await expect(page.locator("[aria-invalid]")).to_have_count(0)
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("on its way to ada@gmail.com")
    await expect(page.locator("form")).to_have_count(0)
    assert page.url == f"{here.site.origin}/"
    assert await here.people() == [("ada@gmail.com", "Ada", "en")]
    assert await page.context.cookies() == []
    assert await page.evaluate("localStorage.length + sessionStorage.length") == 0


async def test_a_script_makes_an_accessible_form(enter: Enter) -> None:
    """By axe's rules, in each of its states; at 320 px nothing is wider than the window."""
    here = await enter({"viewport": {"width": 320, "height": 700}})
    page, script = here.page, snippets(here.reach.settings)["script"].html
    # A form for axe, which runs as the page's own: so without a policy.
    here.site.html = f"<main><h1>Elsewhere</h1>{script}</main>"
    await page.goto(here.site.origin)
    broken: list[str] = []

    async def look(said: str) -> None:
        await expect(page.get_by_role("status")).to_contain_text(said)
        results = await Axe().run(page)
        broken.extend(f"{said}: {rule['id']}" for rule in results.response["violations"])
        assert await page.evaluate(WIDEST)

    await fill(page, "ada")
    await look("")
    await press(page)
    await look("Please look at this again")
    await fill(page, "ada@gmial.com")
    await press(page)
    await look("Did you mean")
    await press(page, "No, ada@gmial.com is right")
    await look("on its way to ada@gmial.com")
    assert broken == []


async def test_a_script_enhances_a_form_of_the_page(enter: Enter) -> None:
    """Its own markup stays; nobody is led on."""
    here = await enter()
    origin = here.reach.settings.origin
    await here.open(OWN_FORM.format(origin, here.site.origin, origin), script_policy(here))
    await expect(here.page.get_by_role("status")).to_have_count(1)
    await here.page.get_by_label("Email").fill("ada@example.com")
    await press(here.page, "Join")
    await expect(here.page.get_by_label("Name")).to_be_focused()
    await here.page.get_by_label("Name").fill("Ada")
    await press(here.page, "Join")
    await expect(here.page.get_by_role("status")).to_contain_text("on its way to ada@example.com")
    assert here.page.url == f"{here.site.origin}/"
    assert await here.people() == [("ada@example.com", "Ada", "en")]


async def test_a_script_says_when_it_was_too_often(enter: Enter) -> None:
    """And keeps what was typed."""
    here = await enter(limit_signups="1/hour")
    await here.open(snippets(here.reach.settings)["script"].html, script_policy(here))
    await fill(here.page)
    await here.reach.http.post("/")
    await press(here.page)
    await expect(here.page.get_by_role("status")).to_contain_text("Please try again in an hour")
    await expect(here.page.get_by_label("Your email")).to_have_value("ada@example.com")
    await expect(here.page.get_by_role("button")).to_be_enabled()


async def test_a_script_sends_again_what_got_no_answer(enter: Enter) -> None:
    """The first time the answer is lost: still, one person, one email."""
    here = await enter()
    await here.open(snippets(here.reach.settings)["script"].html, script_policy(here))
    await fill(here.page)
    lost: list[int] = []

    async def lose(route: Any) -> None:
        if route.request.method == "POST" and not lost:
            lost.append((await route.fetch()).status)
            await route.abort()
        else:
            await route.continue_()

    await here.page.route("**/embed.json*", lose)
    await press(here.page)
    await expect(here.page.get_by_role("status")).to_contain_text("on its way")
    here.visit.complaints.clear()  # of the answer that was lost
    assert lost == [202]
    messages = await here.reach.http.get("/v1/messages", headers=await here.reach.key())
    assert [one["template"] for one in messages.json()["items"]] == ["welcome"]


@pytest.mark.parametrize(
    ("old", "new", "language"),
    [
        ("data-reach", 'data-reach data-lang="de-AT"', "de"),
        ("<script", '<script data-lang="es"', "es"),
        ("", "", "en"),
    ],
    ids=["place", "script", "page"],
)
async def test_a_script_speaks_the_language_of_the_page(
    enter: Enter, old: str, new: str, language: str
) -> None:
    """That of ``data-lang``, or of the page, not the browser's; and it is kept with the person."""
    here = await enter({"locale": "fr-FR"})
    html = snippets(here.reach.settings)["script"].html
    await here.open(html.replace(old, new), script_policy(here))
    for said in (here.page.locator("form"), here.page.get_by_role("status")):
        await expect(said).to_have_attribute("lang", language)
        await expect(said).to_have_attribute("dir", "ltr")
    await here.page.locator("[name=name]").fill("Ada")
    await here.page.locator("[name=email]").fill("ada@example.com")
    await here.page.get_by_role("button").click()
    await expect(here.page.locator("form")).to_have_count(0)
    assert await here.people() == [("ada@example.com", "Ada", language)]


async def test_a_script_sets_a_trap(enter: Enter) -> None:
    """Nobody meets it, and no password manager is to fill it in; what does is taken for spam."""
    here = await enter()
    page = here.page
    await here.open(snippets(here.reach.settings)["script"].html, script_policy(here))
    await fill(page)
    trap = page.locator("form [name=motto]")
    await expect(trap).not_to_be_in_viewport()
    for name, value in {
        "tabindex": "-1",
        "inert": "",
        "aria-hidden": "true",
        "data-1p-ignore": "",
        "data-bwignore": "",
        "data-lpignore": "true",
        "data-form-type": "other",
        "autocomplete": "off",
    }.items():
        await expect(trap).to_have_attribute(name, value)
    await trap.evaluate("trap => trap.value = 'https://buy.example'")
    await press(page)
    await expect(page.get_by_role("status")).to_contain_text("on its way to ada@example.com")
    assert await here.people() == []


async def test_without_the_script_there_is_a_link(enter: Enter) -> None:
    """The page is as useful as a page can be without scripts."""
    here = await enter({"java_script_enabled": False})
    await here.open(snippets(here.reach.settings)["script"].html, script_policy(here))
    await here.page.get_by_role("link", name="Sign up").click()
    await expect(here.page.get_by_label("Your email address")).to_be_visible()


@SCRIPTS
async def test_a_frame_signs_up_inside_itself(enter: Enter, scripts: bool) -> None:
    """Without cookies; what is wrong, and what was done, is said in it."""
    async with elsewhere() as other:
        here = await enter({"java_script_enabled": scripts}, embed_origins=other.origin)
        here.site = other
        origin = here.reach.settings.origin
        frame = '<iframe src="{}/embed?lang=en" title="Sign up" width="600" height="700"></iframe>'
        await here.open(frame.format(origin), f"frame-src {origin}")
        inside = here.page.frame_locator("iframe")
        await fill(inside, "ada@gmial.com")
        if scripts:
            assert not await here.page.frames[1].evaluate(HAS_STORAGE)
        await press(inside)
        await press(inside, "Yes, use ada@gmail.com")
        await expect(inside.get_by_text("An email is on its way to ada@gmail.com.")).to_be_visible()
        assert here.page.url == f"{other.origin}/"
        assert await here.people() == [("ada@gmail.com", "Ada", "en")]
        await press(inside, "Send it again")
        await expect(inside.get_by_text("An email is on its way to ada@gmail.com.")).to_be_visible()
        assert await here.page.context.cookies() == []


async def test_a_frame_grows_with_what_is_in_it(enter: Enter) -> None:
    """By the lines that the snippet has for the page around it."""
    async with elsewhere() as other:
        here = await enter(embed_origins=other.origin)
        here.site, origin = other, here.reach.settings.origin
        other.html = snippets(here.reach.settings)["frame"].html
        await here.page.goto(other.origin)
        inside = here.page.frame_locator("iframe")
        await expect(inside.get_by_label("Your name")).to_be_visible()
        frame = next(one for one in here.page.frames if one.url.startswith(origin))
        fits = "document.documentElement.scrollHeight <= innerHeight"

        async def is_whole() -> bool:
            height = await here.page.locator("iframe").evaluate("frame => frame.style.height")
            return height.endswith("px") and bool(await frame.evaluate(fits))

        await eventually(is_whole)


async def test_a_frame_is_shown_on_no_other_page(enter: Enter) -> None:
    """Nor is any other page of Reach's shown in a frame, wherever."""
    async with elsewhere() as other:
        here = await enter(embed_origins=other.origin)
        origin = here.reach.settings.origin
        here.site.html = f'<iframe src="{origin}/embed"></iframe>'
        await here.page.goto(here.site.origin)
        await eventually(lambda: any("frame-ancestors" in said for said in here.visit.complaints))
        here.visit.complaints.clear()
        other.html = f'<iframe src="{origin}/"></iframe>'
        await here.page.goto(other.origin)
        await eventually(lambda: any("frame-ancestors" in said for said in here.visit.complaints))
        here.visit.complaints.clear()
