"""Where a form leads back to: exactly an address of ``REACH_RETURN_URLS``, or our own page."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.site import Site

THANKS = "https://www.example.org/thanks"
#: With what a redirect of the framework's would write otherwise.
ODD = "https://www.example.org/a~c?d=e%20f|g#h|i"
OURS = "/check-your-inbox"
ADA = {"email": "ada@example.com", "name": "Ada"}
#: What is nearly an allowed address, or looks like one to some reader.
NEARLY = [
    f"{THANKS}/",
    f"{THANKS}?",
    f"{THANKS}#x",
    f"{THANKS}?next=1",
    f" {THANKS}",
    f"{THANKS} ",
    f"{THANKS}\t",
    f"{THANKS}\r\nSet-Cookie: a=b",
    f"{THANKS}\0",
    THANKS.upper(),
    THANKS.replace("thanks", "Thanks"),
    THANKS.replace("www", "WWW"),
    THANKS.replace("https", "http"),
    THANKS.replace("https:", ""),
    THANKS.replace("www.", "www.example.org@evil."),
    THANKS.replace("www.example.org", "www.example.org.evil.example"),
    THANKS.replace("www.example.org", "www.example.org:443"),
    THANKS.replace("/thanks", "/x/../thanks"),
    THANKS.replace("thanks", "th%61nks"),
    THANKS.replace("//", "/\\"),
    THANKS[:-1],
    "//evil.example",
    "/\\evil.example",
    "/links",
    "javascript:alert(1)",
    "https://evil.example/",
    "*",
]


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """Pages whose forms may lead back to two addresses."""
    return make_site(return_urls=f"{THANKS} {ODD}", form_min_seconds=0, limit_signups="off")


async def led_to(site: Site, field: str | None = None, *query: str, **form: str) -> tuple[int, str]:
    """Sign up, with what a form says of where to lead back to; give where it led."""
    data: dict[str, Any] = {**ADA, **form, **({} if field is None else {"next": field})}
    async with site.client() as http:
        answer = await http.post("/", data=data, params={"next": list(query)} if query else None)
    return answer.status_code, answer.headers.get("location", "")


@pytest.mark.parametrize("address", [THANKS, ODD])
async def test_a_listed_address_is_led_to(site: Site, address: str) -> None:
    """By field or by query, or both; as it is written in the settings."""
    assert await led_to(site, address) == (303, address)
    assert await led_to(site, None, address) == (303, address)
    assert await led_to(site, address, address, address) == (303, address)
    assert await led_to(site, "", address) == (303, address)
    assert len(site.signed_up) == 4


@pytest.mark.parametrize("address", NEARLY)
async def test_no_other_address_is_led_to(site: Site, address: str) -> None:
    """The person is signed up all the same, and sees our page; nothing of it is in a header."""
    assert await led_to(site, address) == (303, OURS)
    assert await led_to(site, None, address) == (303, OURS)
    assert len(site.signed_up) == 2


async def test_of_two_addresses_none_is_led_to(site: Site) -> None:
    """Another reader, a firewall say, may take the one, and we the other."""
    assert await led_to(site, THANKS, ODD) == (303, OURS)
    assert await led_to(site, None, THANKS, ODD) == (303, OURS)
    assert await led_to(site, THANKS, "https://evil.example/") == (303, OURS)
    assert len(site.signed_up) == 3


async def test_a_field_given_twice_is_refused(site: Site) -> None:
    """As every field of a form is."""
    async with site.client() as http:
        answer = await http.post("/", data={**ADA, "next": [THANKS, THANKS]})
    assert (answer.status_code, site.signed_up) == (400, [])


async def test_with_nothing_listed_nobody_is_led_elsewhere(make_site: Callable[..., Site]) -> None:
    """As by default."""
    site = make_site(form_min_seconds=0)
    assert await led_to(site, THANKS) == (303, OURS)
    assert await led_to(site, None, THANKS) == (303, OURS)


@pytest.mark.parametrize("place", ["field", "query"])
async def test_it_survives_all_that_comes_between(site: Site, place: str) -> None:
    """Faults, and the question about a slip: each page hands it on."""
    field = {"next": THANKS} if place == "field" else {}
    params = {"next": THANKS} if place == "query" else {}
    async with site.client() as http:
        for typed in ({**ADA, "name": ""}, {**ADA, "email": "ada@gmial.com"}):
            answer = await http.post("/", data={**typed, **field}, params=params)
            forms = re.findall(r"<form.*?</form>", answer.text, re.DOTALL)
            kept = f'<input type="hidden" name="next" value="{THANKS}">'
            assert forms
            assert all(kept in form for form in forms)
        for named in (THANKS, ODD, "https://evil.example/", THANKS):
            text = (await http.get("/", params={"next": named})).text
            found = re.findall(r'name="next" value="([^"]*)"', text)
            assert found == ([named] if named in (THANKS, ODD) else [])


async def test_pages_that_say_it_is_done_show_it(site: Site) -> None:
    """In a frame nobody is led on: the page says what to do. And that about the inbox, if asked."""
    async with site.client() as http:
        done = await http.post("/embed", data={**ADA, "next": THANKS}, params={"next": THANKS})
        inbox = await http.get("/check-your-inbox", params={"for": "link", "next": THANKS})
    assert (done.status_code, inbox.status_code) == (200, 200)
    assert ADA["email"] in done.text
    assert len(site.signed_up) == 1
    assert "?for=link&amp;next=https%3A%2F%2Fwww.example.org%2Fthanks&amp;lang=de" in inbox.text


async def test_it_survives_a_refusal(make_site: Callable[..., Site]) -> None:
    """The page that says when to try again hands it on."""
    site = make_site(return_urls=THANKS, limit_signups="1/hour")
    async with site.client() as http:
        browser = {"Accept": "text/html"}
        await http.post("/", data=ADA, headers=browser)
        answer = await http.post("/", data={**ADA, "next": THANKS}, headers=browser)
    assert answer.status_code == 429
    assert f'<input type="hidden" name="next" value="{THANKS}">' in answer.text


async def test_what_is_not_listed_is_on_no_page(site: Site) -> None:
    """Nor does a form that comes back repeat it."""
    async with site.client() as http:
        for answer in (
            await http.get("/", params={"next": "https://evil.example/"}),
            await http.post("/", data={**ADA, "name": "", "next": "https://evil.example/"}),
        ):
            assert "evil" not in answer.text + str(answer.headers)


async def test_a_slip_of_a_maker_is_in_the_log_once(site: Site, told: Callable[[], str]) -> None:
    """Without the address, which could be anybody's."""
    for number in range(3):
        await led_to(site, f"{THANKS}/{number}?for=somebody")
    assert told().count("a form names an address that nobody is led to") == 1
    assert "somebody" not in told()


