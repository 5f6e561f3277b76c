"""Operators find messages: by whom they were for, and by when they were promised."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select, update

from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.db.types import earliest_id
from reach.messages.model import messages
from reach.people.address import parse_address
from reach.people.model import people
from reach.runtime.process import opened
from reach.settings import Settings
from reach.shapes import NO_TIME
from tests.support.database.outboxes import Outbox
from tests.support.database.stored import messages_in
from tests.support.database.walks import Walk
from tests.support.http.bodies import CANARY
from tests.support.people import add, operator, owed
from tests.support.processes.reach import Reach

#: Who signs up, and how else they may be written.
SPELLINGS = {
    "Ada.B@Example.com": ["ada.b@example.com", "ADA.B@EXAMPLE.COM", " Ada.B@example.COM\t"],
    "bob@bücher.example": [
        "bob@bücher.example",
        "BOB@BÜCHER.example",
        "bob@xn--bcher-kva.example",
        "Bob@XN--BCHER-KVA.EXAMPLE",
        "bob@bu\u0308cher.example",
    ],
    "a_b%c@example.com": ["A_B%C@example.com"],
    "'@example.com": ["'@EXAMPLE.com"],
}
NOBODYS = [
    *("ada.b@example.co", "da.b@example.com", "ada.b@example.com.au", "a_b%@example.com"),
    *("axb%c@example.com", "b@bücher.example", "ada.b+x@example.com", "'OR'1=1--@x"),
    "\U0010ffff@example.com",
]
NO_ADDRESSES = ["", " ", "ada", "@example.com", "ada@", "@x@", f"{'a' * 250}@x.yz", "a\0@b.cd"]
NO_TIMES = [
    *("", "x", "now", "2026", "2026-01-01", "2026-01-01T00:00:00", "20260101T000000Z"),
    *("1767225600", "1767225600.5", "2026-01-01T00:00Z", "2026-02-30T00:00:00Z", "NaN"),
    *("2026-01-01T24:00:01Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00+25:00", CANARY),
    *("2026-01-01T00:00:00 00:00", "2026-01-01 00:00:00Z"),
    *(
        "\uff12\uff10\uff12\uff16-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z\0",
        "2026-W01-1T00:00:00Z",
        "P1D",
    ),
]
DAY = timedelta(days=1)
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


async def move(database: Database, times: Sequence[datetime]) -> list[str]:
    """Have the messages promised at these times, the oldest first, ids and all; the ids."""

    def execute(tx: Transaction) -> list[str]:
        found = tx.execute(select(messages.c.id).order_by(messages.c.id)).scalars().all()
        moved = []
        for number, (id_, at) in enumerate(zip(found, times, strict=True)):
            new = UUID(int=earliest_id(at.timestamp()).int | 0x7000 << 64 | number)
            statement = update(messages).where(messages.c.id == id_)
            tx.execute(statement.values(id=new, created_at=at))
            moved.append(str(new))
        return moved

    return await database.write(execute)


async def ids(http: httpx.AsyncClient, **params: str) -> list[str]:
    """The ids of a list, the oldest first."""
    return [message["id"] for message in reversed(await owed(http, **params))]


async def test_messages_are_found_by_recipient(reach: Reach) -> None:
    """By the whole address, in any spelling of that mailbox; all of theirs, and nobody else's."""
    http = await operator(reach)
    for email in SPELLINGS:
        person = (await add(http, email=email)).json()
        (await http.patch(f"/v1/people/{person['id']}", json={"name": "Eve"})).raise_for_status()
    everything = await owed(http)
    assert len(everything) == 2 * len(SPELLINGS)
    for email, spellings in SPELLINGS.items():
        theirs = [m for m in everything if m["recipient"] == parse_address(email).recipient]
        for spelling in [email, *spellings]:
            assert await owed(http, recipient=spelling) == theirs, spelling
            found = await owed(http, recipient=spelling, template="changed", state="queued")
            assert found == theirs[:1]
    for spelling in NOBODYS:
        assert await owed(http, recipient=spelling) == [], spelling


async def test_a_recipient_is_a_whole_address(reach: Reach) -> None:
    """422 for what is none: a part of one would find nobody, and look as if none was owed."""
    http = await operator(reach)
    for text in NO_ADDRESSES:
        answer = await http.get("/v1/messages", params={"recipient": text})
        assert answer.status_code == 422, text
        assert [fault["parameter"] for fault in answer.json()["errors"]] == ["recipient"]


