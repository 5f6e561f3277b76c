"""The same `Idempotency-Key` at several processes at once, and across a kill -9: done once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from sqlalchemy import delete

from reach.auth import keys
from reach.db.database import Database
from reach.db.transaction import Transaction
from reach.people.model import people
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import (
    SIGNS_UP,
    TABLE_OF_MESSAGES,
    hang_commits,
    hanging_commits,
    held,
    is_awaited,
    let_commits_go,
)
from tests.support.database.stored import all_sent, messages_in, people_in
from tests.support.forms import shape
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA
from tests.support.processes.running import (
    KILLED,
    MOST_RACES,
    add_ballast,
    client,
    killed_unanswered,
    running_api,
    worker,
)
from tests.support.servers.mail import MailServer
from tests.support.servers.postgres import Postgres

TIMES = 50
POSTS = ["/v1/signups", "/v1/people"]
KEY = {"Idempotency-Key": "one"}
ROW_OF_KEY = "SELECT key FROM idempotency_keys FOR UPDATE"


async def key_of(database: Database) -> dict[str, str]:
    """Make an operator's key whose use was noted just now: nothing else is written meanwhile."""
    text = keys.generate()

    def add(tx: Transaction) -> None:
        keys.touch(tx, keys.add(tx, text, "test", keys.SCOPES).id)

    await database.write(add)
    return {"Authorization": f"Bearer {text}", **KEY}


@asynccontextmanager
async def two_processes(settings: Settings) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Run two API processes beside each other; clients of both."""
    other = settings.model_copy(update={"port": free_port()})
    async with (
        running_api(settings),
        running_api(other),
        client(settings) as one,
        client(other) as two,
    ):
        yield [one, two]


@pytest.mark.parametrize("url", POSTS)
async def test_fifty_times_at_once(
    mailing: Settings, mail_server: MailServer, database: Database, url: str
) -> None:
    """At two processes: one person, one email, fifty equal answers."""
    headers = await key_of(database)
    async with two_processes(mailing) as processes:
        calls = [processes[n % 2].post(url, json=ADA, headers=headers) for n in range(TIMES)]
        answers = await asyncio.gather(*calls)
        other = await processes[0].post(url, json={**ADA, "name": "Eve"}, headers=headers)
    assert [answer.is_success for answer in answers] == [True] * TIMES
    assert len({str(shape(answer)) for answer in answers}) == 1
    assert other.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert await people_in(database) == [ADA["email"]]
    async with worker(mailing):
        (message,) = await all_sent(database)
    assert [mail.message_id for mail in mail_server.messages] == [message.message_id]


@pytest.mark.parametrize("url", POSTS)
async def test_who_comes_meanwhile_waits(mailing: Settings, database: Database, url: str) -> None:
    """The first is held up after its claim: a second one, elsewhere, gets the first's answer."""
    headers = await key_of(database)
    async with two_processes(mailing) as processes:
        async with held(mailing, TABLE_OF_MESSAGES):
            first = asyncio.create_task(processes[0].post(url, json=ADA, headers=headers))
            is_stranger = url == "/v1/signups"
            await eventually_awaited(mailing, SIGNS_UP if is_stranger else "INSERT INTO messages")
            second = asyncio.create_task(processes[1].post(url, json=ADA, headers=headers))
            await eventually_awaited(mailing, "INSERT INTO idempotency_keys")
        assert (await first).is_success
        assert shape(await second) == shape(await first)
    assert len(await messages_in(database)) == 1


@pytest.mark.parametrize("url", POSTS)
async def test_who_waits_too_long_is_told(mailing: Settings, database: Database, url: str) -> None:
    """503 and when to come back; then the stored answer is there."""
    headers = await key_of(database)
    settings = mailing.model_copy(update={"database_seconds": 1})
    async with running_api(settings), client(settings) as http:
        first = await http.post(url, json=ADA, headers=headers)
        async with held(settings, ROW_OF_KEY):
            late = await http.post(url, json=ADA, headers=headers)
        assert late.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert late.headers["retry-after"] == "2"
        assert shape(await http.post(url, json=ADA, headers=headers)) == shape(first)
    assert len(await messages_in(database)) == 1


async def test_killed_after_commit_on_postgres_gives_the_same_id(
    private_postgres: Postgres, make_settings: Callable[..., Settings]
) -> None:
    """A COMMIT that is durable but unanswered: who asks again gets the person's id."""
    url = private_postgres.url
    settings = make_settings(database_url=url, database_seconds=30, port=free_port())
    async with opened(settings) as database:
        headers = await key_of(database)
        async with running_api(settings) as api, client(settings) as http:
            await hang_commits(url)
            request = asyncio.create_task(http.post("/v1/people", json=ADA, headers=headers))
            await eventually(lambda: hanging_commits(url))
            api.kill()
            assert api.exit_code == KILLED
            with pytest.raises(httpx.TransportError):
                await request
        await let_commits_go(url)
        await eventually(lambda: people_in(database))
        await assert_the_same_id(settings, database, headers)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_killed_after_commit_on_sqlite_gives_the_same_id(
    mailing: Settings, database: Database
) -> None:
    """A COMMIT is on disk, and the answer never came: who asks again gets the person's id."""
    for _ in range(MOST_RACES):
        headers = await key_of(database)
        async with running_api(mailing) as api:
            add_ballast(mailing)
            if killed_unanswered(mailing, api, ADA["email"], "/v1/people", headers):
                break
        await forget_everybody(database)
    else:
        pytest.fail("the API was always quicker than the kill")
    await assert_the_same_id(mailing, database, headers)


async def eventually_awaited(settings: Settings, statement: str) -> None:
    """Wait until somebody stands before the lock with such a statement."""
    await eventually(lambda: is_awaited(settings, statement))


async def forget_everybody(database: Database) -> None:
    """Delete all people, and by cascade what is theirs."""

    def execute(tx: Transaction) -> None:
        tx.execute(delete(people))

    await database.write(execute)


async def assert_the_same_id(
    settings: Settings, database: Database, headers: dict[str, str]
) -> None:
    """Ask again, twice; the answer tells of the one person, of whom there is one message."""
    async with running_api(settings), client(settings) as http:
        answers = [await http.post("/v1/people", json=ADA, headers=headers) for _ in range(2)]
    (message,) = await messages_in(database)
    assert await people_in(database) == [ADA["email"]]
    assert [answer.status_code for answer in answers] == [httpx.codes.CREATED] * 2
    assert [answer.json()["id"] for answer in answers] == [str(message.person_id)] * 2
