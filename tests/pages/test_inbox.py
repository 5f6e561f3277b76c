"""After a form: to which address the email goes, and what to do if none comes."""

import re
from collections.abc import Callable

import pytest

from reach.settings import Settings
from tests.support.forms import BROWSER
from tests.support.people import everybody, operator, owed, templates
from tests.support.processes.reach import ADA, Reach, running_reach
from tests.support.site import Site


def cookie_of(header: str) -> dict[str, str]:
    """Give what a browser would send back."""
    return {"Cookie": header.partition(";")[0]}


def fields_of(page: str) -> dict[str, str]:
    """Give what the page's only form sends."""
    (form,) = re.findall(r"<form.*?</form>", page, re.DOTALL)
    return dict(re.findall(r'name="([^"]+)" (?:type="text" )?value="([^"]*)"', form))


async def test_the_page_says_to_which_address(reach: Reach) -> None:
    """It is in this browser alone: in no address, and in nobody's else page."""
    sent = await reach.http.post("/", data={**ADA, "description": "<b>"}, headers=BROWSER)
    said = sent.headers["set-cookie"]
    assert ("HttpOnly" in said, "Path=/check-your-inbox" in said) == (True, True)
    assert "ada" not in sent.headers["location"]
    page = (await reach.http.get("/check-your-inbox", headers=cookie_of(said))).text
    assert '<strong dir="ltr">ada@example.com</strong>' in page
    reach.http.cookies.clear()
    assert "ada@example.com" not in (await reach.http.get("/check-your-inbox")).text


async def test_it_can_be_sent_again_within_the_budget(
    sqlite: str, make_settings: Callable[..., Settings]
) -> None:
    """By one button; who is over the budget is told the same, and gets no more."""
    settings = make_settings(database_url=sqlite, limit_mail_per_address="3/hour")
    async with running_reach(settings) as reach:
        http = await operator(reach)
        header = (await http.post("/", data=ADA, headers=BROWSER)).headers["set-cookie"]
        statuses = []
        for _ in range(4):
            page = await http.get("/check-your-inbox", headers=cookie_of(header))
            again = await http.post("/", data=fields_of(page.text), headers=BROWSER)
            statuses.append(again.status_code)
        sent = await templates(http)
        names = [person["name"] for person in await everybody(http)]
    assert (statuses, sent, names) == ([303] * 4, ["welcome"] * 3, ["Ada"])


async def test_a_link_can_be_sent_again(reach: Reach) -> None:
    """The page for it sends the form for links, and no name."""
    typed = {"email": ADA["email"]}
    asked = await reach.http.post("/links", data=typed, headers=BROWSER)
    cookie = cookie_of(asked.headers["set-cookie"])
    page = (await reach.http.get("/check-your-inbox?for=link", headers=cookie)).text
    assert '<form method="post" action="/links"' in page
    sent = await reach.http.post("/links", data=fields_of(page), headers=BROWSER)
    assert sent.headers["location"] == "/check-your-inbox?for=link"


@pytest.mark.parametrize("value", ["", "junk", "e30", "e30.", "e30.junk", "a.b.c"])
async def test_what_we_did_not_sign_is_not_shown(reach: Reach, value: str) -> None:
    """A neighbour's site cannot have this page say something."""
    cookie = {"Cookie": f"reach-inbox={value}"}
    page = await reach.http.get("/check-your-inbox", headers=cookie)
    assert page.status_code == 200
    assert "An email is on its way to you." in page.text


async def test_a_form_that_comes_too_often_is_kept(limited: Reach) -> None:
    """The page has what was typed, and says in words when to try again; headers say it too."""
    http = limited.http
    typed = {"name": "Ada <L>", "email": "ada@example.com", "description": "engines"}
    assert (await http.post("/", data=typed, headers=BROWSER)).status_code == 303
    told = await http.post("/", data=typed, headers=BROWSER)
    assert told.status_code == 429
    assert 0 < int(told.headers["retry-after"]) <= 3600
    assert 'value="Ada &lt;L&gt;"' in told.text
    assert 'value="engines"' in told.text
    assert re.search(r"Please try again in (an hour|\d+ minutes)\.", told.text)
    link = await http.post("/links", data={"email": "ada@example.com"}, headers=BROWSER)
    assert (link.status_code, 'value="ada@example.com"' in link.text) == (429, True)
    german = await http.post("/", data=typed, headers={**BROWSER, "Accept-Language": "de"})
    assert "Please try again" not in german.text
    program = await http.post("/", data=typed)
    assert program.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("ada@gmial.com", "ada@gmail.com"),
        ("Ada@GMAI.com", "Ada@gmail.com"),
        ("ada@gmail.con", "ada@gmail.com"),
        ("ada@yaho.com", "ada@yahoo.com"),
        ("ada@outlokk.com", "ada@outlook.com"),
        ("ada@hotmmail.com", "ada@hotmail.com"),
        ("ada@t-onlin.de", "ada@t-online.de"),
    ],
)
async def test_a_slip_is_asked_about_and_never_changed(
    reach: Reach, typed: str, meant: str
) -> None:
    """Two buttons; either signs up the address that it names, and nobody is signed up before."""
    http = await operator(reach)
    form = {"name": "Ada", "email": typed, "description": "a <note>"}
    page = await http.post("/", data=form, headers=BROWSER)
    assert page.status_code == 200
    assert f'Did you mean <strong dir="ltr">{meant}</strong>?' in page.text
    assert await everybody(http) == []
    buttons = re.findall(r"<form.*?</form>", page.text, re.DOTALL)
    for button in buttons:
        sent = dict(re.findall(r'name="(\w+)" (?:type="text" )?value="([^"]*)"', button))
        sent["description"] = sent["description"].replace("&lt;", "<").replace("&gt;", ">")
        assert (await http.post("/", data=sent, headers=BROWSER)).status_code == 303
    people = await everybody(http)
    assert [person["email"] for person in people] == [typed, meant]
    assert {person["description"] for person in people} == {"a <note>"}
    assert len(await owed(http)) == 2