async def test_a_message_is_for_the_address_of_its_person(settings: Settings) -> None:
    """Whatever was done to them: that is how a recipient's messages are found."""
    async with opened(settings) as database:
        walk = Walk(database, settings, seed=12)
        await walk.go(120)
        emails = await database.read(
            lambda tx: dict(tx.execute(select(people.c.id, people.c.email_key)).all())
        )
        promised = await messages_in(database)
    assert len(promised) > 10
    for message in promised:
        assert parse_address(message.recipient).key == emails[message.person_id]


async def test_messages_are_found_by_time(reach: Reach) -> None:
    """From the one on, and before the other, to the microsecond; in any offset."""
    http, outbox = await operator(reach), Outbox(reach.database, reach.settings)
    await outbox.fill(5)
    times = [NOON - DAY, NOON - timedelta(microseconds=1000), NOON, NOON + DAY, NOON + 2 * DAY]
    first, before, noon, after, last = await move(reach.database, times)
    expected = {
        ("2026-03-04T12:00:00Z", None): [noon, after, last],
        ("2026-03-04T11:59:59.999Z", None): [before, noon, after, last],
        ("2026-03-04t12:00:00.000001z", None): [after, last],
        (None, "2026-03-04T12:00:00Z"): [first, before],
        (None, "2026-03-04T12:00:00.000001Z"): [first, before, noon],
        ("2026-03-04T12:00:00Z", "2026-03-05T12:00:00Z"): [noon, after][:1],
        ("2026-03-04T13:00:00+01:00", "2026-03-05T17:45:00.1+05:45"): [noon, after],
        ("2026-03-05T12:00:00Z", "2026-03-04T12:00:00Z"): [],
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"): [
            *(first, before, noon, after, last)
        ],
        ("9999-12-31T23:59:59Z", None): [],
        (None, "1969-12-31T23:59:59Z"): [],
    }
    for (since, until), found in expected.items():
        params = {k: v for k, v in (("since", since), ("until", until)) if v is not None}
        assert await ids(http, **params) == found, params
        for filters in ({"state": "queued"}, {"template": "welcome"}):
            assert await ids(http, **params, **filters) == found, params
        assert await ids(http, **params, state="sent") == []
    recipient = {m["id"]: m["recipient"] for m in await owed(http)}[after]
    assert await ids(http, since="2026-03-04T12:00:00Z", recipient=recipient) == [after]
    assert await ids(http, until="2026-03-04T12:00:00Z", recipient=recipient) == []


async def test_clocks_that_differ_hide_nothing(reach: Reach) -> None:
    """Ids are made by the API's clock, times by the database's: up to 10 minutes are no matter."""
    http, outbox = await operator(reach), Outbox(reach.database, reach.settings)
    (message,) = await outbox.fill()
    for minutes in (-9, 9):
        at = message.created_at + timedelta(minutes=minutes)
        await outbox.change(created_at=at)
        until = at + timedelta(milliseconds=1)
        params = {"since": at.isoformat(), "until": until.isoformat()}
        assert await ids(http, **params) == [str(message.id)]
        assert await ids(http, since=until.isoformat()) == []


@pytest.mark.parametrize("name", ["since", "until"])
async def test_a_time_is_one_that_has_one_meaning(reach: Reach, name: str) -> None:
    """422 for all else, which says how it is written; it is not repeated."""
    http = await operator(reach)
    for text in NO_TIMES:
        answer = await http.get("/v1/messages", params={name: text})
        assert answer.status_code == 422, text
        assert answer.json()["errors"] == [{"parameter": name, "detail": NO_TIME}]
        assert CANARY not in answer.text
    bare = await http.get(f"/v1/messages?{name}=2026-01-01T00:00:00+00:00")
    assert bare.status_code == 422
    coded = quote("2026-01-01T00:00:00+00:00")
    assert (await http.get(f"/v1/messages?{name}={coded}")).status_code == 200


@pytest.mark.parametrize("filters", [{}, {"state": "queued"}, {"template": "welcome"}])
async def test_what_is_found_by_time_is_walked_once(reach: Reach, filters: dict[str, str]) -> None:
    """Newest first; none is repeated or missed while new ones are promised."""
    http, outbox = await operator(reach), Outbox(reach.database, reach.settings)
    await outbox.fill(9)
    wanted = (await move(reach.database, [NOON + n * DAY for n in range(9)]))[1:8]
    params: dict[str, Any] = {
        "since": (NOON + DAY).isoformat(),
        "until": (NOON + 8 * DAY).isoformat(),
        "limit": "3",
        **filters,
    }
    seen: list[str] = []
    for number in range(3):
        page = (await http.get("/v1/messages", params=params)).json()
        seen += [message["id"] for message in page["items"]]
        await reach.sign_up(f"late{number}@example.com")
        params["cursor"] = page["next_cursor"]
    assert params["cursor"] is None
    assert seen == wanted[::-1]
