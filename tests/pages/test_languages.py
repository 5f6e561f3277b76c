"""Pages in everybody's own language, which is kept with the person."""

import re
from collections.abc import AsyncIterator, Callable

import pytest

from reach.settings import Settings
from tests.support.forms import BROWSER
from tests.support.people import Holder, everybody, holder, new_address_token, operator
from tests.support.processes.reach import ADA, Reach, running_reach

GERMAN = {"Accept-Language": "de-AT,de;q=0.9,en;q=0.1"}
FRENCH = {"Accept-Language": "fr"}
IN_FRENCH = {**ADA, "language": "fr"}


@pytest.fixture
async def english(sqlite: str, make_settings: Callable[..., Settings]) -> AsyncIterator[Reach]:
    """Reach in English alone."""
    async with running_reach(make_settings(database_url=sqlite, languages="en")) as reach:
        yield reach


@pytest.mark.parametrize(
    ("query", "accepted", "language"),
    [
        ("", {}, "en"),
        ("", GERMAN, "de"),
        ("?lang=fr", GERMAN, "fr"),
        ("?lang=FR-ca", {}, "fr"),
        ("?lang=nl", GERMAN, "de"),
        ("?lang=%22%3E%3Cscript%3E", {}, "en"),
        ("?lang=de&lang=es", {}, "es"),
    ],
)
async def test_a_page_is_in_the_readers_language(
    reach: Reach, query: str, accepted: dict[str, str], language: str
) -> None:
    """``?lang=`` counts first, then what the browser says; the answer says which it is."""
    answer = await reach.http.get(f"/{query}", headers=accepted)
    assert f'<html lang="{language}" dir="ltr">' in answer.text
    assert answer.headers["content-language"] == language
    assert answer.headers["vary"] == "Accept-Language"


async def test_a_chosen_language_stays(reach: Reach) -> None:
    """Where a page leads to, by link, form or redirect, has the language too."""
    page = (await reach.http.get("/?lang=de", headers=FRENCH)).text
    assert 'action="/?lang=de"' in page
    assert 'href="/links?lang=de"' in page
    sent = await reach.http.post("/?lang=de", data=ADA, headers={**BROWSER, **FRENCH})
    assert sent.headers["location"] == "/check-your-inbox?lang=de"
    wrong = await reach.http.post("/?lang=de", data={**ADA, "name": ""}, headers=BROWSER)
    assert wrong.headers["content-language"] == "de"
    assert "?lang=" not in (await reach.http.get("/", headers=GERMAN)).text.partition("<footer")[0]


async def test_one_language_is_offered_to_nobody(english: Reach) -> None:
    """There is nothing to choose, and nothing that says so."""
    answer = await english.http.get("/?lang=de", headers=GERMAN)
    assert answer.headers["content-language"] == "en"
    assert "hreflang" not in answer.text


@pytest.mark.parametrize(
    ("sent", "language"),
    [
        (lambda http: http.post("/", data=ADA, headers={**BROWSER, **GERMAN}), "de"),
        (lambda http: http.post("/?lang=es", data=ADA, headers={**BROWSER, **GERMAN}), "es"),
        (lambda http: http.post("/v1/signups", json=ADA, headers=GERMAN), "de"),
        (
            lambda http: http.post("/v1/signups", json={**ADA, "language": "fr"}, headers=GERMAN),
            "fr",
        ),
        (lambda http: http.post("/v1/signups", json={**ADA, "language": "pt-BR"}), "pt-BR"),
        (lambda http: http.post("/v1/signups", json=ADA), None),
        (lambda http: http.post("/v1/signups", json=ADA, headers={"Accept-Language": "nl"}), None),
    ],
    ids=["page", "page-chosen", "API", "API-said", "API-later", "API-none", "API-unknown"],
)
async def test_the_language_is_kept_with_the_person(
    reach: Reach, sent: Callable[..., object], language: str | None
) -> None:
    """What they chose, said, or their browser does; an email of another day is in it too."""
    http = await operator(reach)
    assert (await sent(http)).status_code in (202, 303)  # type: ignore[misc]
    (person,) = await everybody(http)
    assert person["language"] == language


async def test_who_has_not_confirmed_can_choose_again(reach: Reach) -> None:
    """Their next sign-up's language counts, as all that they type; one without leaves it."""
    http = await operator(reach)
    for language, kept in (("de", "de"), ("fr", "fr"), (None, "fr")):
        said = {} if language is None else {"language": language}
        await http.post("/v1/signups", json={**ADA, **said})
        assert [person["language"] for person in await everybody(http)] == [kept]


