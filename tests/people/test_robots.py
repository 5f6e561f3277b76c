"""Robots: the answer of everybody, and nothing else; people with an old form are asked again."""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from reach.people.robots import FORM_SECONDS, Hidden, Robots
from reach.problems import Unprocessable
from reach.settings import Settings
from tests.people.operator import everybody, operator, owed
from tests.people.solved import opened_ago, opened_too_long_ago
from tests.people.test_door import shape
from tests.people.test_form import BROWSER
from tests.servers.reach import ADA, Reach, running_reach

NOW = 1_800_000_000.0
#: Each a door: how to knock at it, and what everybody is answered.
DOORS: dict[str, Callable[[httpx.AsyncClient, Mapping[str, str]], Any]] = {
    "API": lambda http, fields: http.post("/v1/signups", json=fields),
    "page": lambda http, fields: http.post("/", data=fields, headers=BROWSER),
}
#: What only robots send, by the rule that it breaks. ``started`` is made by ``Settings``.
ROBOTS: dict[str, Callable[[Settings], dict[str, str]]] = {
    "honeypot": lambda _: {"website": "https://buy.example"},
    "time forged": lambda _: {"started": "1800000000000.c2lnbmF0dXJl"},
    "too fast": lambda settings: {"started": opened_ago(settings, 0.2)},
}


def hidden_in(page: str) -> dict[str, str]:
    """The form's hidden fields, as the page has them."""
    inputs = re.findall(r'<input [^>]*name="(started|website|altcha)"[^>]*>', page)
    values = re.findall(r'name="(started|website|altcha)" [^>]*value="([^"]*)"', page)
    assert len(inputs) == len(values)
    return dict(values)


@pytest.fixture
def robots(make_settings: Callable[..., Settings]) -> Robots:
    """The rules, as settings make them by default."""
    return Robots(make_settings())


@pytest.mark.parametrize("rule", ROBOTS)
@pytest.mark.parametrize("door", DOORS)
async def test_a_robot_gets_the_answer_of_everybody(reach: Reach, door: str, rule: str) -> None:
    """Status, bytes and headers; nothing is stored, and the log has the rule's name alone."""
    http = await operator(reach)
    fields = ROBOTS[rule](reach.settings)
    with capture_logs() as said:
        robot = await DOORS[door](http, {**ADA, "email": "bot@example.com", **fields})
    assert await everybody(http) == []
    assert await owed(http) == []
    person = await DOORS[door](http, ADA)
    assert shape(robot) == shape(person)
    assert [one["email"] for one in await everybody(http)] == ["ada@example.com"]
    told = [line for line in said if line["event"] == "turned away"]
    assert told == [{"event": "turned away", "rule": rule, "log_level": "info"}]
    assert "bot@example.com" not in str(said)


@pytest.mark.parametrize("door", DOORS)
async def test_what_is_wrong_is_told_to_robots_too(reach: Reach, door: str) -> None:
    """A robot with a bad address gets the 422 of everybody: it cannot tell the rules apart."""
    bad = {**ADA, "email": "nobody"}
    person = await DOORS[door](reach.http, bad)
    robot = await DOORS[door](reach.http, {**bad, "website": "x"})
    assert person.status_code == robot.status_code == 422
    assert re.sub(r'value="\d+\.[^"]+"', "", person.text) == re.sub(
        r'value="\d+\.[^"]+"', "", robot.text
    )


@pytest.mark.parametrize("door", DOORS)
async def test_people_need_not_send_what_is_hidden(reach: Reach, door: str) -> None:
    """Left out or empty, it is nobody's fault; and a form filled in at leisure is a person's."""
    http = await operator(reach)
    empty = {"website": "", "started": "", "altcha": ""}
    at_leisure = {"website": "", "started": opened_ago(reach.settings, 5)}
    answers = [
        await DOORS[door](http, {**ADA, "email": f"p{n}@example.com", **more})
        for n, more in enumerate(({}, empty, at_leisure))
    ]
    assert len({shape(answer)[:2] for answer in answers}) == 1
    assert len(await everybody(http)) == 3


async def test_the_pages_form_is_a_persons(reach: Reach) -> None:
    """What the page hides in its form is right when it comes back a moment later, not at once.

    The trap is out of everybody's way: of eyes, of screen readers, of the Tab key.
    """
    http = await operator(reach)
    page = (await http.get("/")).text
    assert re.search(
        r'<div class="trap" aria-hidden="true">\s*<label>[^<]*'
        r'<input name="website" type="text" value="" tabindex="-1" autocomplete="off">',
        page,
    )
    sent = hidden_in(page)
    assert sent["website"] == ""
    began = int(sent["started"].partition(".")[0]) / 1000
    assert Robots(reach.settings).rule_broken(Hidden(**sent), began + 0.9) == "too fast"
    assert Robots(reach.settings).rule_broken(Hidden(**sent), began + 1) is None
    sheet = (await http.get(re.findall(r'href="(/static/reach-[^"]+)"', page)[0])).text
    assert re.search(r"\.trap \{[^}]*left: -999rem", sheet)


