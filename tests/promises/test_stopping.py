"""SIGTERM and Ctrl-C: what is in hand is finished, the rest is free at once, the exit code is 0."""

import asyncio
import signal
from collections import Counter

import httpx
import pytest

from reach.db.engine import Database
from reach.settings import Settings
from tests.eventually import eventually
from tests.promises.locks import TABLE_OF_MESSAGES, held, is_awaited
from tests.promises.running import client, door, ended, worker
from tests.promises.stored import (
    addresses,
    all_sent,
    attempts_in,
    messages_in,
    people_in,
    released_in,
    sign_up,
)
from tests.servers.mail import MailServer
from tests.servers.reach import ADA

SLOTS = 4


async def test_a_stopped_worker_finishes_what_it_sends_and_releases_the_rest(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """Within the grace time, without a copy; what it had not begun is due again at once."""
    settings = mailing.model_copy(update={"lease_seconds": 60, "grace_seconds": 10})
    recipients = addresses(20)
    await sign_up(database, settings, *recipients)
    gate = mail_server.gate("dot")
    async with worker(settings, worker_slots=SLOTS) as stopped:
        await gate.wait_reached(SLOTS)
        leased = [message for message in await messages_in(database) if message.lease]
        assert len(leased) > SLOTS

        async def the_rest_is_free() -> bool:
            return await released_in(database) == len(leased) - SLOTS

        stopped.running.terminate()
        await eventually(the_rest_is_free, settings.grace_seconds)
        assert mail_server.messages == []
        gate.open()
        assert await ended(stopped, settings.grace_seconds) == 0
    assert len(mail_server.messages) == SLOTS
    async with worker(settings):
        messages = await all_sent(database)
    assert {message.attempts for message in messages} == {1}
    assert Counter(mail_server.recipients) == dict.fromkeys(recipients, 1)
    assert gate.count == len(recipients)


async def test_a_worker_stopped_while_the_server_is_silent_counts_the_attempt(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """After the dot nobody knows: the attempt is unsure, and the next has the same Message-ID."""
    await sign_up(database, mailing, "ada@example.com")
    gate = mail_server.gate("accepted")
    async with worker(mailing, grace_seconds=0.5) as stopped:
        await gate.wait_reached()
        stopped.running.terminate()
        assert await ended(stopped, 5) == 0
    (message,) = await messages_in(database)
    assert (message.state, message.attempts, message.settled_lease) == ("queued", 1, 1)
    assert [attempt.outcome for attempt in await attempts_in(database)] == ["unsure"]
    gate.open()
    async with worker(mailing):
        await all_sent(database)
    assert [attempt.outcome for attempt in await attempts_in(database)] == ["unsure", "sent"]
    first, second = mail_server.messages
    assert first.message_id == message.message_id
    assert first.content == second.content


@pytest.mark.parametrize(
    ("command", "number"),
    [("api", signal.SIGTERM), ("up", signal.SIGTERM), ("up", signal.SIGINT)],
    ids=["api-SIGTERM", "up-SIGTERM", "up-SIGINT"],
)
async def test_a_stopped_door_answers_the_sign_up_under_way(
    mailing: Settings, database: Database, command: str, number: signal.Signals
) -> None:
    """It takes no more callers, but who is inside is signed up and told so; the exit code is 0."""
    settings = mailing.model_copy(update={"database_seconds": 30, "grace_seconds": 10})
    async with door(settings, command) as stopped, client(settings) as http:
        async with held(settings, TABLE_OF_MESSAGES):
            request = asyncio.create_task(http.post("/v1/signups", json=ADA))
            await eventually(lambda: is_awaited(settings, "INSERT INTO messages"))
            stopped.running.send_signal(number)
            await eventually(lambda: is_closed(settings))
            assert not request.done()
        assert (await request).status_code == httpx.codes.ACCEPTED
        assert await ended(stopped, settings.grace_seconds) == 0
    assert await people_in(database) == [ADA["email"]]
    (message,) = await messages_in(database)
    assert message.template == "welcome"


async def is_closed(settings: Settings) -> bool:
    """Whether nobody listens at the door's port any more."""
    try:
        _, writer = await asyncio.open_connection(settings.host, settings.port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False
