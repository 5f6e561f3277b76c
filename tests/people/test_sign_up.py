"""Signing up: one answer for everybody, one person for one mailbox, text by the rules."""

import pytest
from sqlalchemy import update

from reach.messages.model import messages
from reach.settings import Settings
from tests.support.database.stored import confirm_everybody
from tests.support.forms import DESCRIPTIONS, NAMES, shape
from tests.support.people import everybody, operator, owed, templates
from tests.support.processes.reach import ADA, Reach, running_reach


async def test_new_and_known_get_the_same_answer(reach: Reach) -> None:
    """Byte for byte: nobody learns from it whether an address is known."""
    http = await operator(reach)
    new = await reach.sign_up()
    known = await reach.sign_up(name="Somebody Else")
    other_case = await reach.sign_up("ADA@Example.com")
    another = await reach.sign_up("bob@example.com")
    await reach.database.write(lambda tx: tx.execute(update(messages).values(state="sent")))
    await confirm_everybody(reach.database)
    told_again = await reach.sign_up()
    assert await templates(http) == ["already-signed-up", *["welcome"] * 4]
    assert shape(new)[:2] == (202, b'{"message":"Check your inbox."}')
    assert shape(new) == shape(known) == shape(other_case) == shape(another) == shape(told_again)
    assert len({answer.headers["x-request-id"] for answer in (new, known, another)}) == 3


async def test_who_has_confirmed_is_not_changed(reach: Reach) -> None:
    """A stranger who knows an address cannot rename its owner."""
    http = await operator(reach)
    await http.post("/v1/signups", json={**ADA, "description": "first"})
    await confirm_everybody(reach.database)
    (before,) = await everybody(http)
    await http.post("/v1/signups", json={**ADA, "name": "Eve", "description": "second"})
    (person,) = await everybody(http)
    assert (person["name"], person["description"]) == ("Ada", "first")
    assert person["updated_at"] == before["updated_at"]


async def test_spellings_of_one_mailbox_are_one_person(reach: Reach) -> None:
    """Upper case, and a domain as people or as machines write it; stored as it was typed."""
    http = await operator(reach)
    for email in ("Ada@Bücher.example", "ada@xn--bcher-kva.example", "ADA@BÜCHER.EXAMPLE"):
        assert (await reach.sign_up(email)).status_code == 202
    (person,) = await everybody(http)
    assert person["email"] == "Ada@Bücher.example"
    recipients = {message["recipient"] for message in await owed(http)}
    assert recipients == {"Ada@xn--bcher-kva.example"}


async def test_other_letters_are_two_mailboxes_or_none(settings: Settings) -> None:
    """`straße@` and `strasse@` are two people with SMTPUTF8; without it the first is refused."""
    addresses = ("straße@example.com", "strasse@example.com")
    async with running_reach(settings) as reach:
        assert [(await reach.sign_up(a)).status_code for a in addresses] == [422, 202]
    async with running_reach(settings.model_copy(update={"smtputf8": True})) as reach:
        assert [(await reach.sign_up(a)).status_code for a in addresses] == [202, 202]
        http = await operator(reach)
        assert {person["email"] for person in await everybody(http)} == set(addresses)


@pytest.mark.parametrize("path", ["/v1/signups", "/v1/people"])
async def test_text_is_kept_by_the_rules(reach: Reach, path: str) -> None:
    """Trimmed, composed, within its length; or refused, saying which field."""
    http = await operator(reach)
    kept: dict[str, tuple[str, str]] = {}
    for field, cases in {"name": NAMES, "description": DESCRIPTIONS}.items():
        for number, (text, expected) in enumerate(cases.items()):
            body = {**ADA, "email": f"{field}{number}@example.com", field: text}
            answer = await http.post(path, json=body)
            if expected is None:
                assert answer.status_code == 422, (field, text)
                assert [e["pointer"] for e in answer.json()["errors"]] == [f"/{field}"]
            else:
                assert answer.status_code in (201, 202), (field, text)
                kept[body["email"]] = (field, expected)
    for person in await everybody(http):
        field, expected = kept.pop(person["email"])
        assert person[field] == expected
    assert kept == {}


async def test_an_empty_description_is_none(reach: Reach) -> None:
    """Left out, null, empty or blank."""
    http = await operator(reach)
    nothing: list[dict[str, str | None]]
    nothing = [{}, {"description": None}, {"description": ""}, {"description": "  "}]
    for number, more in enumerate(nothing):
        body = {**ADA, "email": f"p{number}@example.com", **more}
        assert (await http.post("/v1/signups", json=body)).status_code == 202
    assert [person["description"] for person in await everybody(http)] == [None] * 4
