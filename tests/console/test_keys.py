"""Keys at the console: listed, made and shown once, revoked after a question."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from reach.auth import keys
from reach.auth.audit import Filter
from tests.support.console import Console, at_console
from tests.support.processes.reach import Reach
from tests.support.trail import trail

KEY = re.compile(r"rk_[0-9A-Za-z]{46}")
FORM = {"name": "shop", "scope.people:read": "yes", "once": "a-form"}


@pytest.fixture
async def operator(reach: Reach) -> AsyncIterator[Console]:
    """Somebody who is signed in, on both databases."""
    async with at_console(reach) as console:
        yield console


async def test_a_key_is_shown_once_and_works(reach: Reach, operator: Console) -> None:
    """With the name, scopes and end that were asked for. Sent again, the form makes none."""
    last_day = datetime.now(UTC).date() + timedelta(days=3)
    form = {**FORM, "last_day": last_day.isoformat()}
    made = await operator.post("/console/keys", form)
    assert made.status_code == 201
    (text,) = set(KEY.findall(made.text))
    found = await reach.http.get("/v1/people", headers={"Authorization": f"Bearer {text}"})
    assert found.status_code == 200
    newest = (await reach.database.read(keys.all_keys))[-1]
    assert (newest.name, newest.scopes) == ("shop", frozenset({"people:read"}))
    assert newest.expires_at
    assert newest.expires_at.date() == last_day + timedelta(days=1)
    again = await operator.post("/console/keys", form)
    assert not KEY.search(again.text)
    assert "it was shown then" in again.text
    listed = (await operator.get("/console/keys")).text
    assert text[:11] in listed
    assert text not in listed
    assert len(await reach.database.read(keys.all_keys)) == 2
    async with at_console(reach) as another:  # whose form is another one
        (others,) = set(KEY.findall((await another.post("/console/keys", form)).text))
    assert others != text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": " "}, "printable characters"),
        ({"name": "x" * 101}, "printable characters"),
        ({"scope.people:read": None}, "Choose at least one"),
        ({"last_day": "2020-01-01"}, "in the future"),
        ({"last_day": "tomorrow"}, "It must be a day"),
        ({"last_day": "9999-12-31"}, "It must be a day"),
    ],
)
async def test_what_is_wrong_is_said_beside_its_field(
    console: Console, here: Reach, changes: dict[str, str | None], said: str
) -> None:
    """What was typed is kept, and no key is made."""
    form = {name: value for name, value in {**FORM, **changes}.items() if value is not None}
    answer = await console.post("/console/keys", form)
    assert answer.status_code == 422
    assert said in answer.text
    assert ("checked" in answer.text) == ("scope.people:read" in form)
    assert 'value="a-form"' in answer.text
    assert len(await here.database.read(keys.all_keys)) == 1


async def test_revoking_asks_first(reach: Reach, operator: Console) -> None:
    """The question changes nothing. Then the key opens nothing, and the audit trail tells."""
    await operator.post("/console/keys", FORM)
    newest = (await reach.database.read(keys.all_keys))[-1]
    question = await operator.get(f"/console/keys/{newest.id}/revoke")
    assert "Revoke the key" in question.text
    assert "you will be signed out" not in question.text
    assert (await reach.database.read(keys.view, newest.id)).state == "valid"
    answer = await operator.post(f"/console/keys/{newest.id}/revoke")
    assert answer.headers["location"] == "/console/keys"
    assert (await reach.database.read(keys.view, newest.id)).state == "revoked"
    assert (await operator.post(f"/console/keys/{newest.id}/revoke")).status_code == 404
    done = await trail(reach.database, Filter(subject=newest.id))
    assert [(entry.action, entry.actor.via) for entry in done] == [
        ("key.revoke", "console"),
        ("key.create", "console"),
    ]


async def test_to_revoke_ones_own_key_is_to_be_signed_out(here: Reach, console: Console) -> None:
    """The question says so."""
    (own,) = await here.database.read(keys.all_keys)
    question = await console.get(f"/console/keys/{own.id}/revoke")
    assert "you will be signed out" in question.text
    await console.post(f"/console/keys/{own.id}/revoke")
    assert (await console.get("/console/keys")).status_code == 303


@pytest.mark.parametrize(
    "path", ["/console/keys/x/revoke", "/console/keys/" + "0" * 36 + "/revoke"]
)
async def test_what_names_no_key_is_not_found(console: Console, path: str) -> None:
    """As a page of the console."""
    answer = await console.get(path)
    assert answer.status_code == 404
    assert "There is no such key" in answer.text


async def test_a_long_list_has_pages(here: Reach, console: Console) -> None:
    """Every key is on one of them, once; also without a script."""

    def many(tx: object) -> None:
        for n in range(60):
            keys.add(tx, keys.generate(), f"key-{n:02}", ["people:read"])  # type: ignore[arg-type]

    await here.database.write(many)
    first = (await console.get("/console/keys")).text
    older = re.search(r'href="(/console/keys\?cursor=[^"]+)"', first)
    assert older
    second = (await console.get(older[1])).text
    names = re.findall(r'<span dir="auto">(key-\d\d)</span>', first + second)
    assert sorted(names) == [f"key-{n:02}" for n in range(60)]
    assert (await console.get("/console/keys?cursor=nonsense")).status_code == 200
