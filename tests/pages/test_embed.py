"""What a form on somebody's own page is made of: the frame, the script, and what it asks for."""

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from reach.settings import Settings
from tests.support.people import everybody, holder, operator, owed, solved
from tests.support.processes.commands import ReachProcess
from tests.support.processes.reach import Reach, running_reach
from tests.support.site import Site

ADA = {"email": "ada@example.com", "name": "Ada"}
ELSEWHERE = {"Origin": "https://www.example.org", "Sec-Fetch-Site": "cross-site"}
OPEN = {"access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin"}
#: What the script is to be no larger than: every visitor of somebody's page loads it.
MOST_BYTES = 6000


@pytest.fixture
async def here(database_url: str, make_settings: Callable[..., Settings]) -> AsyncIterator[Reach]:
    """Reach, on both databases."""
    async with running_reach(make_settings(database_url=database_url)) as reach:
        yield reach


def is_open(answer: httpx.Response) -> bool:
    """Whether a script of any page may read an answer, which nobody keeps, and without cookies."""
    headers = dict(answer.headers)
    assert "access-control-allow-credentials" not in headers
    assert "set-cookie" not in headers
    return OPEN.items() <= headers.items() and headers["cache-control"] == "no-store"


def ancestors(answer: httpx.Response) -> str:
    """Who may show an answer in a frame."""
    (found,) = re.findall(r"frame-ancestors ([^;]*)", answer.headers["content-security-policy"])
    return str(found)


async def test_the_frame_is_for_those_who_are_named(make_site: Callable[..., Site]) -> None:
    """The form, what is wrong, what was done, every refusal; and no other page is for anybody."""
    named = "https://www.example.org http://127.0.0.1:8180"
    site = make_site(embed_origins="HTTPS://www.Example.org:443/, http://127.0.0.1:8180")
    async with site.client() as http:
        html = {"Accept": "text/html"}
        answers = [
            await http.get("/embed"),
            await http.post("/embed", data={"name": ""}),
            await http.post("/embed", data=ADA),
            await http.post("/embed", data={**ADA, "email": "ada@gmial.com"}),
            await http.post("/embed", content=b"%ff=", headers=html),
        ]
        answers += [await http.post("/embed", data=ADA, headers=html) for _ in range(10)]
        assert {answer.status_code for answer in answers} >= {200, 422, 415, 429}
        assert {ancestors(answer) for answer in answers} == {named}
        assert not any("set-cookie" in answer.headers for answer in answers)
        for path in ("/", "/links", "/check-your-inbox", "/nothing"):
            assert ancestors(await http.get(path, headers=html)) == "'none'"


async def test_the_frame_is_for_nobody_by_default(site: Site) -> None:
    """Until a site is named."""
    async with site.client() as http:
        assert ancestors(await http.get("/embed")) == "'none'"


async def test_the_frames_pages_stay_in_it(site: Site) -> None:
    """Forms are sent from within the frame to itself; links open outside."""
    async with site.client() as http:
        shown = [
            await http.get("/embed?lang=de"),
            await http.post("/embed?lang=de", data={**ADA, "email": "ada@gmial.com"}),
            await http.post("/embed?lang=de", data=ADA),
        ]
    for answer in shown:
        assert '<base target="_blank">' in answer.text
        forms = re.findall(r"<form[^>]*>", answer.text)
        assert forms
        assert all('action="/embed?lang=de"' in f and 'target="_self"' in f for f in forms)
    assert [one.language for one in site.signed_up] == ["de"]


async def test_the_script_is_small_and_kept_shortly(site: Site) -> None:
    """Any page may load it; five minutes later it is asked for again, and not sent again."""
    async with site.client() as http:
        answer = await http.get("/embed.js", headers=ELSEWHERE)
        etag = {"If-None-Match": answer.headers["etag"]}
        again = await http.get("/embed.js", headers=etag)
        other = await http.get("/embed.js", headers={"If-None-Match": '"x"'})
        # One that a proxy has made weak, as it does where it compresses; and what is no tag at all.
        weak = {"If-None-Match": f'"x", W/{answer.headers["etag"]}'}
        assert (await http.get("/embed.js", headers=weak)).status_code == 304
        assert (await http.get("/embed.js", headers={"If-None-Match": "x"})).status_code == 200
    assert len(answer.content) <= MOST_BYTES
    assert OPEN.items() <= dict(answer.headers).items()
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert (again.status_code, again.content) == (304, b"")
    assert (other.status_code, other.content) == (200, answer.content)


