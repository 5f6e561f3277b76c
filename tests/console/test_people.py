"""People at the console: found, added, changed, written to, handed out and erased."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

import pytest

from reach.people import queries
from reach.settings import Settings
from tests.support.console import Console, at_console
from tests.support.people import signed_up
from tests.support.processes.reach import Reach, messages_of, running_reach
from tests.support.trail import trail

HERE = "/console/people"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
async def operator(reach: Reach) -> AsyncIterator[Console]:
    """Somebody who is signed in with every scope, on both databases."""
    async with at_console(reach) as console:
        yield console


def addresses(text: str) -> list[str]:
    """Whom a list shows, in order."""
    return re.findall(r'href="/console/people/[0-9a-f-]{36}"[^>]*>([^<]+)<', text)


def field(text: str, name: str) -> str:
    """What a page's form holds in a field."""
    found = re.search(rf'name="{name}"[^>]* value="([^"]*)"', text)
    assert found, f"no field {name}"
    return found[1]


async def entries(reach: Reach, action: str) -> list[dict[str, Any]]:
    """What the audit trail says of an action."""
    found = await trail(reach.database)
    return [dict(entry.details) for entry in found if entry.action == action]


async def test_people_are_found_in_each_way(reach: Reach, operator: Console) -> None:
    """Every filter and order finds whom it says, with how many they are."""
    assert "Nobody has signed up yet" in (await operator.get(HERE)).text
    for name, language in (("ada", "de"), ("grace", "en"), ("mary", "de")):
        typed = {"name": f"{name.title()} L.", "language": language}
        person = await signed_up(reach, f"{name}@example.com", **typed)
        if name == "ada":
            await reach.database.write(queries.confirm, person.id)
    for query, found in {
        "": ["mary", "grace", "ada"],
        "search=RAC": ["grace"],
        "search=+Ada+L": ["ada"],
        "confirmed=yes": ["ada"],
        "confirmed=no&sort=oldest": ["grace", "mary"],
        "language=de&sort=address": ["ada", "mary"],
        "welcome=queued&sort=address": ["ada", "grace", "mary"],
        "welcome=failed": [],
        "since=2001-01-01&until=2001-12-31": [],
        "until=9998-12-31": ["mary", "grace", "ada"],
    }.items():
        answer = await operator.get(f"{HERE}?{query}")
        assert answer.status_code == 200, query
        assert addresses(answer.text) == [f"{name}@example.com" for name in found], query
        words = {0: "No people", 1: "1 person"}.get(len(found), f"{len(found)} people")
        assert f">{words}" in answer.text, query


@pytest.mark.parametrize(
    "query",
    ["confirmed=perhaps", "welcome=lost", "since=soon", "until=9999-12-31", "cursor=none"],
)
async def test_what_is_wrong_with_a_filter_is_said(console: Console, query: str) -> None:
    """And nobody is shown in place of those who were asked for."""
    answer = await console.get(f"{HERE}?{query}")
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert addresses(answer.text) == []


