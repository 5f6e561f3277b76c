"""Previews of templates, beside the mailbox."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser

from reach.mail.samples import DATA
from reach.mailbox.server import Mailbox
from reach.settings import Settings
from tests.support.processes.reach import change_services, running_reach
from tests.support.servers.browser import WIDEST, visiting
from tests.support.site import Site, site_in

PATHS = ("/mailbox/templates", "/mailbox/templates/welcome?lang=de")


async def test_every_template_is_a_link_away(site: Site) -> None:
    """In every language; the page says which is shown."""
    async with site.client() as client:
        page = (await client.get("/mailbox/templates")).text
        for template in DATA:
            assert f'href="?template={template}&amp;language=en&amp;part=html"' in page
        for language in ("en", "de", "fr", "es"):
            assert f"&amp;language={language}&amp;" in page
        page = (await client.get("/mailbox/templates?template=changed&language=de&part=text")).text
    assert '<pre class="text" dir="auto" tabindex="0">' in page
    assert "this-link-is-a-sample" in page


async def test_what_is_asked_for_and_not_there_is_the_first(site: Site) -> None:
    """No query makes the page fail."""
    async with site.client() as client:
        for query in ("template=nope", "language=nl", "part=pdf", "template=../welcome"):
            answer = await client.get(f"/mailbox/templates?{query}")
            assert answer.status_code == 200
            assert 'src="/mailbox/templates/welcome?lang=en"' in answer.text


@pytest.mark.parametrize(
    ("part", "media_type", "words"),
    [
        ("html", "text/html", '<!DOCTYPE html><html lang="de"'),
        ("text", "text/plain", "this-link-is-a-sample"),
        ("subject", "text/plain", "Sample Name"),
        ("source", "text/plain", "Content-Language: de"),
    ],
)
async def test_an_email_is_shown_shut_in(
    site: Site, part: str, media_type: str, words: str
) -> None:
    """It runs nothing and sends nothing, as an email in the mailbox."""
    async with site.client() as client:
        answer = await client.get(f"/mailbox/templates/welcome?lang=de&part={part}")
    assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert words in answer.text
    assert answer.headers["content-language"] == "de"
    assert answer.headers["content-security-policy"].startswith("sandbox ")
    assert "img-src data:;" in answer.headers["content-security-policy"]


async def test_the_logo_may_be_shown(tmp_path: Path) -> None:
    """And nothing else of elsewhere."""
    site = site_in(tmp_path, brand_logo="https://cdn.example.org/logo.png")
    async with site.client() as client:
        policy = (await client.get(PATHS[1])).headers["content-security-policy"]
    assert "img-src https://cdn.example.org data:;" in policy
    (tmp_path / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n and so on")
    site = site_in(tmp_path, brand_logo=str(tmp_path / "logo.png"))
    async with site.client() as client:
        policy = (await client.get(PATHS[1])).headers["content-security-policy"]
    assert "img-src http://127.0.0.1:8000 data:;" in policy


@pytest.mark.parametrize("path", ["nope", "layout", "welcome?lang=nl", "..%2Fwelcome"])
async def test_what_is_not_there_is_a_404(site: Site, path: str) -> None:
    """As any page that there is not."""
    async with site.client() as client:
        assert (await client.get(f"/mailbox/templates/{path}")).status_code == 404


async def test_a_broken_template_says_what_is_wrong(tmp_path: Path) -> None:
    """Where its email would be; the page goes on working, and shows it once it is mended."""
    (tmp_path / "welcome.html").write_text("{{ '<b>' }}{{ nmae }}")
    site = site_in(tmp_path, templates_dir=tmp_path)
    async with site.client() as client:
        assert (await client.get(PATHS[0])).status_code == 200
        answer = await client.get(PATHS[1])
        assert "welcome.html, line 1: &#39;nmae&#39; is undefined" in answer.text
        (tmp_path / "welcome.html").write_text("mended")
        assert "mended" in (await client.get(PATHS[1])).text


@pytest.mark.parametrize("path", PATHS)
async def test_strangers_get_nothing(site: Site, path: str) -> None:
    """As with the mailbox: not from another machine, by a proxy, or where there is none."""
    async with site.client() as client:
        assert (await client.get(path)).status_code == 200
        assert (await client.head(path)).status_code == 200
        assert (await client.get(path, headers={"X-Forwarded-For": "x"})).status_code == 404
    async with site.client(peer="192.0.2.7") as client:
        assert (await client.get(path)).status_code == 404
    async with site.client(host="evil.example") as client:
        assert (await client.get(path)).status_code == 404
    change_services(site.app, mailbox=None)
    async with site.client() as client:
        assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize("width", [320, 1280])
async def test_the_page_is_never_wider_than_the_screen(
    browser: Browser, sqlite: str, make_settings: Callable[..., Settings], width: int
) -> None:
    """On a telephone, too; the email is in its frame."""
    settings = make_settings(database_url=sqlite)
    mailbox = Mailbox(settings.data_dir / "mailbox")
    async with (
        running_reach(settings, mailbox=mailbox) as reach,
        visiting(browser, viewport={"width": width, "height": 700}) as visit,
    ):
        await visit.page.goto(f"{reach.settings.origin}/mailbox/templates")
        assert await visit.page.evaluate(WIDEST)
        email = visit.page.frame_locator("iframe")
        await email.get_by_role("link", name="Confirm my address").wait_for()