async def test_browsers_are_told_where_forms_may_lead(make_site: Callable[..., Site]) -> None:
    """To the sites of the settings, by their origins, once each; else to ourselves alone."""
    confirmed = "http://127.0.0.1:8180/confirmed"
    site = make_site(
        return_urls=f"{THANKS} {ODD} HTTPS://Shop.Example.org:443/", confirmed_url=confirmed
    )
    sites = "https://shop.example.org https://www.example.org http://127.0.0.1:8180"
    async with site.client() as http:
        policy = (await http.get("/")).headers["content-security-policy"]
    (said,) = re.findall(r"form-action ([^;]*)", policy)
    assert said.split() == ["'self'", *sites.split()]
    async with make_site().client() as http:
        assert "form-action 'self';" in (await http.get("/")).headers["content-security-policy"]


async def test_a_plain_form_is_no_slip(site: Site, told: Callable[[], str]) -> None:
    """Who names no address is not told of in the log."""
    assert await led_to(site) == (303, OURS)
    assert "nobody is led to" not in told()


async def test_a_choice_of_language_keeps_it(site: Site) -> None:
    """Every such link of the page has it."""
    async with site.client() as http:
        page = (await http.get("/", params={"next": THANKS})).text
    links = re.findall(r'href="([^"]*)" lang="', page)
    assert len(links) == 4
    assert all("next=https%3A" in link for link in links)