async def test_everybody_is_on_some_page_once(
    reach: Reach, operator: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The filter and the order stay from page to page."""
    monkeypatch.setattr("reach.console.people.PAGE_ROWS", 2)
    monkeypatch.setattr("reach.db.keyset.MOST_COUNTED", 4)
    for n in range(5):
        await signed_up(reach, f"p{n}@example.com")
    await signed_up(reach, "other@example.org")
    url, seen = f"{HERE}?search=example.com&sort=address", []
    while url:
        text = (await operator.get(url)).text
        assert ">More than 4 people found<" in text
        seen += addresses(text)
        next_ = re.search(r'href="([^"]+cursor=[^"]+)"', text)
        url = next_[1].replace("&amp;", "&") if next_ else ""
    assert seen == [f"p{n}@example.com" for n in range(5)]


async def test_a_person_is_shown_with_all_that_is_known(reach: Reach, operator: Console) -> None:
    """Their record, emails, consent and what was done; each for who may see it."""
    person = await signed_up(reach, name=SCRIPT)
    await operator.post(f"{HERE}/{person.id}", {"name": SCRIPT, "description": "x", "version": "1"})
    text = (await operator.get(f"{HERE}/{person.id}")).text
    assert SCRIPT not in text
    assert "&lt;script&gt;" in text
    for words in ("not confirmed", "the API", "person.change", "/console/messages/"):
        assert words in text
    for scopes, unseen in {
        ("people:read",): [
            "person.change",
            "/console/messages/",
            "/erase",
            "/send",
            "<button>Save",
        ],
        ("people:read", "people:write"): ["person.change", "/console/messages/", "/send"],
    }.items():
        async with at_console(reach, *scopes) as console:
            shown = (await console.get(f"{HERE}/{person.id}")).text
            assert [words for words in unseen if words in shown] == []
            assert ("/erase" in shown) == ("people:write" in scopes)
    missing = await operator.get(f"{HERE}/01a20aee-6a2a-7a2b-8fad-3dec2137a7f1")
    assert missing.status_code == 404


async def test_somebody_is_added(reach: Reach, operator: Console) -> None:
    """By the API's rules and in its words; with a welcome or without; nobody twice."""
    form = {"email": "ada@", "name": "www.spam.example"}
    answer = await operator.post(HERE, form)
    assert answer.status_code == 422
    api = await reach.http.post("/v1/people", json=form, headers=await reach.key())
    for error in api.json()["errors"]:
        assert error["detail"] in answer.text.replace("&#39;", "'")
    assert field(answer.text, "name") == form["name"]
    for n, welcome in enumerate(({"welcome": "yes"}, {})):
        form = {"email": f"a{n}@example.com", "name": "Ada", "language": "", **welcome}
        answer = await operator.post(HERE, form)
        assert answer.status_code == 303
        assert "They are added" in (await operator.get(answer.headers["location"])).text
        assert len(await messages_of(reach)) == 1
    assert await entries(reach, "person.add") == [{"welcome": False}, {"welcome": True}]
    again = await operator.post(HERE, {"email": "A0@Example.com", "name": "Eve"})
    assert again.status_code == 409
    assert "signed up already" in again.text
    assert field(again.text, "name") == "Eve"


async def test_a_stale_form_changes_nothing_and_loses_nothing(
    reach: Reach, operator: Console
) -> None:
    """Who types while another saves is told so, sees both, and may save all the same."""
    person = await signed_up(reach)
    page = f"{HERE}/{person.id}"
    version = field((await operator.get(page)).text, "version")
    typed = {"name": "Ada", "description": "Likes tea", "language": "", "version": version}
    saved = await operator.post(page, {**typed, "name": "Ada King"})
    assert saved.status_code == 303
    stale = await operator.post(page, {**typed, "description": "Likes coffee"})
    assert stale.status_code == 412
    assert "somebody has changed this record" in stale.text
    assert (field(stale.text, "name"), field(stale.text, "description")) == ("Ada", "Likes coffee")
    assert "Ada King</q>" in stale.text
    assert "Likes tea</q>" in stale.text
    stored = await reach.database.read(queries.find, person.id)
    assert stored is not None
    assert (stored.name, stored.description) == ("Ada King", "Likes tea")
    sent = {**typed, "name": "Ada", "version": field(stale.text, "version")}
    assert (await operator.post(page, sent)).status_code == 303
    wrong = await operator.post(page, {**sent, "version": "3", "name": " "})
    assert wrong.status_code == 422
    assert "Not saved" in wrong.text
    assert (await operator.post(page, {**sent, "version": "x"})).status_code == 400
    assert await entries(reach, "person.change") == [
        {"fields": ["name"]},
        {"fields": ["description", "name"]},
    ]


async def test_an_erasure_is_asked_for_and_done(reach: Reach, operator: Console) -> None:
    """The question says what goes; then nothing is left, but for an id in the audit trail."""
    person = await signed_up(reach)
    asked = (await operator.get(f"{HERE}/{person.id}/erase")).text
    assert "ada@example.com" in asked
    assert "1 message to them" in asked
    assert await reach.database.read(queries.find, person.id) is not None
    answer = await operator.post(f"{HERE}/{person.id}/erase")
    assert "is erased" in (await operator.get(answer.headers["location"])).text
    assert await reach.database.read(queries.find, person.id) is None
    assert await messages_of(reach) == []
    assert (await operator.post(f"{HERE}/{person.id}/erase")).status_code == 404
    assert len(await entries(reach, "person.erase")) == 1


async def test_an_email_is_sent_once(reach: Reach, operator: Console) -> None:
    """A form that is sent twice sends one email; a template that needs more is not offered."""
    person = await signed_up(reach)
    text = (await operator.get(f"{HERE}/{person.id}/send")).text
    assert re.findall(r"<option[^>]*>([a-z-]+)<", text) == ["manage-link", "welcome"]
    form = {"template": "manage-link", "once": field(text, "once")}
    places = {(await operator.post(f"{HERE}/{person.id}/send", form)).headers["location"]}
    places.add((await operator.post(f"{HERE}/{person.id}/send", form)).headers["location"])
    assert len(places) == 1
    (sent,) = await messages_of(reach, template="manage-link")
    assert places == {f"/console/messages/{sent['id']}?done=sent"}
    form = {"template": "changed", "once": "another"}
    answer = await operator.post(f"{HERE}/{person.id}/send", form)
    assert answer.status_code == 422
    assert "Known are: manage-link, welcome." in answer.text


async def test_who_has_not_confirmed_gets_what_strangers_get(
    sqlite: str, make_settings: Callable[..., Settings], tmp_path: Any
) -> None:
    """A template of one's own is offered, and refused with the reason."""
    for suffix in ("subject", "txt", "html"):
        (tmp_path / f"news.{suffix}").write_text("Hello {{ name }}", encoding="utf-8")
    settings = make_settings(database_url=sqlite, confirm="required", templates_dir=tmp_path)
    async with running_reach(settings) as reach, at_console(reach) as console:
        person = await signed_up(reach)
        form = {"template": "news", "once": "1"}
        answer = await console.post(f"{HERE}/{person.id}/send", form)
        assert answer.status_code == 409
        assert "have not confirmed" in answer.text
        assert ">news<" in answer.text.replace(" selected", "")


async def test_what_is_found_is_handed_out_as_by_the_api(reach: Reach, operator: Console) -> None:
    """The link of the list gives the very file of ``GET /v1/people/export``, and is noted."""
    for name in ("ada", "grace"):
        await signed_up(reach, f"{name}@example.com", name=f"=cmd({name})")
    text = (await operator.get(f"{HERE}?search=ada")).text
    links = re.findall(r'href="(/console/people/export[^"]+)"', text)
    key = await reach.key()
    for form, link in zip(("csv", "ndjson"), links, strict=True):
        file = await operator.get(link.replace("&amp;", "&"))
        api = await reach.http.get(f"/v1/people/export?search=ada&format={form}", headers=key)
        assert file.content == api.content
        assert file.headers["content-type"] == api.headers["content-type"]
        assert file.headers["content-disposition"] == api.headers["content-disposition"]
        assert b"ada@example.com" in file.content
        assert b"grace" not in file.content
    assert len(await entries(reach, "people.export")) == 4


async def test_a_form_of_elsewhere_changes_nobody(here: Reach, console: Console) -> None:
    """Without the session's proof, or from another page, no form does anything."""
    person = await signed_up(here)
    for path in ("", f"/{person.id}", f"/{person.id}/erase", f"/{person.id}/send"):
        for change in ({"proof": ""}, {"Origin": "https://evil.example"}):
            form = {key: text for key, text in change.items() if key == "proof"}
            headers = {key: text for key, text in change.items() if key == "Origin"}
            answer = await console.post(f"{HERE}{path}", form, **headers)
            assert answer.status_code == 403, path
    assert await here.database.read(queries.find, person.id) is not None


async def test_a_name_that_is_typed_is_only_text(here: Reach, console: Console) -> None:
    """Nothing that was stored or typed becomes a part of a page."""
    person = await signed_up(here, name=SCRIPT)
    attack = '"><img src=x onerror=alert(1)>'
    pages = [
        await console.get(HERE),
        await console.get(f"{HERE}?search={quote(attack)}&language={quote(attack)}"),
        await console.get(f"{HERE}/{person.id}/erase"),
        await console.get(f"{HERE}/{person.id}/send"),
        await console.post(HERE, {"email": attack, "name": attack}),
        await console.post(
            f"{HERE}/{person.id}", {"name": attack, "language": attack, "version": "1"}
        ),
    ]
    for page in pages:
        assert SCRIPT not in page.text
        assert "<img" not in page.text