async def test_the_script_learns_what_the_form_needs(site: Site) -> None:
    """In the language it asks for, or that the browser prefers, or the default."""
    async with site.client() as http:
        for asked, accepted, language in [
            ("de-AT", "fr", "de"),
            ("xx", "fr-CA, en", "fr"),
            ("", "", "en"),
        ]:
            headers = {**ELSEWHERE, "Accept-Language": accepted}
            answer = await http.get("/embed.json", params={"lang": asked}, headers=headers)
            assert is_open(answer)
            found = answer.json()
            assert found["words"]["lang"] == answer.headers["content-language"] == language
            assert answer.headers["vary"] == "Accept-Language"
            assert (found["words"]["dir"], found["emailType"]) == ("ltr", "email")
            assert set(found["labels"]) == {"name", "email", "description"}
            assert "challenge" not in found


async def test_the_script_learns_of_other_writing(
    make_site: Callable[..., Site], tmp_path: Path
) -> None:
    """From right to left; and of addresses in any letters, which a browser's check would refuse."""
    file = tmp_path / "ar" / "LC_MESSAGES" / "reach.po"
    file.parent.mkdir(parents=True)
    file.write_text('msgctxt "direction of writing"\nmsgid "ltr"\nmsgstr "rtl"\n')
    site = make_site(languages="en, ar", catalogues_dir=tmp_path, smtputf8=True)
    async with site.client() as http:
        found = (await http.get("/embed.json?lang=ar")).json()
    assert (found["words"]["dir"], found["emailType"]) == ("rtl", "text")


async def test_the_script_is_told_in_words(site: Site) -> None:
    """Whatever is wrong, each page elsewhere may read it; what was typed is not repeated."""
    async with site.client() as http:
        wrong = await http.post("/embed.json", data={"name": "www.spam", "email": "ada"})
        slip = await http.post("/embed.json", data={**ADA, "email": "ada@gmial.com"})
        sure = {**ADA, "email": "ada@gmial.com", "sure": "ada@gmial.com"}
        done = await http.post("/embed.json?lang=es", data=sure)
        junk = await http.post("/embed.json", json=ADA)
        key = await http.post("/embed.json", data={**ADA, "key": "a" * 300})
    answers = [wrong, slip, done, junk, key]
    assert [answer.status_code for answer in answers] == [422, 200, 202, 415, 400]
    assert all(map(is_open, answers))
    assert list(wrong.json()["errors"]) == ["name", "email"]
    assert wrong.json()["title"] == "Please look at this again"
    assert [address for _, address in slip.json()["choices"]] == ["ada@gmail.com", "ada@gmial.com"]
    assert done.json()["isDone"]
    assert "ada@gmial.com" in done.json()["text"]
    assert "What you typed is still here." in junk.json()["text"]
    assert [(one.email.typed, one.language) for one in site.signed_up] == [("ada@gmial.com", "es")]


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("1/minute", "Please try again in a minute."),
        ("1/20 minutes", "Please try again in 20 minutes."),
        ("1/hour", "Please try again in an hour."),
        ("1/day", "Please try again in 24 hours."),
    ],
)
async def test_the_script_is_told_when_it_was_too_often(
    make_site: Callable[..., Site], limit: str, said: str
) -> None:
    """It counts with all other sign-ups of a client."""
    site = make_site(limit_signups=limit)
    async with site.client() as http:
        await http.post("/", data=ADA)
        answers = [await http.post(f"/embed{end}", data=ADA) for end in (".json", "")]
    assert [answer.status_code for answer in answers] == [429, 429]
    assert is_open(answers[0])
    assert said in answers[0].json()["text"]
    assert answers[0].headers["retry-after"]
    assert len(site.signed_up) == 1


