"""A person changes their address by pages alone: on their record, and at the new address."""

import re
from collections.abc import Callable

import httpx
import pytest

from reach.settings import Settings
from tests.support.database.stored import everything
from tests.support.people import Holder, holder, new_address_token
from tests.support.processes.reach import Reach, running_reach

NEW = "ada@example.org"


async def asked(reach: Reach, email: str = NEW) -> tuple[Holder, Holder]:
    """Have Ada ask for a change; her record's link, and the one to the new address."""
    ada = await holder(reach)
    answer = await ada.post("/manage/address", {"email": email})
    assert (answer.status_code, answer.headers["location"]) == (303, "/manage?done=asked")
    return ada, await there(ada)


async def there(ada: Holder) -> Holder:
    """Who has the newest email to a new address."""
    new = Holder(ada.reach, ada.person_id, "address")
    new.token = await new_address_token(ada.reach, ada.person_id)
    return new


def words(page: httpx.Response) -> str:
    """The text of a page, on one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", page.text).split())


async def email_of(ada: Holder) -> str:
    """Where the record is now."""
    return str((await ada.stored() or {})["email"])


async def test_the_address_changes_by_pages(reach: Reach) -> None:
    """From the form to the button in the new mailbox; each page says where it stands."""
    ada = await holder(reach)
    before = await ada.get("/manage")
    assert 'action="/manage/address"' in before.text
    assert 'action="/manage/address/stop"' not in before.text
    ada, new = await asked_by(ada)
    pending = await ada.get("/manage?done=asked")
    assert "An email is on its way to your new address" in words(pending)
    assert f"We wait for {NEW} to say yes" in words(pending)
    assert 'action="/manage/address/stop"' in pending.text
    page = await new.get("/address")
    assert NEW in page.text
    assert "ada@example.com" not in page.text
    answer = await new.post("/address")
    assert (answer.status_code, answer.headers["location"]) == (303, "/address/done")
    assert 'reach-address=""' in answer.headers["set-cookie"]
    assert "Your address has changed" in (await new.get("/address/done")).text
    assert await email_of(ada) == NEW
    assert (await ada.get("/manage")).status_code == 401
    assert (await new.get("/address")).status_code == 401


async def asked_by(ada: Holder) -> tuple[Holder, Holder]:
    """Have somebody ask for a change."""
    await ada.post("/manage/address", {"email": NEW})
    return ada, await there(ada)


@pytest.mark.parametrize("side", ["old", "new"])
async def test_both_can_stop_it(reach: Reach, side: str) -> None:
    """By a button; its link then leads to the page that says that it does not work."""
    ada, new = await asked(reach)
    if side == "old":
        answer = await ada.post("/manage/address/stop")
        assert answer.headers["location"] == "/manage?done=stopped"
        assert "Your address stays as it is." in (await ada.get("/manage?done=stopped")).text
    else:
        answer = await new.post("/address/stop")
        assert answer.headers["location"] == "/address/stopped"
        assert "Nothing was changed" in (await new.get("/address/stopped")).text
    gone = await new.get("/address")
    assert (gone.status_code, 'action="/links"' in gone.text) == (401, True)
    assert "We wait for" not in words(await ada.get("/manage"))
    assert await email_of(ada) == "ada@example.com"


async def test_a_link_leaves_the_address_and_does_nothing(reach: Reach) -> None:
    """Scanners follow it, with cookies too; its token is in a cookie that no script reads."""
    _, new = await asked(reach)
    before = await reach.database.read(everything)
    for method in ("GET", "HEAD"):
        answer = await reach.http.request(method, f"/address?token={new.token}")
        assert (answer.status_code, answer.headers["location"]) == (303, "/address?kept")
        (said,) = answer.headers.get_list("set-cookie")
        value, *attributes = said.split("; ")
        assert value == f"reach-address={new.token}"
        assert set(attributes) == {"HttpOnly", "Max-Age=3600", "Path=/address", "SameSite=lax"}
        for path in ("/address", "/address/stop", "/address/done", "/address/stopped"):
            await reach.http.request(method, path, headers=new.cookie)
    reach.http.cookies.clear()
    wrong = await reach.http.get(f"/address?token={new.token[:-1]}")
    assert wrong.headers["location"] == "/links/void"
    elsewhere = await reach.http.get(f"/manage?token={new.token}")
    assert elsewhere.headers["location"] == f"/address?token={new.token}"
    assert await reach.database.read(everything) == before


async def test_a_link_to_the_new_address_opens_no_record(reach: Reach) -> None:
    """Put into another cookie it is no better than junk; nor is that to the record, in its own."""
    ada, new = await asked(reach)
    before = await reach.database.read(everything)
    for scope, token in (("manage", new.token), ("confirm", new.token), ("address", ada.token)):
        headers = {"Cookie": f"reach-{scope}={token}", "Origin": reach.settings.origin}
        form = {"form": await new.proof(), "email": NEW}
        assert (await reach.http.get(f"/{scope}", headers=headers)).status_code == 401
        for path in (f"/{scope}", f"/{scope}/address", f"/{scope}/stop", f"/{scope}/removal"):
            answer = await reach.http.post(path, data=form, headers=headers)
            assert answer.status_code in (401, 404, 405), path
    assert await reach.database.read(everything) == before


async def test_no_other_site_presses_a_button(reach: Reach) -> None:
    """Neither to ask, nor to say yes, nor to stop; nor does a page of another link."""
    ada, new = await asked(reach)
    before = await reach.database.read(everything)
    buttons: tuple[tuple[Holder, str, dict[str, str]], ...] = (
        (ada, "/manage/address", {"email": "evil@example.org"}),
        (ada, "/manage/address/stop", {}),
        (new, "/address", {}),
        (new, "/address/stop", {}),
    )
    for whose, path, typed in buttons:
        other = ada if whose is new else new
        for origin, proof in (
            ("https://evil.example", await whose.proof()),
            ("null", await whose.proof()),
            (reach.settings.origin, await other.proof()),
            (reach.settings.origin, ""),
        ):
            headers = {**whose.cookie, "Origin": origin}
            data = {**typed, "form": proof}
            answer = await reach.http.post(path, data=data, headers=headers)
            assert answer.status_code == 403, (path, origin)
    assert await reach.database.read(everything) == before


async def test_an_address_that_has_a_record_is_told_to_its_owner_alone(reach: Reach) -> None:
    """A clear page, a 409; who asked sees that it waits, as for any other."""
    bob = await holder(reach, email="bob@example.com")
    ada, new = await asked(reach, "bob@example.com")
    before = await ada.get("/manage")
    page = await new.post("/address")
    assert page.status_code == 409
    assert "This address has a record here already" in page.text
    assert "ask for a link to it and remove it there" in words(page)
    assert "ada@example.com" not in page.text
    assert words(await ada.get("/manage")) == words(before)
    assert await email_of(bob) == "bob@example.com"


@pytest.mark.parametrize("email", ["nobody", "", "a@b", 'x"@example.com'])
async def test_what_is_no_address_comes_back(reach: Reach, email: str) -> None:
    """As it was typed, with what is wrong beside it; the record's own form is as it is stored."""
    ada = await holder(reach)
    before = await reach.database.read(everything)
    answer = await ada.post("/manage/address", {"email": email})
    assert answer.status_code == 422
    assert re.search(r'id="email"[^>]* aria-invalid="true"', answer.text)
    assert 'href="#email"' in answer.text
    assert 'value="Ada"' in answer.text
    assert 'value="I like tea"' in answer.text
    assert await reach.database.read(everything) == before


