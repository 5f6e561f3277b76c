"""kill -9 of the API around its COMMIT: both, person and email, or neither; never an echo."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from types import MappingProxyType

import httpx
import pytest

from reach.db.database import Database
from reach.settings import Settings
from tests.support.eventually import eventually
from tests.support.mail import MailServer
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.processes import ReachProcess
from tests.support.promises.locks import (
    SIGNS_UP,
    TABLE_OF_MESSAGES,
    fetch,
    hang_commits,
    hanging_commits,
    held,
    is_awaited,
    let_commits_go,
)
from tests.support.promises.running import client, running_api, worker
from tests.support.promises.stored import all_sent, messages_in, opened, people_in
from tests.support.reach import ADA

KILLED = -9
PATIENT_SECONDS = 30
MOST_RACES = 20


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


def add_ballast(settings: Settings) -> None:
    """Fill the write-ahead log, so that the next COMMIT folds it in before it returns.

    That COMMIT is durable and seen by others while it does so: time enough for a kill.
    """
    with closing(sqlite3.connect(settings.database.url.database or "")) as connection:
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("CREATE TABLE IF NOT EXISTS ballast (bytes)")
        connection.execute("INSERT INTO ballast VALUES (zeroblob(30000000))")
        connection.commit()


def killed_unanswered(
    settings: Settings,
    api: ReachProcess,
    email: str,
    path: str = "/v1/signups",
    headers: Mapping[str, str] = MappingProxyType({}),
) -> bool:
    """Sign up and kill the API as soon as its COMMIT is seen; whether it had not answered yet.

    It blocks on purpose: nothing else may come between seeing and killing.
    """
    body = json.dumps({"email": email, "name": "Ada"}).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {settings.host}\r\nConnection: close\r\n{more}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    file = settings.database.url.database or ""
    with closing(sqlite3.connect(file)) as watcher:
        version = watcher.execute("PRAGMA data_version").fetchone()
        with socket.create_connection((settings.host, settings.port), timeout=10) as caller:
            caller.sendall(head.encode() + body)
            deadline = time.monotonic() + PATIENT_SECONDS
            while watcher.execute("PRAGMA data_version").fetchone() == version:
                assert time.monotonic() < deadline, "the sign-up was never committed"
            os.kill(api.pid, signal.SIGKILL)
            try:
                answer = caller.recv(1)
            except ConnectionResetError:
                answer = b""
    assert api.wait() == KILLED
    return not answer
