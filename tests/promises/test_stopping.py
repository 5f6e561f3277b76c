"""SIGTERM and Ctrl-C: what is in hand is finished, the rest is free at once, the exit code is 0."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable

import httpx
import pytest

from reach.db.database import Database
from reach.db.errors import OUTCOME_UNKNOWN
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import (
    ROWS_OF_MESSAGES,
    SIGNS_UP,
    TABLE_OF_MESSAGES,
    held,
    is_awaited,
)
from tests.support.database.stored import (
    addresses,
    all_sent,
    attempts_in,
    messages_in,
    people_in,
    released_in,
    sign_up,
)
from tests.support.processes.commands import ReachProcess
from tests.support.processes.reach import ADA
from tests.support.processes.running import (
    client,
    ended,
    half_a_request,
    is_closed,
    running_api,
    worker,
)
from tests.support.servers.mail import SILENCE, MailServer
from tests.support.servers.postgres import Postgres
from tests.support.times import LATE_SECONDS

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
    """After the dot nobody knows: the outcome is unknown, and the next has the same Message-ID."""
    await sign_up(database, mailing, "ada@example.com")
    gate = mail_server.gate("accepted")
    async with worker(mailing, grace_seconds=0.5) as stopped:
        await gate.wait_reached()
        stopped.running.terminate()
        assert await ended(stopped, 5) == 0
    (message,) = await messages_in(database)
    assert (message.state, message.attempts, message.recorded_lease) == ("queued", 1, 1)
    assert [attempt.outcome for attempt in await attempts_in(database)] == ["unknown"]
    gate.open()
    async with worker(mailing):
        await all_sent(database)
    assert [attempt.outcome for attempt in await attempts_in(database)] == ["unknown", "sent"]
    first, second = mail_server.messages
    assert first.message_id == message.message_id
    assert first.content == second.content


@pytest.mark.parametrize(
    ("command", "number"),
    [("api", signal.SIGTERM), ("up", signal.SIGTERM), ("up", signal.SIGINT)],
    ids=["api-SIGTERM", "up-SIGTERM", "up-SIGINT"],
)
async def test_a_stopped_api_answers_the_sign_up_under_way(
    mailing: Settings, database: Database, command: str, number: signal.Signals
) -> None:
    """It takes no more callers, but who is inside is signed up and told so; the exit code is 0."""
    settings = mailing.model_copy(update={"database_seconds": 30, "grace_seconds": 10})
    async with running_api(settings, command) as stopped, client(settings) as http:
        async with held(settings, TABLE_OF_MESSAGES):
            request = asyncio.create_task(http.post("/v1/signups", json=ADA))
            await eventually(lambda: is_awaited(settings, SIGNS_UP))
            stopped.running.send_signal(number)
            await eventually(lambda: is_closed(settings))
            assert not request.done()
        assert (await request).status_code == httpx.codes.ACCEPTED
        assert await ended(stopped, settings.grace_seconds) == 0
    assert await people_in(database) == [ADA["email"]]
    (message,) = await messages_in(database)
    assert message.template == "welcome"


async def test_all_of_up_is_told_to_stop_at_once(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """While a caller is still inside, the worker leases no more and gives back what waits."""
    settings = mailing.model_copy(update={"lease_seconds": 60, "worker_slots": SLOTS})
    await sign_up(database, settings, *addresses(20))
    gate = mail_server.gate("dot")
    async with running_api(settings, "up") as stopped, half_a_request(settings) as finish:
        await gate.wait_reached(SLOTS)
        leased = [message for message in await messages_in(database) if message.lease]

        async def the_rest_is_free() -> bool:
            return await released_in(database) == len(leased) - SLOTS

        stopped.running.terminate()
        await eventually(the_rest_is_free, settings.grace_seconds)
        assert stopped.exit_code is None
        gate.open()
        assert (await finish()).startswith(b"HTTP/1.1 202 ")
        assert await ended(stopped, settings.grace_seconds) == 0
    assert len(mail_server.messages) == SLOTS
    assert ADA["email"] in await people_in(database)


async def test_all_of_up_has_one_grace_time(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """A caller who never ends and a mail server that never answers: not one wait after another."""
    settings = mailing.model_copy(update={"grace_seconds": 4})
    await sign_up(database, settings, "bob@example.com")
    gate = mail_server.gate("accepted")
    async with running_api(settings, "up") as stopped, half_a_request(settings):
        await gate.wait_reached()
        began = time.monotonic()
        stopped.running.terminate()
        assert await ended(stopped, 20) == 0
        assert 4 <= time.monotonic() - began < 4 + 3
    assert [attempt.outcome for attempt in await attempts_in(database)] == ["unknown"]
    assert await people_in(database) == ["bob@example.com"]


@pytest.mark.parametrize("command", ["up", "worker"])
async def test_a_second_signal_cuts_off_at_once(
    mailing: Settings, mail_server: MailServer, database: Database, command: str
) -> None:
    """A message whose content was not begun is free; of one that may have arrived it is unknown."""
    settings = mailing.model_copy(update={"grace_seconds": 60, "smtp_rcpt_seconds": 60})
    await sign_up(database, settings, "ada@example.com", "bob@example.com")
    mail_server.script["rcpt"] = lambda _, argument: SILENCE if "bob" in argument else None
    gate = mail_server.gate("accepted")
    with ReachProcess(command, settings=settings) as stopped:
        await gate.wait_reached()
        await eventually(lambda: mail_server.commands.count("RCPT") == 2)
        stopped.running.send_signal(signal.SIGTERM)
        stopped.running.send_signal(signal.SIGINT)
        assert await ended(stopped, 10) == 0
    stored = {message.recipient: message for message in await messages_in(database)}
    ada, bob = stored["ada@example.com"], stored["bob@example.com"]
    assert (ada.attempts, ada.recorded_lease) == (1, 1)
    assert (bob.attempts, bob.lease, bob.recorded_lease) == (0, 1, 1)
    assert [attempt.outcome for attempt in await attempts_in(database)] == ["unknown"]


@pytest.mark.parametrize("command", ["up", "api"])
async def test_a_second_signal_drops_who_is_inside(mailing: Settings, command: str) -> None:
    """Not told anything, and not kept waiting; the exit code is 0 even so."""
    settings = mailing.model_copy(update={"grace_seconds": 60})
    async with running_api(settings, command) as stopped, half_a_request(settings) as finish:
        stopped.running.terminate()
        await eventually(lambda: is_closed(settings))
        assert stopped.exit_code is None
        stopped.running.terminate()
        assert await ended(stopped, 10) == 0
        assert b" 202 " not in await finish()


@pytest.mark.parametrize("command", ["up", "api"])
async def test_who_is_inside_when_the_grace_time_ends_is_told(
    mailing: Settings, command: str
) -> None:
    """A problem like any other, which does not claim that nothing was done."""
    settings = mailing.model_copy(update={"database_seconds": 20, "grace_seconds": 1})
    async with running_api(settings, command) as stopped, client(settings) as http:
        async with held(settings, TABLE_OF_MESSAGES):
            request = asyncio.create_task(http.post("/v1/signups", json=ADA))
            await eventually(lambda: is_awaited(settings, SIGNS_UP))
            stopped.running.terminate()
            answer = await request
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.json()["detail"], answer.headers["retry-after"]) == (OUTCOME_UNKNOWN, "2")
        assert await ended(stopped, 60) == 0


async def test_the_grace_time_begins_with_the_signal(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """However long it takes to give back what waits."""
    settings = mailing.model_copy(
        update={"grace_seconds": 1, "database_seconds": 10, "lease_seconds": 60, "worker_slots": 1}
    )
    await sign_up(database, settings, *addresses(10))
    gate = mail_server.gate("accepted")
    async with worker(settings) as stopped:
        await gate.wait_reached()
        async with held(settings, ROWS_OF_MESSAGES):
            stopped.running.terminate()
            await eventually(lambda: "not sent" in stopped.output, 4)
        assert await ended(stopped, 10) == 0
    assert [attempt.outcome for attempt in await attempts_in(database)] == ["unknown"]


@pytest.mark.parametrize("goes_away", [Postgres.stop, Postgres.pause], ids=["stopped", "silent"])
@pytest.mark.parametrize("command", ["up", "worker"])
async def test_stopping_without_the_database_takes_a_bounded_time(
    private_postgres: Postgres,
    make_settings: Callable[..., Settings],
    mail_server: MailServer,
    goes_away: Callable[[Postgres], None],
    command: str,
) -> None:
    """What was attempted cannot be noted; it falls due again when its lease is over."""
    settings = make_settings(
        database_url=private_postgres.url,
        smtp_url=mail_server.url,
        port=0,
        grace_seconds=1,
        database_seconds=1,
    )
    async with opened(settings.model_copy(update={"database_seconds": 10})) as database:
        await sign_up(database, settings, *addresses(3))
    gate = mail_server.gate("accepted")
    with ReachProcess(command, settings=settings) as stopped:
        await gate.wait_reached(3)
        goes_away(private_postgres)
        began = time.monotonic()
        stopped.running.terminate()
        assert await ended(stopped, 30) == 0
        assert time.monotonic() - began < 1 + 3 * 1 + LATE_SECONDS


@pytest.mark.parametrize("command", ["up", "worker"])
async def test_stopping_beside_a_lock_takes_a_bounded_time(
    sqlite: str, make_settings: Callable[..., Settings], mail_server: MailServer, command: str
) -> None:
    """SQLite is unavailable in its own way: another program holds its lock."""
    settings = make_settings(
        database_url=sqlite, smtp_url=mail_server.url, port=0, grace_seconds=1, database_seconds=1
    )
    async with opened(settings) as database:
        await sign_up(database, settings, *addresses(3))
    gate = mail_server.gate("accepted")
    with ReachProcess(command, settings=settings) as stopped:
        await gate.wait_reached(3)
        async with held(settings, ROWS_OF_MESSAGES):
            began = time.monotonic()
            stopped.running.terminate()
            assert await ended(stopped, 30) == 0
            assert time.monotonic() - began < 1 + 3 * 1 + LATE_SECONDS