async def test_a_bad_code_is_refused(reach: Reach) -> None:
    """With what is wrong; nothing is stored."""
    http = await operator(reach)
    answer = await http.post("/v1/signups", json={**ADA, "language": "<b>"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/language"
    assert await everybody(http) == []


async def test_ones_record_is_in_ones_own_language(reach: Reach) -> None:
    """Whatever the browser says, and so is what it leads to; an email says that it was changed."""
    person = await holder(reach)
    bearer = {"Authorization": f"Bearer {person.token}"}
    answer = await reach.http.patch("/v1/me", json={"language": "de"}, headers=bearer)
    assert (answer.status_code, answer.json()["language"]) == (200, "de")
    page = await reach.http.get("/manage", headers={**person.cookie, **FRENCH})
    assert page.headers["content-language"] == "de"
    assert 'href="/manage/removal?lang=de"' in page.text
    agreed = await reach.http.get("/manage", headers={**person.cookie, **GERMAN})
    assert 'href="/manage/removal"' in agreed.text
    assert '<option value="de" lang="de" selected>' in page.text
    chosen = await reach.http.get("/manage?lang=es", headers={**person.cookie, **FRENCH})
    assert chosen.headers["content-language"] == "es"
    assert '<option value="de" lang="de" selected>' in chosen.text


@pytest.mark.parametrize("language", [None, "de-AT"])
async def test_to_save_changes_nothing_that_was_not_changed(
    reach: Reach, language: str | None
) -> None:
    """Not the language either, though it is none of those that can be chosen."""
    person = await holder(reach)
    bearer = {"Authorization": f"Bearer {person.token}"}
    if language:
        await reach.http.patch("/v1/me", json={"language": language}, headers=bearer)
    before = await person.stored()
    page = (await person.get("/manage?lang=fr")).text
    ((value, chosen),) = re.findall(r'<option value="([^"]*)" lang="(..)" selected>', page)
    assert chosen == (language or "en")[:2]
    form = {"name": "Ada", "description": "I like tea", "language": value}
    assert (await person.post("/manage", form)).status_code == 303
    assert await person.stored() == before
    assert (await person.post("/manage", {**form, "language": "es"})).status_code == 303
    assert (await person.stored() or {})["language"] == "es"


async def test_a_choice_of_language_is_kept_while_something_else_is_wrong(reach: Reach) -> None:
    """The form comes back as it was filled in, and is saved as it was."""
    person = await holder(reach)
    bearer = {"Authorization": f"Bearer {person.token}"}
    await reach.http.patch("/v1/me", json={"language": "de"}, headers=bearer)
    for wanted in ("fr", "en", "de"):
        wrong = await person.post("/manage", {"name": "", "description": "", "language": wanted})
        assert wrong.status_code == 422
        (value,) = re.findall(r'<option value="([^"]*)" lang=".." selected>', wrong.text)
        assert value == wanted


async def test_the_longest_code_of_a_language_can_be_stored(reach: Reach) -> None:
    """As BCP 47 writes it: three letters, and two parts of eight; and no longer one."""
    person = await holder(reach)
    bearer = {"Authorization": f"Bearer {person.token}"}
    for code, status in (("abc-12345678-12345678", 200), ("abc-12345678-123456789", 422)):
        answer = await reach.http.patch("/v1/me", json={"language": code}, headers=bearer)
        assert answer.status_code == status


async def test_a_new_address_is_asked_in_the_persons_language(reach: Reach) -> None:
    """The email that leads there was in that language."""
    person = await holder(reach)
    bearer = {"Authorization": f"Bearer {person.token}"}
    await reach.http.patch("/v1/me", json={"language": "de"}, headers=bearer)
    await person.post("/manage/address", {"email": "ada@example.org"})
    there = Holder(reach, person.person_id, "address")
    there.token = await new_address_token(reach, person.person_id)
    assert (await there.get("/address")).headers["content-language"] == "de"


async def test_refusals_are_in_the_readers_language(reach: Reach) -> None:
    """Each that a form can meet: beside the field there is not a word of English."""
    wrong = {
        "name": ["", "a" * 101, "www.example.com", "a@example.com", "\u200b", "A\x07"],
        "email": ["", "x", "a" * 65 + "@example.com", "a@" + "b" * 260 + ".example"],
        "description": ["x" * 501, "a\x1bb"],
    }
    for field, texts in wrong.items():
        for text in texts:
            said = {}
            for headers in ({}, GERMAN):
                form = {**ADA, field: text}
                page = await reach.http.post("/", data=form, headers={**BROWSER, **headers})
                assert page.status_code == 422
                (said[str(headers)],) = [
                    line for line in page.text.splitlines() if f'id="{field}-error"' in line
                ]
            assert len(set(said.values())) == 2, (field, text, said)


async def test_missing_pages_are_in_the_readers_language(reach: Reach) -> None:
    """An error is a page like any other."""
    english = await reach.http.get("/nowhere", headers=BROWSER)
    german = await reach.http.get("/nowhere", headers={**BROWSER, **GERMAN})
    assert (english.status_code, german.status_code) == (404, 404)
    assert "There is nothing here" in english.text
    assert "There is nothing here" not in german.text
    chosen = await reach.http.get("/nowhere?lang=de", headers=BROWSER)
    assert 'class="brand" href="/?lang=de"' in chosen.text


async def test_a_form_is_nobody_elses(reach: Reach) -> None:
    """It is made once for each language, and yet each visit has a time of its own."""
    pages = [(await reach.http.get(f"/{query}")).text for query in ("", "", "?lang=de", "?lang=de")]
    stamps = [re.findall(r'name="started" value="([^"]+)"', page) for page in pages]
    assert len({stamp for (stamp,) in stamps}) == 4
    await reach.http.post("/", data={**ADA, "email": "typed@"}, headers=BROWSER)
    for page in (*pages, (await reach.http.get("/")).text):
        assert "typed@" not in page
        assert "varying" not in page
    form = {**BROWSER, "Content-Type": "application/x-www-form-urlencoded"}
    wrong = await reach.http.post("/", content="", headers=form)
    assert (wrong.status_code, 'role="alert"' in wrong.text) == (422, True)
