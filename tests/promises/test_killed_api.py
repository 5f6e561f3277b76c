"""kill -9 of the API around its COMMIT: both, person and email, or neither; never an echo."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from reach.db.database import Database
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import (
    SIGNS_UP,
    TABLE_OF_MESSAGES,
    fetch,
    hang_commits,
    hanging_commits,
    held,
    is_awaited,
    let_commits_go,
)
from tests.support.database.stored import all_sent, messages_in, people_in
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA
from tests.support.processes.running import (
    KILLED,
    MOST_RACES,
    PATIENT_SECONDS,
    add_ballast,
    client,
    killed_unanswered,
    running_api,
    worker,
)
from tests.support.servers.mail import MailServer
from tests.support.servers.postgres import Postgres


async def test_killed_before_commit_leaves_nothing(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """Nothing is stored, nothing is ever sent, and signing up again works like a first time."""
    settings = mailing.model_copy(update={"database_seconds": PATIENT_SECONDS})
    async with (
        running_api(settings) as api,
        client(settings) as http,
        held(settings, TABLE_OF_MESSAGES),
    ):
        request = asyncio.create_task(http.post("/v1/signups", json=ADA))
        await eventually(lambda: is_awaited(settings, SIGNS_UP))
        await assert_person_is_uncommitted(settings)
        api.kill()
        assert api.exit_code == KILLED
        with pytest.raises(httpx.TransportError):
            await request
    await eventually(lambda: nobody_else_writes(settings))
    assert (await people_in(database), await messages_in(database)) == ([], [])
    async with running_api(settings), client(settings) as http, worker(settings):
        assert (await http.post("/v1/signups", json=ADA)).status_code == httpx.codes.ACCEPTED
        (message,) = await all_sent(database)
    assert (message.template, message.attempts) == ("welcome", 1)
    assert [mail.message_id for mail in mail_server.messages] == [message.message_id]


async def assert_person_is_uncommitted(settings: Settings) -> None:
    """Assert that the person is written and not committed (on SQLite there is no such moment)."""
    if settings.database.is_sqlite:
        return
    writers = (
        "SELECT count(*) FROM pg_locks WHERE relation = 'people'::regclass "
        "AND mode = 'RowExclusiveLock' AND granted"
    )
    assert await fetch(settings, writers) == 1
    assert await fetch(settings, "SELECT count(*) FROM people") == 0


async def nobody_else_writes(settings: Settings) -> bool:
    """Whether the database has let go of what the killed process had begun."""
    if settings.database.is_sqlite:
        return True
    writers = "SELECT count(*) FROM pg_locks WHERE relation = 'people'::regclass"
    return await fetch(settings, writers) == 0


async def test_killed_after_commit_on_postgres_keeps_the_promise(
    private_postgres: Postgres, make_settings: Callable[..., Settings], mail_server: MailServer
) -> None:
    """A COMMIT that is durable but unanswered: the person is there, and gets one email."""
    url = private_postgres.url
    settings = make_settings(
        database_url=url,
        database_seconds=PATIENT_SECONDS,
        smtp_url=mail_server.url,
        port=free_port(),
    )
    async with running_api(settings) as api, client(settings) as http:
        await hang_commits(url)
        request = asyncio.create_task(http.post("/v1/signups", json=ADA))
        await eventually(lambda: hanging_commits(url))
        assert not request.done()
        api.kill()
        assert api.exit_code == KILLED
        with pytest.raises(httpx.TransportError):
            await request
    await let_commits_go(url)
    async with opened(settings) as database, worker(settings):
        await eventually(lambda: people_in(database))
        (message,) = await all_sent(database)
        assert await people_in(database) == [ADA["email"]]
    assert (message.template, message.attempts) == ("welcome", 1)
    assert [mail.message_id for mail in mail_server.messages] == [message.message_id]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_killed_after_commit_on_sqlite_keeps_the_promise(
    mailing: Settings, mail_server: MailServer, database: Database
) -> None:
    """A COMMIT is on disk, and the answer never came: the person is there, and gets one email."""
    for number in range(MOST_RACES):
        email = f"ada{number}@example.com"
        async with running_api(mailing) as api:
            add_ballast(mailing)
            if killed_unanswered(mailing, api, email):
                break
    else:
        pytest.fail("the API was always quicker than the kill")
    assert await people_in(database) == [f"ada{n}@example.com" for n in range(number + 1)]
    async with worker(mailing):
        await all_sent(database)
    mine = [mail for mail in mail_server.messages if mail.recipient == email]
    assert len(mine) == 1
    assert len(mail_server.messages) == number + 1
