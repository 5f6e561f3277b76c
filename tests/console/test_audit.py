"""The audit trail at the console: found by who, what, whom and when; with names, without more."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from reach.auth import audit, keys
from reach.auth.audit import Actor
from reach.db.transaction import Transaction
from reach.db.types import new_id
from tests.support.console import Console, at_console
from tests.support.processes.reach import Reach

PERSON = new_id()


@pytest.fixture
async def operator(reach: Reach) -> AsyncIterator[Console]:
    """Somebody who is signed in, on both databases."""
    async with at_console(reach) as console:
        yield console


async def note(reach: Reach, count: int = 1) -> UUID:
    """Have a key called shop do some things, and somebody a command; give the key's id."""

    def write(tx: Transaction) -> UUID:
        shop = keys.add(tx, keys.generate(), "shop", ["people:write"])
        for n in range(count):
            actor = Actor("key", str(shop.id), "api")
            audit.note(tx, actor, "person.change", PERSON, fields=[f"field-{n:03}"])
        audit.note(tx, Actor("command", "1000", "cli"), "messages.retry", count=7, state="failed")
        return shop.id

    return await reach.database.write(write)


def rows(text: str) -> list[str]:
    """What was done, of each row."""
    return re.findall(r'<th scope="row">([a-z.-]+)', text)


async def test_who_did_what_to_whom(reach: Reach, operator: Console) -> None:
    """A key is called by its name, and each filter finds what it says."""
    shop = await note(reach)
    everything = (await operator.get("/console/audit")).text
    assert rows(everything) == ["messages.retry", "person.change", "session.start"]
    assert ">shop</a>" in everything
    assert "user of this machine" in everything
    assert "field-000" in everything
    today = datetime.now(UTC).date()
    for query, found in {
        f"actor={shop}": ["person.change"],
        "actor=1000": ["messages.retry"],
        "action=session.start": ["session.start"],
        f"subject={PERSON}": ["person.change"],
        f"subject={PERSON}&action=session.start": [],
        f"since={today + timedelta(days=2)}": [],
        f"until={today - timedelta(days=2)}": [],
        f"since={today - timedelta(days=1)}&until={today + timedelta(days=1)}": 3,
        f"until={today}": 3,
    }.items():
        answer = await operator.get(f"/console/audit?{query}")
        seen = rows(answer.text)
        assert (len(seen) if isinstance(found, int) else seen) == found, query


async def test_what_more_there_is_to_say(here: Reach, console: Console) -> None:
    """Each detail with its value; and who has the longest name that there is, is found by it."""
    longest = Actor("oidc", "s" * 255, "console")

    def write(tx: Transaction) -> None:
        filters, columns = {"confirmed": True, "language": "de"}, ["id", "name"]
        audit.note(tx, longest, "people.export", count=0, filters=filters, columns=columns)

    await here.database.write(write)
    text = (await console.get(f"/console/audit?actor={longest.id}")).text
    assert rows(text) == ["people.export"]
    said = " ".join(re.sub("<[^>]*>", "", text).split())
    assert "filters confirmed: yes, language: de; columns id, name" in said


@pytest.mark.parametrize(
    "query", ["subject=ada", "action=anything", "since=yesterday", "until=9999-12-31"]
)
async def test_what_is_wrong_with_a_filter_is_said(console: Console, query: str) -> None:
    """Beside its field, and nothing is shown in place of what was asked for."""
    answer = await console.get(f"/console/audit?{query}")
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert rows(answer.text) == []


async def test_older_entries_are_on_further_pages(reach: Reach, operator: Console) -> None:
    """Every entry once, newest first, with the filter kept."""
    await note(reach, count=120)
    url, seen = f"/console/audit?subject={PERSON}", []
    while url:
        text = (await operator.get(url)).text
        seen += re.findall(r"field-(\d{3})", text)
        older = re.search(r'href="([^"]+cursor=[^"]+)"', text)
        url = older[1].replace("&amp;", "&") if older else ""
    assert seen == [f"{n:03}" for n in reversed(range(120))]
