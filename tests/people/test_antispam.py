"""Spam protection: who fills the trap is refused without a word; others are asked again."""

import re
import time
from collections.abc import Callable
from html import escape

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from reach.people.antispam import FORM_SECONDS, HEAD_START_SECONDS, AntiSpam
from reach.people.link_requests import answer_some
from reach.people.schemas import SpamFields
from reach.settings import Settings
from tests.support.forms import BROWSER, ENDPOINTS, FILLED, NOW, hidden_in, shape
from tests.support.people import everybody, opened_ago, opened_too_long_ago, operator, owed
from tests.support.processes.reach import ADA, Reach, running_reach

#: What may be a person's all the same, by the rule that it breaks, and what is pointed to.
ASKED: dict[str, tuple[str, Callable[[Settings], dict[str, str]]]] = {
    "time forged": ("/started", lambda _: {"started": "1800000000000.c2lnbmF0dXJl"}),
    # By a clock that is ahead: however slow this machine is, it stays too fast.
    "too fast": ("/started", lambda settings: {"started": opened_ago(settings, -60)}),
    "too old": ("/started", lambda settings: {"started": opened_too_long_ago(settings)}),
    "old trap": ("/website", lambda _: {"website": "https://ada.example"}),
}


def counted(result: str) -> float:
    """How many sign-ups have come to this, since this process began."""
    return REGISTRY.get_sample_value("reach_signups_total", {"result": result}) or 0.0


@pytest.fixture
def antispam(make_settings: Callable[..., Settings]) -> AntiSpam:
    """The rules, as settings make them by default."""
    return AntiSpam(make_settings())


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_who_fills_the_trap_gets_the_answer_of_everybody(reach: Reach, endpoint: str) -> None:
    """Status, bytes and headers; nothing is stored, one is counted, the log has the rule alone."""
    http = await operator(reach)
    before = counted("spam")
    with capture_logs() as said:
        # However fast, however old: the trap is all that counts.
        hasty = opened_ago(reach.settings, 0)
        filled = await ENDPOINTS[endpoint](
            http, {**ADA, "email": "bot@example.com", **FILLED, "started": hasty}
        )
    assert await everybody(http) == []
    assert await owed(http) == []
    assert counted("spam") == before + 1
    person = await ENDPOINTS[endpoint](http, ADA)
    assert shape(filled) == shape(person)
    assert [one["email"] for one in await everybody(http)] == ["ada@example.com"]
    told = [line for line in said if line["event"] == "taken for spam"]
    assert told == [{"event": "taken for spam", "rule": "honeypot", "log_level": "info"}]
    assert "bot@example.com" not in str(said)


@pytest.mark.parametrize("rule", ASKED)
async def test_who_may_be_a_person_is_asked_again(reach: Reach, rule: str) -> None:
    """The API says 422, where and why, in words; nothing is stored, and no spam is counted."""
    http = await operator(reach)
    pointer, make = ASKED[rule]
    before = counted("spam")
    with capture_logs() as said:
        told = await ENDPOINTS["API"](http, {**ADA, **make(reach.settings)})
    assert told.status_code == 422
    problem = told.json()
    assert problem["type"].endswith("/problems/send-again")
    (error,) = problem["errors"]
    assert error["pointer"] == pointer
    assert error["detail"].endswith("Please send it again.")
    assert await everybody(http) == []
    assert counted("spam") == before
    asked = [line for line in said if line["event"] == "asked to send again"]
    assert asked == [{"event": "asked to send again", "rule": rule, "log_level": "info"}]
    assert "ada@example.com" not in str(said)
    explained = await http.get("/problems/send-again", headers=BROWSER)
    assert "Nothing was stored, nothing is lost" in explained.text


@pytest.mark.parametrize("rule", ASKED)
async def test_the_form_comes_back_filled_and_works_at_once(reach: Reach, rule: str) -> None:
    """All that was typed, one button, kind words; pressed in the same moment, it goes through."""
    http = await operator(reach)
    typed = {**ADA, "name": "Ada <Lovelace>", "description": "engines & looms"}
    page = await ENDPOINTS["page"](http, {**typed, **ASKED[rule][1](reach.settings)})
    assert page.status_code == 422
    assert "Almost done: please press the button once more" in page.text
    assert "<title>Once more: Sign up" in page.text
    assert page.text.count("<button") == 1
    for text in typed.values():
        assert f'value="{escape(text)}"' in page.text
    assert await everybody(http) == []
    sent = hidden_in(page.text)
    assert sent["motto"] == ""
    assert (await ENDPOINTS["page"](http, {**typed, **sent})).status_code == 303
    assert [one["name"] for one in await everybody(http)] == ["Ada <Lovelace>"]
    assert len(await owed(http)) == 1


