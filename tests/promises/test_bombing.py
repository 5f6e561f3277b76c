"""Sign-up bombing: hundreds of strangers cannot have one person's inbox filled."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import httpx
from sqlalchemy import update

from reach.db.database import Database
from reach.messages.model import messages
from reach.people.link_requests import is_any
from tests.support.clock import eventually
from tests.support.database.stored import all_sent, confirm_everybody, messages_in
from tests.support.forms import shape
from tests.support.people import everybody, operator
from tests.support.processes.reach import Reach, running_reach, running_worker
from tests.support.servers.mail import MailServer

CLIENTS = 400
VICTIM = {"email": "victim@example.com", "name": "Vic"}
#: Each answers a stranger who names the victim.
Call = Callable[[httpx.AsyncClient, Mapping[str, str]], Any]
ADDRESS = {"email": VICTIM["email"]}
CALLS: tuple[Call, ...] = (
    lambda http, headers: http.post("/v1/signups", json=VICTIM, headers=headers),
    lambda http, headers: http.post("/", data=VICTIM, headers=headers),
    lambda http, headers: http.post("/v1/links", json=ADDRESS, headers=headers),
    lambda http, headers: http.post("/links", data=ADDRESS, headers=headers),
)
#: The victim is told of every sign-up; each stranger comes from an address of their own.
CHANGES = {"already_hours": 1e-9, "trusted_proxies": "127.0.0.1"}


async def ask(
    turn: asyncio.Semaphore, replicas: list[httpx.AsyncClient], number: int
) -> httpx.Response:
    """Be one of the strangers: each at one of the replicas, by one of the calls."""
    client = f"203.0.{number // 250}.{number % 250 + 1}"
    http, call = replicas[number % len(replicas)], CALLS[number // len(replicas) % len(CALLS)]
    async with turn:
        answer: httpx.Response = await call(http, {"X-Forwarded-For": client})
    return answer


async def test_a_bombed_inbox_gets_the_budget_and_no_more(
    reach: Reach, mail_server: MailServer
) -> None:
    """Four hundred clients at two replicas: five emails an hour, and to each client one answer.

    The victim's own email, of a change to their record, still goes out.
    """
    settings = reach.settings.model_copy(update=CHANGES)
    async with running_reach(settings) as one, running_reach(settings) as other:
        turn = asyncio.Semaphore(64)
        call = partial(ask, turn, [one.http, other.http])
        async with running_worker(settings):
            await one.sign_up(VICTIM["email"], VICTIM["name"])
            await all_sent(one.database)
            await confirm_everybody(one.database)
            answers = await asyncio.gather(*map(call, range(CLIENTS)))
            await eventually(partial(all_looked_up, one.database))
            found = Counter(map(shape, answers))
            # A sign-up and a request for a link, by API and by page: one answer for each.
            assert sorted(status for status, *_ in found) == [202, 202, 303, 303]
            sent = await all_sent(one.database)
            first, *others = [message.template for message in sent]
            assert (first, len(others)) == ("welcome", 4)
            assert set(others) <= {"already-signed-up", "manage-link"}
            assert mail_server.recipients == ["victim@example.com"] * 5
            http = await operator(one)
            (victim,) = await everybody(http)
            changed = await http.patch(f"/v1/people/{victim['id']}", json={"name": "Victoria"})
            assert changed.status_code == 200
            await eventually(lambda: len(mail_server.recipients) == 6)
    templates = [message.template for message in await messages_in(reach.database)]
    assert Counter(templates) == Counter(["welcome", "changed", *others])


async def all_looked_up(database: Database) -> bool:
    """Whether no request for a link waits."""
    return not await database.read(is_any)


async def test_a_bombed_inbox_of_nobody_who_has_confirmed(
    reach: Reach, mail_server: MailServer
) -> None:
    """The same budget for welcomes; and what was promised last is sent, never cancelled in vain."""
    settings = reach.settings.model_copy(update=CHANGES)
    async with running_reach(settings) as one, running_reach(settings) as other:
        turn = asyncio.Semaphore(64)
        call = partial(ask, turn, [one.http, other.http])
        answers = await asyncio.gather(*map(call, range(CLIENTS)))
        assert sorted({answer.status_code for answer in answers}) == [202, 303]
        promised = await messages_in(one.database)
        assert [message.template for message in promised] == ["welcome"] * 5
        assert [message.state for message in promised] == ["cancelled"] * 4 + ["queued"]
        async with running_worker(settings):
            await eventually(lambda: mail_server.messages)
            await eventually(partial(all_looked_up, one.database))
    assert [mail.message_id for mail in mail_server.messages] == [promised[-1].message_id]


async def test_an_operator_is_not_limited(reach: Reach) -> None:
    """What operators promise goes out over the budget, and takes nothing from it."""
    settings = reach.settings.model_copy(
        update={"already_hours": 1e-9, "limit_mail_per_address": "1/hour"}
    )
    async with running_reach(settings) as limited:
        http = await operator(limited)
        person = (await http.post("/v1/people", json=VICTIM)).json()
        assert person["welcome"]["state"] == "queued"
        for _ in range(3):
            body = {"person_id": person["id"], "template": "welcome"}
            assert (await http.post("/v1/messages", json=body)).status_code == 201
        for _ in range(3):
            assert (await limited.sign_up("VICTIM@example.com")).status_code == 202
        templates = [message.template for message in await messages_in(limited.database)]
        assert Counter(templates) == {"welcome": 5}
        assert await by_strangers(limited.database) == 1


async def by_strangers(database: Database) -> int:
    """How many messages no operator has promised."""
    return sum("by_operator" not in message.data for message in await messages_in(database))


async def test_who_was_not_told_is_told_when_there_is_budget(reach: Reach) -> None:
    """An email that the budget held back does not count as the day's one notice."""
    await reach.sign_up()
    await reach.database.write(lambda tx: tx.execute(update(messages).values(state="sent")))
    await confirm_everybody(reach.database)
    poor = reach.settings.model_copy(update={"limit_mail_per_address": "1/hour"})
    async with running_reach(poor) as limited:
        await limited.sign_up()
        assert [m.template for m in await messages_in(limited.database)] == ["welcome"]
    await reach.sign_up()
    templates = [message.template for message in await messages_in(reach.database)]
    assert templates == ["welcome", "already-signed-up"]
