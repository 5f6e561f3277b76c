"""The page where a new link is asked for."""

import re

import pytest

from reach.people.link_requests import answer_some
from reach.problems import ServiceUnavailable
from tests.support.database.locks import held
from tests.support.people import holder
from tests.support.processes.reach import ADA, Reach, change_services, messages_of

BROWSER = {"Accept": "text/html"}


async def test_known_and_unknown_are_answered_alike(reach: Reach) -> None:
    """The same bytes and headers, but for what they typed; only the known one gets an email."""
    await reach.sign_up()
    shown = []
    for email in ("ada@example.com", "nobody@example.com"):
        answer = await reach.http.post("/links", data={"email": email}, headers=BROWSER)
        assert (answer.status_code, answer.headers["location"]) == (
            303,
            "/check-your-inbox?for=link",
        )
        ours = {n: v for n, v in answer.headers.items() if n not in ("date", "x-request-id")}
        _, _, how = ours.pop("set-cookie").partition(";")
        shown.append((answer.content, ours, how))
        assert email not in str(answer.headers)
    assert shown[0] == shown[1]
    await reach.database.write(answer_some, reach.settings)
    mails = await messages_of(reach, template="manage-link")
    assert [mail["recipient"] for mail in mails] == ["ada@example.com"]


async def test_nobody_is_promised_more_than_is_true_for_everybody(reach: Reach) -> None:
    """Who asks for a link may be unknown; who signs up is written to, or was just now."""
    asked = (await reach.http.get("/check-your-inbox?for=link")).text
    signed_up = (await reach.http.get("/check-your-inbox")).text
    assert "If your address is signed up, a link is on its way to you." in asked
    assert "An email is on its way" not in asked
    assert "An email is on its way to you." in signed_up
    for page in ("/links", "/links/void"):
        shown = " ".join((await reach.http.get(page)).text.split())
        assert (
            "f your address is signed up, we " in shown or "Or let us send you a new one" in shown
        )
        assert "We will email you a link" not in shown


async def test_the_sign_up_page_leads_there(reach: Reach) -> None:
    """Who has signed up already need not do it again."""
    assert 'href="/links"' in (await reach.http.get("/")).text
    page = await reach.http.get("/links")
    assert page.status_code == (await reach.http.head("/links")).status_code == 200
    assert '<form method="post" action="/links"' in page.text


@pytest.mark.parametrize("email", ["nobody", "", "a@b", 'x"@example.com'])
async def test_what_is_no_address_comes_back(reach: Reach, email: str) -> None:
    """With what is wrong beside it, and as it was typed."""
    answer = await reach.http.post("/links", data={"email": email}, headers=BROWSER)
    assert answer.status_code == 422
    assert "<title>Error: " in answer.text
    assert re.search(r'<input id="email"[^>]* aria-describedby="email-error"', answer.text)
    assert f'value="{email.replace(chr(34), "&#34;")}"' in answer.text


async def test_a_form_without_an_address(reach: Reach) -> None:
    """Or with more than it has: refused, above the form."""
    for form in ({"name": "Ada"}, {"email": "ada@example.com", "role": "admin"}):
        answer = await reach.http.post("/links", data=form, headers=BROWSER)
        assert answer.status_code == 422
        assert "admin" not in answer.text


async def test_an_outage_keeps_what_was_typed(reach: Reach) -> None:
    """Nobody types it again, and nobody is told what is the matter."""

    async def away(*_: object) -> None:
        raise ServiceUnavailable("It is locked.", retry_after_seconds=7)

    change_services(reach.app, request_link=away)
    answer = await reach.http.post("/links", data={"email": ADA["email"]}, headers=BROWSER)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert 'value="ada@example.com"' in answer.text
    assert "locked" not in answer.text


async def test_ones_record_during_an_outage(reach: Reach) -> None:
    """Reading goes on while nothing can be written; a change says that it was not made."""
    person = await holder(reach)
    async with held(reach.settings, "SELECT id FROM people FOR UPDATE"):
        assert (await person.get("/manage")).status_code == 200
        answer = await person.post("/manage", {"name": "Eve", "description": ""})
        assert answer.status_code == 503
    assert (await person.stored() or {})["name"] == "Ada"