async def test_too_often_keeps_what_was_typed(
    make_settings: Callable[..., Settings], sqlite: str
) -> None:
    """429, and when to come back."""
    async with running_reach(make_settings(database_url=sqlite, limit_signups="1/hour")) as reach:
        ada, _ = await asked(reach)
        answer = await ada.post("/manage/address", {"email": "second@example.org"})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        assert 'value="second@example.org"' in answer.text


async def test_who_must_confirm_is_asked_to_first(
    make_settings: Callable[..., Settings], sqlite: str
) -> None:
    """With `REACH_CONFIRM=required` there is no form before that; nor does it work."""
    async with running_reach(make_settings(database_url=sqlite, confirm="required")) as reach:
        ada = await holder(reach)
        page = await ada.get("/manage")
        assert "Please confirm the address that you have now." in words(page)
        assert 'action="/manage/address"' not in page.text
        answer = await ada.post("/manage/address", {"email": NEW})
        assert answer.status_code == 409
        await ada.post("/manage/confirmation")
        assert 'action="/manage/address"' in (await ada.get("/manage")).text


async def test_nothing_of_it_is_logged(reach: Reach, told: Callable[[], str]) -> None:
    """No address, and no token."""
    ada, new = await asked(reach)
    await reach.http.get(f"/address?token={new.token}")
    await new.post("/address")
    written = told()
    assert "/address" in written
    for part in (ada.token, new.token, NEW, "ada@example.com"):
        assert part not in written
