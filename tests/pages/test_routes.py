"""The pages that everybody may see."""

import re
from collections.abc import Callable

import pytest

from reach.db.errors import OUTCOME_UNKNOWN, DatabaseUnavailable
from reach.problems import ServiceUnavailable, all_problems
from tests.support.processes.reach import change_services
from tests.support.site import Site

ADA = {"name": "Ada", "email": "ada@example.com", "description": ""}
EVERYBODYS_PAGES = ["/", "/check-your-inbox", "/problems/not-found"]


async def test_signing_up_with_the_form(site: Site) -> None:
    """A filled-in form signs up, and leads to a page that can be reloaded without harm."""
    async with site.client() as client:
        answer = await client.post("/", data=ADA | {"description": "I like tea"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/check-your-inbox")
    (request,) = site.signed_up
    assert (request.name, request.description) == ("Ada", "I like tea")
    assert request.email.key == "ada@example.com"


@pytest.mark.parametrize("note", [{"description": ""}, {"description": "  "}, {}])
async def test_an_empty_note_is_none(site: Site, note: dict[str, str]) -> None:
    """What was not written is not stored as an empty text."""
    form = {"name": "Ada", "email": "ada@example.com", **note}
    async with site.client() as client:
        assert (await client.post("/", data=form)).status_code == 303
    assert site.signed_up[0].description is None


async def test_what_is_wrong_is_said_beside_its_field(site: Site) -> None:
    """The page comes back with each fault, tied to its input, and with all that was typed."""
    form = {"name": 'x" onfocus="', "email": "nobody", "description": "<b>&amp;"}
    async with site.client() as client:
        answer = await client.post("/", data=form)
    page = answer.text
    assert answer.status_code == 422
    assert site.signed_up == []
    assert "<title>Error: Sign up" in page
    assert re.search(
        r'<input id="email"[^>]* aria-invalid="true" aria-describedby="email-error"', page
    )
    assert 'id="email-error"' in page
    assert 'href="#email"' in page
    assert 'id="name-error"' not in page
    assert 'value="x&#34; onfocus=&#34;"' in page
    assert 'value="&lt;b&gt;&amp;amp;"' in page
    assert 'value="nobody"' in page


async def test_faults_come_in_the_order_of_the_fields(site: Site) -> None:
    """The summary reads as the form does, from top to bottom."""
    form = {"name": "", "email": "x", "description": "d" * 501}
    async with site.client() as client:
        page = (await client.post("/", data=form)).text
    assert re.findall(r'href="#(\w+)"', page) == ["name", "email", "description"]
    labels = re.findall(r'<label for="(\w+)">(.*?)(?: <span|</label>)', page)
    assert re.findall(r'href="#(\w+)">(.*?)</a>', page) == labels


async def test_a_field_that_the_form_lacks_is_refused(site: Site) -> None:
    """Someone who posts more than the form has is told so, above the form."""
    async with site.client() as client:
        answer = await client.post("/", data=ADA | {"role": "admin"})
    assert answer.status_code == 422
    assert "unknown field" in answer.text
    assert "admin" not in answer.text


async def test_an_outage_keeps_what_was_typed(site: Site) -> None:
    """While the database is unavailable, the form says so, and nobody types it all again."""
    site.failure = ServiceUnavailable("It is locked by another program.", retry_after_seconds=7)
    async with site.client() as client:
        answer = await client.post("/", data=ADA)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert "Not available for a moment" in answer.text
    assert "Please try again in a moment." in answer.text
    assert "locked" not in answer.text
    assert 'value="ada@example.com"' in answer.text


async def test_a_visitor_learns_that_nobody_knows(site: Site) -> None:
    """Whether they signed up is theirs to know, even if the answer is that it is not known."""
    site.failure = DatabaseUnavailable(OUTCOME_UNKNOWN)
    async with site.client() as client:
        answer = await client.post("/", data=ADA)
    assert answer.status_code == 503
    assert OUTCOME_UNKNOWN in answer.text


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"name=%FF", "application/x-www-form-urlencoded", 400),
        (b"{}", "application/json", 415),
        (b"x=" + b"y" * 70_000, "application/x-www-form-urlencoded", 413),
    ],
)
async def test_a_body_that_is_no_form(site: Site, content: bytes, kind: str, status: int) -> None:
    """It is a clear refusal, as everywhere."""
    async with site.client() as client:
        answer = await client.post("/", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status


async def test_text_that_no_page_can_hold(site: Site) -> None:
    """Characters that HTML has no place for come back as something, never as a 500."""
    async with site.client() as client:
        answer = await client.post("/", data=ADA | {"name": "a\0b\u202e", "email": "\x1b"})
    assert answer.status_code in (400, 422)


async def test_pages_name_the_brand(make_site: Callable[..., Site]) -> None:
    """The site that runs Reach appears under its own name, whatever is in it."""
    site = make_site(brand_name="Tea & <Cake>")
    async with site.client() as client:
        for path in EVERYBODYS_PAGES:
            page = (await client.get(path)).text
            assert re.search(r"<title>[^<]*Tea &amp; &lt;Cake&gt;</title>", page)
        assert "<h1>Sign up to Tea &amp; &lt;Cake&gt;</h1>" in (await client.get("/")).text


async def test_addresses_beyond_ascii_can_be_typed(make_site: Callable[..., Site]) -> None:
    """A browser's own check would refuse them before we see them."""
    for smtputf8, kind in ((True, "text"), (False, "email")):
        async with make_site(smtputf8=smtputf8).client() as client:
            page = (await client.get("/")).text
        assert f'<input id="email" name="email" type="{kind}"' in page


@pytest.mark.parametrize("path", EVERYBODYS_PAGES)
async def test_pages_can_do_nothing_but_be_read(site: Site, path: str) -> None:
    """No script, nothing from elsewhere, in no other site's frame, kept by no cache."""
    async with site.client() as client:
        answer = await client.get(path)
        head = await client.head(path)
    assert answer.status_code == head.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "<script" not in answer.text
    assert "style=" not in answer.text
    assert not re.search(r'(href|src|action)="(?!/|#)', answer.text)


async def test_the_inbox_page_is_the_same_for_everybody(site: Site) -> None:
    """It leads to the mailbox only those who may read it."""
    async with site.client() as client:
        here = await client.get("/check-your-inbox")
    async with site.client(peer="192.0.2.7", host="signup.example.org") as client:
        elsewhere = await client.get("/check-your-inbox")
    change_services(site.app, mailbox=None)
    async with site.client() as client:
        without = await client.get("/check-your-inbox")
    assert 'href="/mailbox"' in here.text
    assert 'href="/mailbox"' not in elsewhere.text
    assert without.text == elsewhere.text


async def test_every_problem_has_its_page(site: Site) -> None:
    """The ``type`` of any error leads to words that explain it."""
    assert "no-such-mail" in all_problems()
    async with site.client() as client:
        for slug, kind in all_problems().items():
            answer = await client.get(f"/problems/{slug}")
            assert answer.status_code == 200
            assert f"<h1>{kind.title}</h1>" in answer.text
            assert "``" not in answer.text
        unauthorised = (await client.get("/problems/unauthorised")).text
        assert "<code>Authorization: Bearer rk_…</code>" in unauthorised
        assert (await client.get("/problems/none-such")).status_code == 404


async def test_static_files_are_kept_for_ever_by_their_name(site: Site) -> None:
    """A page names the very version it was made with; another version's is not kept."""
    async with site.client() as client:
        page = (await client.get("/")).text
        names = re.findall(r'href="(/static/[^"]+)"', page)
        assert len(names) == 2
        for name in names:
            answer = await client.get(name)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
            assert (await client.head(name)).status_code == 200
        other = await client.get("/static/reach-000000000000.css")
        assert (other.status_code, other.headers["cache-control"]) == (200, "no-store")
        assert other.headers["content-type"].startswith("text/css")
        for name in ("none-1.css", "reach.py", "..%2frender.py", "%2e%2e/render.py", "x"):
            assert (await client.get(f"/static/{name}")).status_code == 404