async def test_an_old_form_is_a_persons(reach: Reach) -> None:
    """The API says 422 and why; the page comes again as it was typed, ready to be sent at once."""
    http = await operator(reach)
    old = {**ADA, "started": opened_too_long_ago(reach.settings)}
    told = await DOORS["API"](http, old)
    assert told.status_code == 422
    assert [error["pointer"] for error in told.json()["errors"]] == ["/started"]
    page = await DOORS["page"](http, old)
    assert page.status_code == 422
    assert "This form is more than a day old. Please send it again." in page.text
    assert 'value="ada@example.com"' in page.text
    assert await everybody(http) == []
    assert (await DOORS["page"](http, {**ADA, **hidden_in(page.text)})).status_code == 303
    assert len(await everybody(http)) == 1


async def test_who_corrects_a_form_does_not_wait_again(reach: Reach) -> None:
    """A form that comes back with a fault keeps its time; a robot's is not older for it."""
    leisurely, hasty = (opened_ago(reach.settings, seconds) for seconds in (5, 0.1))
    for started in (leisurely, hasty):
        page = await DOORS["page"](reach.http, {**ADA, "name": "", "started": started})
        assert hidden_in(page.text)["started"] == started
    page = await DOORS["page"](reach.http, {**ADA, "name": "", "started": "junk"})
    began = int(hidden_in(page.text)["started"].partition(".")[0]) / 1000
    assert began >= time.time() - 60
    assert Robots(reach.settings).rule_broken(Hidden(**hidden_in(page.text)), began) == "too fast"


@pytest.mark.parametrize("door", DOORS)
async def test_the_time_can_be_required(settings: Settings, door: str) -> None:
    """Then whoever sends none is a robot."""
    strict = settings.model_copy(update={"form_timestamp": "required"})
    async with running_reach(strict) as reach:
        http = await operator(reach)
        with capture_logs() as said:
            robot = await DOORS[door](http, ADA)
        assert await everybody(http) == []
        assert "time missing" in [line.get("rule") for line in said]
        person = await DOORS[door](http, {**ADA, "started": opened_ago(strict, 2)})
        assert shape(robot) == shape(person)
        assert len(await everybody(http)) == 1


@pytest.mark.parametrize("field", ["website", "started", "altcha"])
async def test_what_is_hidden_is_small_text(reach: Reach, field: str) -> None:
    """Anything else is a clear 422 for robot and person alike."""
    http = await operator(reach)
    values: list[object] = [5, True, [], {}, "x" * 5000]
    for value in values:
        answer = await http.post("/v1/signups", json={**ADA, field: value})
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{field}"]
    assert (await http.post("/v1/signups", json={**ADA, field: None})).status_code == 202


async def test_operators_are_no_robots(reach: Reach) -> None:
    """What a form hides is no business of theirs: it is an unknown field."""
    http = await operator(reach)
    for field in ("website", "started", "altcha"):
        answer = await http.post("/v1/people", json={**ADA, field: ""})
        assert answer.status_code == 422
        assert field not in answer.text
    assert (await http.post("/v1/people", json=ADA)).status_code == 201


@pytest.mark.parametrize(
    ("elapsed", "rule"),
    [(-3600, "too fast"), (-1, "too fast"), (0.999, "too fast"), (1, None), (FORM_SECONDS, None)],
)
def test_the_time_by_the_second(robots: Robots, elapsed: float, rule: str | None) -> None:
    """From a second to a day; a time to come is no person's."""
    form = Hidden(started=robots.stamp(NOW))
    assert robots.rule_broken(form, NOW + elapsed) == rule


def test_a_day_is_too_long(robots: Robots) -> None:
    """Older than a day, it is a person's old form."""
    with pytest.raises(Unprocessable):
        robots.rule_broken(Hidden(started=robots.stamp(NOW)), NOW + FORM_SECONDS + 1)


def test_a_stamp_with_any_character_changed_is_forged(robots: Robots) -> None:
    """And so is one of another installation, or of another purpose."""
    good = robots.stamp(NOW)
    for place, character in enumerate(good):
        other = "a" if character != "a" else "b"
        forged = f"{good[:place]}{other}{good[place + 1 :]}"
        assert robots.rule_broken(Hidden(started=forged), NOW + 5) == "time forged", place
    for forged in (f"{good}x", f" {good}", f"0{good}", "é.é", ".", good.partition(".")[0]):
        assert robots.rule_broken(Hidden(started=forged), NOW + 5) == "time forged"


def test_keys_rotate(make_settings: Callable[..., Settings]) -> None:
    """A form that was opened before the keys were changed is as good as before."""
    old, new = "o" * 32, "n" * 32
    stamp = Robots(make_settings(secret_key=old)).stamp(NOW)
    both = Robots(make_settings(secret_key=f"{new},{old}"))
    assert both.rule_broken(Hidden(started=stamp), NOW + 5) is None
    alone = Robots(make_settings(secret_key=new))
    assert alone.rule_broken(Hidden(started=stamp), NOW + 5) == "time forged"


def test_no_least_time(make_settings: Callable[..., Settings]) -> None:
    """With a least time of 0, a form may come back at once."""
    robots = Robots(make_settings(form_min_seconds=0))
    assert robots.rule_broken(Hidden(started=robots.stamp(NOW)), NOW) is None
