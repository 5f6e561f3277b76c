"""Two workers at the same outbox: every message is sent once, by one of them."""

import asyncio
from collections import Counter

import httpx

from reach.db.database import Database
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import (
    addresses,
    all_sent,
    attempts_in,
    messages_in,
    people_in,
    sign_up,
)
from tests.support.processes.running import client, ended, everything, running_api, worker
from tests.support.servers.mail import MailServer

MESSAGES = 1000
CALLERS, CALLS = 20, 10


async def test_two_workers_and_a_busy_api_send_each_message_once(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """1,000 messages, 20 callers at once: no copy, no lock error, every answer a 202."""
    settings = mailing.model_copy(update={"lease_seconds": 20})
    queued = addresses(MESSAGES, "queued")
    await sign_up(database, settings, *queued)
    async with (
        running_api(settings) as api,
        client(settings) as http,
        worker(settings) as one,
        worker(settings) as other,
    ):
        callers = (call(http, f"caller{number}-") for number in range(CALLERS))
        answers = [status for some in await asyncio.gather(*callers) for status in some]
        everybody = MESSAGES + CALLERS * CALLS
        await eventually(lambda: len(mail_server.messages) >= everybody, 60, every=0.1)
        messages = await all_sent(database)
        processes = (one, other, api)
        for process in processes:
            process.running.terminate()
        assert [await ended(process, 10) for process in processes] == [0, 0, 0]
        logs = "".join(everything(process) for process in processes)
    assert Counter(answers) == {httpx.codes.ACCEPTED: CALLERS * CALLS}
    assert len(await people_in(database)) == everybody
    assert Counter(mail_server.recipients) == {message.recipient: 1 for message in messages}
    attempts = await attempts_in(database)
    assert Counter(attempt.outcome for attempt in attempts) == {"sent": everybody}
    senders = {attempt.worker.rpartition(":")[2] for attempt in attempts}
    assert senders == {str(one.pid), str(other.pid)}
    assert [word for word in ("locked", "cannot", "crashed", "late") if word in logs] == []


async def call(http: httpx.AsyncClient, name: str) -> list[int]:
    """Sign up one address after another; the answers' statuses."""
    return [
        (await http.post("/v1/signups", json={"email": address, "name": "Ada"})).status_code
        for address in addresses(CALLS, name)
    ]


async def test_a_server_slower_than_many_leases_gets_the_message_once(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """It answers the final dot after three leases, renewed all the while: nobody else sends it."""
    settings = mailing.model_copy(update={"smtp_final_seconds": 60})
    await sign_up(database, settings, "ada@example.com")
    gate = mail_server.gate("dot")
    due_times: set[object] = set()

    async def held_for_many_leases() -> bool:
        """Each third of its time a lease is renewed."""
        (message,) = await messages_in(database)
        due_times.add(message.due_at)
        assert (message.state, message.lease) == ("queued", 1)
        return len(due_times) >= 1 + 3 * 3

    async with worker(settings), worker(settings):
        await gate.wait_reached()
        await eventually(held_for_many_leases, 60, every=0.1)
        assert mail_server.messages == []
        gate.open()
        (message,) = await all_sent(database)
    assert (message.lease, message.attempts) == (1, 1)
    assert (gate.count, len(mail_server.messages)) == (1, 1)