@pytest.mark.parametrize("rule", ASKED)
async def test_who_asks_for_a_link_is_asked_again_too(reach: Reach, rule: str) -> None:
    """The same rules, on page and API; an address that is known makes no difference."""
    http = await operator(reach)
    await reach.sign_up()
    fields = ASKED[rule][1](reach.settings)
    answers = {}
    for email in ("ada@example.com", "nobody@example.com"):
        told = await http.post("/v1/links", json={"email": email, **fields})
        page = await http.post("/links", data={"email": email, **fields}, headers=BROWSER)
        assert (told.status_code, page.status_code) == (422, 422)
        assert "Almost done: please press the button once more" in page.text
        assert f'value="{email}"' in page.text
        again = {"email": email, **hidden_in(page.text)}
        assert (await http.post("/links", data=again, headers=BROWSER)).status_code == 303
        answers[email] = shape(told)
    assert answers["ada@example.com"] == answers["nobody@example.com"]
    await reach.database.write(answer_some, reach.settings)
    assert [message["template"] for message in await owed(http)].count("manage-link") == 1
    trapped = await http.post("/v1/links", json={"email": "ada@example.com", **FILLED})
    assert trapped.status_code == 202
    assert await reach.database.write(answer_some, reach.settings) == 0
    assert [message["template"] for message in await owed(http)].count("manage-link") == 1


async def test_a_page_from_before_the_upgrade_still_works(reach: Reach) -> None:
    """Its trap, under the old name, is empty: that is a person's form like any other."""
    http = await operator(reach)
    old = {**ADA, "description": "", "website": "", "started": opened_ago(reach.settings, 60)}
    assert (await ENDPOINTS["page"](http, old)).status_code == 303
    assert len(await everybody(http)) == 1


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_what_is_wrong_is_told_to_spammers_too(reach: Reach, endpoint: str) -> None:
    """Spam with a bad address gets the 422 of everybody: its sender cannot tell the rules apart."""
    bad = {**ADA, "email": "nobody"}
    person = await ENDPOINTS[endpoint](reach.http, bad)
    filled = await ENDPOINTS[endpoint](reach.http, {**bad, **FILLED})
    assert person.status_code == filled.status_code == 422
    assert re.sub(r'value="\d+\.[^"]+"', "", person.text) == re.sub(
        r'value="\d+\.[^"]+"', "", filled.text
    )


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_people_need_not_send_what_is_hidden(reach: Reach, endpoint: str) -> None:
    """Left out or empty, it is nobody's fault; and a form filled in at leisure is a person's."""
    http = await operator(reach)
    empty = {"motto": "", "started": "", "altcha": ""}
    at_leisure = {"motto": "", "started": opened_ago(reach.settings, 5)}
    answers = [
        await ENDPOINTS[endpoint](http, {**ADA, "email": f"p{n}@example.com", **more})
        for n, more in enumerate(({}, empty, at_leisure))
    ]
    assert len({shape(answer)[:2] for answer in answers}) == 1
    assert len(await everybody(http)) == 3


async def test_the_pages_form_is_a_persons(reach: Reach) -> None:
    """What the page hides in its form is right when it comes back a moment later, not at once.

    The trap is out of everybody's way: of eyes, of screen readers, of the Tab key, of browsers and
    of password managers, which are each told in their own words.
    """
    http = await operator(reach)
    page = (await http.get("/")).text
    assert re.search(
        r'<div class="trap" aria-hidden="true" inert>\s*<label>[^<]*'
        r'<input name="motto" type="text" value="" tabindex="-1" autocomplete="off" '
        r'data-1p-ignore data-bwignore data-lpignore="true" data-form-type="other">',
        page,
    )
    sent = hidden_in(page)
    assert sent["motto"] == ""
    began = int(sent["started"].partition(".")[0]) / 1000
    assert AntiSpam(reach.settings).rule_broken(SpamFields(**sent), began + 0.9) == "too fast"
    assert AntiSpam(reach.settings).rule_broken(SpamFields(**sent), began + 1) is None
    sheet = (await http.get(re.findall(r'href="(/static/reach-[^"]+)"', page)[0])).text
    assert re.search(r"\.trap \{[^}]*inset-inline-start: -999rem", sheet)


