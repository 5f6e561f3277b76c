"""Pages that are somebody's: logo, colour, words, ways back, and templates of one's own."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from reach.settings import BadSettings
from tests.support.site import Site

Make = Callable[..., Site]
PICTURE = b"\x89PNG\r\n\x1a\n and so on"


async def test_a_logo_of_ones_own_file(make_site: Make, tmp_path: Path) -> None:
    """Every page shows it, from here; emails may load it, and it is kept by its name."""
    file = tmp_path / "logo.png"
    file.write_bytes(PICTURE)
    site = make_site(brand_logo=str(file), brand_name="Tea & Cake")
    async with site.client() as client:
        page = await client.get("/")
        (address,) = re.findall(r'<img src="([^"]+)" alt="Tea &amp; Cake">', page.text)
        assert address.startswith("http://127.0.0.1:8000/static/logo-")
        picture = await client.get(address)
        assert (picture.content, picture.headers["content-type"]) == (PICTURE, "image/png")
        assert picture.headers["cross-origin-resource-policy"] == "cross-origin"
        assert "immutable" in picture.headers["cache-control"]
    assert "img-src 'self';" in page.headers["content-security-policy"]


async def test_a_logo_elsewhere(make_site: Make) -> None:
    """Pages may load it from there, and nothing else."""
    site = make_site(brand_logo="https://cdn.example.org/tea.svg")
    async with site.client() as client:
        for path in ("/", "/problems/nowhere"):
            page = await client.get(path, headers={"Accept": "text/html"})
            policy = page.headers["content-security-policy"]
            assert "img-src 'self' https://cdn.example.org;" in policy
            assert '<img src="https://cdn.example.org/tea.svg"' in page.text


async def test_the_brands_words_and_ways(make_site: Make) -> None:
    """Above the form what the maker says; on every page the ways home and to the privacy notice."""
    site = make_site(
        brand_name="Tea",
        brand_intro="Four letters <a> year.",
        home_url="https://example.org/?a=1&b=2",
        privacy_url="https://example.org/privacy",
        postal_address="1 Garden Way, London",
    )
    async with site.client() as client:
        assert "Four letters &lt;a&gt; year." in (await client.get("/")).text
        for path in ("/", "/links", "/check-your-inbox", "/problems/nowhere"):
            page = (await client.get(path, headers={"Accept": "text/html"})).text
            assert '<a class="brand" href="https://example.org/?a=1&amp;b=2">' in page
            assert 'href="https://example.org/privacy"' in page
            assert "1 Garden Way, London" in page


async def test_the_brands_colour_is_in_the_sheet(make_site: Make) -> None:
    """In both schemes; another colour is another address, so nobody sees an old one."""
    sheets = set()
    for color in ("#0b6e4f", "#8a1c3b"):
        async with make_site(brand_color=color).client() as client:
            (address,) = re.findall(r'"(/static/reach-\w+\.css)"', (await client.get("/")).text)
            sheet = (await client.get(address)).text
            assert f"--fill: {color};" in sheet
            assert sheet.index("prefers-color-scheme: dark") < sheet.index("--page:")
            sheets.add(address)
    assert len(sheets) == 2


async def test_a_first_visit_loads_little(make_site: Make) -> None:
    """The page and all that it loads: 15 kB at most, from here alone."""
    async with make_site().client() as client:
        page = await client.get("/")
        loads = re.findall(r'<(?:link|script|img)[^>]*(?:href|src)="([^"]+)"', page.text)
        assert all(address.startswith("/static/") for address in loads)
        files = [(await client.get(address)).content for address in loads]
    whole = len(page.content) + sum(map(len, files))
    assert whole <= 15_000, whole
    assert len(gzip.compress(page.content)) < len(page.content)


async def test_page_templates_of_ones_own(make_site: Make, tmp_path: Path) -> None:
    """File by file: one takes the place of ours, and all others stay."""
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "sign-up.html").write_text(
        '{% extends "layout.html" %}{% block title %}Mine{% endblock %}'
        "{% block main %}<h1>{{ _('Sign up') }} & <b>{{ brand_name }}</b></h1>{% endblock %}"
    )
    async with make_site(pages_dir=folder, brand_name="<Tea>").client() as client:
        page = (await client.get("/")).text
        assert "<h1>Sign up & <b>&lt;Tea&gt;</b></h1>" in page
        assert "Get a link to your data" in (await client.get("/links")).text
        (folder / "sign-up.html").write_text("changed meanwhile")
        assert (await client.get("/")).text == "changed meanwhile"


def test_a_page_template_that_cannot_be_read_is_refused(make_site: Make, tmp_path: Path) -> None:
    """At the start, with its name and its line."""
    folder = tmp_path / "pages"
    with pytest.raises(BadSettings, match="REACH_PAGES_DIR: there is no such folder"):
        make_site(pages_dir=folder)
    folder.mkdir()
    (folder / "links.html").write_text("{{ nope }}")
    with pytest.raises(BadSettings, match=r"REACH_PAGES_DIR: links\.html: no page has nope"):
        make_site(pages_dir=folder)
    (folder / "links.html").write_text("{% if %}")
    with pytest.raises(BadSettings, match=r"REACH_PAGES_DIR: links\.html"):
        make_site(pages_dir=folder)