@pytest.mark.parametrize(
    "address",
    [
        "gmail.com",
        "GMAIL.com",
        "mail.com",
        "ymail.com",
        "hotmail.se",
        "yahoo.de",
        "gmail.de",
        "example.com",
        "gmaill.example.com",
        "googlemail.com",
        "gml.com",
    ],
)
async def test_what_is_no_slip_is_not_asked_about(reach: Reach, address: str) -> None:
    """Somebody's domain may be near a well-known one."""
    form = {"name": "Ada", "email": f"ada@{address}"}
    assert (await reach.http.post("/", data=form, headers=BROWSER)).status_code == 303


async def test_a_program_is_not_asked(reach: Reach) -> None:
    """The API takes what it is given."""
    assert (await reach.sign_up("ada@gmial.com")).status_code == 202


@pytest.mark.parametrize("path", ["/", "/links", "/embed"])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("", b""),
        ("application/json", b"{}"),
        ("application/x-www-form-urlencoded", b"name=a&name=b"),
        ("application/x-www-form-urlencoded", b"name=%ff"),
        ("application/x-www-form-urlencoded", b"name=" + b"a" * 70_000),
        ("application/x-www-form-urlencoded", b"name=" + b'"' * 60_000),
    ],
    ids=["none", "json", "twice", "no-text", "large", "long"],
)
async def test_a_refused_form_that_cannot_be_read_is_refused(
    limited: Reach, path: str, kind: str, body: bytes
) -> None:
    """With the 429 that is due, and no more than a page: never a 500, never a line of a crash."""
    await limited.http.post("/links", data={"email": "ada@example.com"}, headers=BROWSER)
    headers = {**BROWSER, **({"Content-Type": kind} if kind else {})}
    told = await limited.http.post(path, content=body, headers=headers)
    assert (told.status_code, "retry-after" in told.headers) == (429, True)
    assert len(told.content) < 10_000


async def test_a_long_form_says_the_right_address(reach: Reach) -> None:
    """What is too long for a cookie leaves the address, and not the one before."""
    http = reach.http
    await http.post("/", data={**ADA, "email": "first@example.com"}, headers=BROWSER)
    for note in ("漢" * 500, "😀" * 500):
        form = {"name": "😀" * 100, "email": "second@example.com", "description": note}
        sent = await http.post("/", data=form, headers=BROWSER)
        cookie = cookie_of(sent.headers["set-cookie"])
        assert len(cookie["Cookie"]) < 4000
        page = (await http.get("/check-your-inbox", headers=cookie)).text
        assert '<strong dir="ltr">second@example.com</strong>' in page
        assert "first@example.com" not in page


async def test_who_is_sure_is_asked_once(reach: Reach) -> None:
    """Sent again, or after a fault elsewhere; another address is another question."""
    form = {"name": "Ada", "email": "ada@gmial.com", "sure": "ada@gmial.com"}
    sent = await reach.http.post("/", data=form, headers=BROWSER)
    page = await reach.http.get("/check-your-inbox", headers=cookie_of(sent.headers["set-cookie"]))
    again = await reach.http.post("/", data=fields_of(page.text), headers=BROWSER)
    assert again.status_code == 303
    wrong = await reach.http.post("/", data={**form, "name": ""}, headers=BROWSER)
    assert '<input type="hidden" name="sure" value="ada@gmial.com">' in wrong.text
    other = await reach.http.post("/", data={**form, "email": "ada@gmai.com"}, headers=BROWSER)
    assert (other.status_code, "Did you mean" in other.text) == (200, True)


async def test_over_https_the_cookie_goes_nowhere_else(make_site: Callable[..., Site]) -> None:
    """Somebody on the way could read an address in it."""
    kept = {"HttpOnly", "Max-Age=900", "Path=/check-your-inbox", "SameSite=lax"}
    urls = {"https://a.example": {"Secure"}, "HTTPS://a.example": {"Secure"}}
    for url, secure in {**urls, "http://127.0.0.1:8000": set()}.items():
        async with make_site(public_url=url, form_min_seconds=0).client() as http:
            header = (await http.post("/", data=ADA)).headers["set-cookie"]
        assert set(header.split("; ")[1:]) == kept | secure, url