async def test_who_corrects_a_form_does_not_wait_again(reach: Reach) -> None:
    """A form that comes back with a fault of any kind may be sent at once, however hasty it was."""
    for seconds in (5, 0.1):
        started = opened_ago(reach.settings, seconds)
        page = await ENDPOINTS["page"](reach.http, {**ADA, "name": "", "started": started})
        assert page.status_code == 422
        again = SpamFields(**hidden_in(page.text))
        assert AntiSpam(reach.settings).rule_broken(again, time.time()) is None
        # For as long as any other, but for the hour that two clocks may differ.
        last = time.time() + FORM_SECONDS - HEAD_START_SECONDS - 60
        assert AntiSpam(reach.settings).rule_broken(again, last) is None


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_the_time_can_be_required(settings: Settings, endpoint: str) -> None:
    """Then who sends none is asked for it; the page brings it along."""
    strict = settings.model_copy(update={"form_timestamp": "required"})
    async with running_reach(strict) as reach:
        http = await operator(reach)
        with capture_logs() as said:
            answer = await ENDPOINTS[endpoint](http, ADA)
        assert answer.status_code == 422
        assert "The form does not say when it was opened." in answer.text
        assert await everybody(http) == []
        assert "time missing" in [line.get("rule") for line in said]
        brought = (
            hidden_in(answer.text) if endpoint == "page" else {"started": opened_ago(strict, 2)}
        )
        assert (await ENDPOINTS[endpoint](http, {**ADA, **brought})).status_code in (202, 303)
        assert len(await everybody(http)) == 1


@pytest.mark.parametrize("field", ["motto", "website", "started", "altcha"])
async def test_what_is_hidden_is_small_text(reach: Reach, field: str) -> None:
    """Anything else is a clear 422 for programs and people alike."""
    http = await operator(reach)
    values: list[object] = [5, True, [], {}, "x" * 5000]
    for value in values:
        answer = await http.post("/v1/signups", json={**ADA, field: value})
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{field}"]
    assert (await http.post("/v1/signups", json={**ADA, field: None})).status_code == 202


async def test_operators_are_no_spammers(reach: Reach) -> None:
    """What a form hides is no business of theirs: it is an unknown field."""
    http = await operator(reach)
    for field in ("motto", "website", "started", "altcha"):
        answer = await http.post("/v1/people", json={**ADA, field: ""})
        assert answer.status_code == 422
        assert field not in answer.text
    assert (await http.post("/v1/people", json=ADA)).status_code == 201


@pytest.mark.parametrize(
    ("elapsed", "rule"),
    [
        *((-3600, "too fast"), (-1, "too fast"), (0.999, "too fast"), (1, None)),
        *((FORM_SECONDS, None), (FORM_SECONDS + 1, "too old")),
    ],
)
def test_the_time_by_the_second(antispam: AntiSpam, elapsed: float, rule: str | None) -> None:
    """From a second to a day; a time to come is no person's."""
    form = SpamFields(started=antispam.stamp(NOW))
    assert antispam.rule_broken(form, NOW + elapsed) == rule


def test_a_stamp_with_any_character_changed_is_forged(antispam: AntiSpam) -> None:
    """And so is one of another installation, or of another purpose."""
    good = antispam.stamp(NOW)
    for place, character in enumerate(good):
        other = "a" if character != "a" else "b"
        forged = f"{good[:place]}{other}{good[place + 1 :]}"
        assert antispam.rule_broken(SpamFields(started=forged), NOW + 5) == "time forged", place
    for forged in (f"{good}x", f" {good}", f"0{good}", "é.é", ".", good.partition(".")[0]):
        assert antispam.rule_broken(SpamFields(started=forged), NOW + 5) == "time forged"


def test_keys_rotate(make_settings: Callable[..., Settings]) -> None:
    """A form that was opened before the keys were changed is as good as before."""
    old, new = "o" * 32, "n" * 32
    stamp = AntiSpam(make_settings(secret_key=old)).stamp(NOW)
    both = AntiSpam(make_settings(secret_key=f"{new},{old}"))
    assert both.rule_broken(SpamFields(started=stamp), NOW + 5) is None
    alone = AntiSpam(make_settings(secret_key=new))
    assert alone.rule_broken(SpamFields(started=stamp), NOW + 5) == "time forged"


def test_no_least_time(make_settings: Callable[..., Settings]) -> None:
    """With a least time of 0, a form may come back at once."""
    antispam = AntiSpam(make_settings(form_min_seconds=0))
    assert antispam.rule_broken(SpamFields(started=antispam.stamp(NOW)), NOW) is None