async def test_who_is_known_is_answered_as_who_is_not(here: Reach) -> None:
    """To a script of anybody's page, too; nothing but the stamp of the time may differ."""
    known, new = ("ada@example.com", "eve@example.com")
    await here.sign_up(known)
    for end in (".json", ""):
        shown = []
        for email in (known, new):
            answer = await here.http.post(f"/embed{end}", data={**ADA, "email": email})
            text = re.sub(r'name="started" value="[^"]*"|nonce="[^"]*"', "", answer.text)
            shown.append((answer.status_code, text.replace(email, "")))
        assert shown[0] == shown[1]


async def test_what_got_no_answer_is_sent_again_safely(here: Reach) -> None:
    """With its key: one person, one email; and another form cannot have the same key."""
    form = {**ADA, "key": "1-2-3"}
    first, second = [await here.http.post("/embed.json", data=form) for _ in range(2)]
    other = await here.http.post("/embed.json", data={**form, "name": "Eve"})
    assert [first.status_code, second.status_code, other.status_code] == [202, 202, 422]
    http = await operator(here)
    assert [one["name"] for one in await everybody(http)] == ["Ada"]
    assert len(await owed(http)) == 1


async def test_proof_of_work_is_asked_for(
    database_url: str, make_settings: Callable[..., Settings]
) -> None:
    """The script gets a task, and where what solves it is, which any page may import."""
    settings = make_settings(
        database_url=database_url, altcha=True, form_timestamp="required", form_min_seconds=0
    )
    async with running_reach(settings) as reach:
        found = (await reach.http.get("/embed.json")).json()
        solver = await reach.http.get(found["solver"], headers=ELSEWHERE)
        assert OPEN.items() <= dict(solver.headers).items()
        assert found["challenge"]["parameters"]
        missing = await reach.http.post("/embed.json", data=ADA)
        assert missing.status_code == 422
        assert missing.json()["title"] == "Almost done: please press the button once more"
        for field, started in (("altcha", missing.json()["started"]), ("started", "")):
            part = {**ADA, "altcha": await solved(reach), "started": started}
            part.pop(field)
            assert (await reach.http.post("/embed.json", data=part)).status_code == 422
        proven = {**ADA, "altcha": await solved(reach), "started": found["started"]}
        assert (await reach.http.post("/embed.json", data=proven)).status_code == 202


async def test_each_way_keeps_the_language(here: Reach) -> None:
    """That of the page, or what the form itself says."""
    ways = {"/": "/?lang=de", "/embed": "/embed?lang=fr", "/embed.json": "/embed.json?lang=es"}
    for n, path in enumerate(ways.values()):
        await here.http.post(path, data={**ADA, "email": f"{n}@example.com"})
    said = {**ADA, "email": "3@example.com", "language": "fr"}
    await here.http.post("/?lang=de", data=said)
    people = await everybody(await operator(here))
    assert {one["email"][0]: one["language"] for one in people} == {
        "0": "de",
        "1": "fr",
        "2": "es",
        "3": "fr",
    }


async def test_who_confirmed_is_led_to_the_makers_page(
    database_url: str, make_settings: Callable[..., Settings]
) -> None:
    """If there is one; the browser forgets the link first."""
    thanks = "https://www.example.org/confirmed?a=b|c"
    async with running_reach(
        make_settings(database_url=database_url, confirmed_url=thanks)
    ) as reach:
        person = await holder(reach, "confirm")
        answer = await person.post("/confirm")
        assert (answer.status_code, answer.headers["location"]) == (303, thanks)
        assert "reach-confirm=" in answer.headers["set-cookie"]
        assert (await person.stored() or {})["confirmed_at"]


@pytest.mark.parametrize("kind", ["form", "script", "frame"])
def test_the_command_prints_what_to_copy(kind: str) -> None:
    """The HTML alone on stdout; what it needs beside, on stderr."""
    url = {"REACH_PUBLIC_URL": "https://signup.example.org"}
    with ReachProcess("snippet", kind, environment=url) as process:
        assert process.wait() == 0
        assert process.output.startswith("<")
        assert "https://signup.example.org/" in process.output
        assert process.errors.strip()


async def test_the_frame_and_the_page_are_kept_apart(site: Site) -> None:
    """Whichever is asked for first: what is rendered once is rendered for each."""
    async with site.client() as http:
        texts = [(await http.get(path)).text for path in ("/", "/embed", "/")]
    assert ['action="/embed"' in text for text in texts] == [False, True, False]
