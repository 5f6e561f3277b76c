"""A process is killed at a named point: nothing is lost, nothing made up, at most one copy more.

Each test shows that the kill hit its point: a gate of a real mail server or a real lock, where
the victim stood.
"""

import fcntl
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from reach.settings import Settings
from tests.eventually import eventually
from tests.servers.mail import DROP, MailServer
from tests.servers.mail_session import Reply
from tests.servers.ports import free_port
from tests.servers.processes import api_process, worker_process
from tests.servers.reach import ADA, Reach, messages_of

LEASE_SECONDS = 1.5


def mailing(settings: Settings, server: MailServer, **changes: Any) -> Settings:
    """Settings whose mail goes to ``server``, with leases short enough to wait for."""
    smtp_url = SecretStr(server.url)
    changed = {"smtp_url": smtp_url, "lease_seconds": LEASE_SECONDS, **changes}
    return Settings(**{**{n: getattr(settings, n) for n in settings.model_fields_set}, **changed})


@asynccontextmanager
async def held_rows(settings: Settings, sql: str) -> AsyncIterator[None]:
    """Hold a real lock: on Postgres what ``sql`` locks; on SQLite, the write lock."""
    if settings.database.is_sqlite:
        connection = sqlite3.connect(settings.database.url.database or "", isolation_level=None)
        connection.execute("PRAGMA busy_timeout=5000")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.rollback()
            connection.close()
        return
    other = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        async with other.transaction():
            await other.execute(sql)
            yield
    finally:
        await other.close()


def copies_are_alike(server: MailServer) -> bool:
    """Whether every copy is the same to the byte, Message-ID and Date with it."""
    return len({message.content for message in server.messages}) == 1


async def settled(reach: Reach) -> Sequence[dict[str, object]]:
    """Wait until nothing is queued; then all messages."""

    async def all_sent() -> bool:
        return all(m["state"] == "sent" for m in await messages_of(reach))

    await eventually(all_sent, 20)
    return await messages_of(reach)


@pytest.mark.parametrize(
    ("stage", "then", "copies"),
    [
        ("data-content", DROP, 1),  # the server drops half a message with its connection
        ("dot", DROP, 1),  # it has all of it, and forgets it with its connection
        ("dot", None, 2),  # it has all of it, and takes it: nobody hears
        ("accepted", None, 2),  # it has taken it: nobody hears
    ],
)
async def test_a_killed_workers_message_is_delivered_by_the_next(
    reach: Reach, mail_server: MailServer, stage: str, then: Reply, copies: int
) -> None:
    """Killed in the content, after the dot, after acceptance: what the server took comes twice."""
    settings = mailing(reach.settings, mail_server)
    await reach.sign_up()
    gate = mail_server.gate(stage)
    with worker_process(settings) as first:
        await gate.wait_reached()
        first.kill()
        assert first.exit_code == -9
    accepted = len(mail_server.messages)
    assert accepted == (1 if stage == "accepted" else 0)
    (message,) = await messages_of(reach)
    assert (message["state"], message["attempts"]) == ("queued", 0)
    gate.open(then)
    with worker_process(settings):
        (message,) = await settled(reach)
    assert len(mail_server.messages) == copies
    assert copies_are_alike(mail_server)
    assert message["attempts"] == 1


async def test_a_worker_killed_between_acceptance_and_mark_sends_one_copy_more(
    reach: Reach, mail_server: MailServer
) -> None:
    """The server took it and said so; the mark was not committed: one copy more, the same."""
    settings = mailing(reach.settings, mail_server)
    await reach.sign_up()
    gate = mail_server.gate("accepted")
    with worker_process(settings) as first:
        await gate.wait_reached()
        async with held_rows(settings, "SELECT id FROM messages FOR UPDATE"):
            gate.open()
            # The reply is out: the session waits for the next command.
            await eventually(lambda: all(s.is_idle for s in mail_server._open))  # noqa: SLF001
            first.kill()
    assert len(mail_server.messages) == 1
    (message,) = await messages_of(reach)
    assert (message["state"], message["attempts"]) == ("queued", 0)
    with worker_process(settings):
        await settled(reach)
    assert len(mail_server.messages) == 2
    assert copies_are_alike(mail_server)


async def test_an_api_killed_before_commit_leaves_nothing(
    reach: Reach, mail_server: MailServer
) -> None:
    """No person, no message, no email: and signing up again works."""
    settings = mailing(reach.settings, mail_server, port=free_port(), database_seconds=20)
    lock = "LOCK TABLE messages IN ACCESS EXCLUSIVE MODE"
    with api_process(settings) as api:
        async with held_rows(settings, lock), httpx.AsyncClient(trust_env=False) as http:
            answers: list[httpx.Response] = []

            async def sign_up() -> None:
                with pytest.raises(httpx.TransportError):
                    answers.append(await http.post(f"{settings.origin}/v1/signups", json=ADA))

            async with anyio.create_task_group() as group:
                group.start_soon(sign_up)
                await eventually(lambda: waits_in_transaction(settings))
                api.kill()
            assert answers == []
    everyone = await reach.http.get("/v1/people", headers=await reach.key())
    assert everyone.json()["items"] == []
    with worker_process(settings):
        assert (await reach.sign_up()).status_code == 202
        await settled(reach)
    assert mail_server.recipients == ["ada@example.com"]


async def waits_in_transaction(settings: Settings) -> bool:
    """Whether the API stands where the lock stops it: after INSERT people, or before BEGIN."""
    if settings.database.is_sqlite:
        # It has its turn (the lock file), so it waits for the write lock itself.
        with open(f"{settings.database.url.database}-turn", "a+b") as file:  # noqa: ASYNC230, PTH123
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND query LIKE 'INSERT INTO messages%' AND xact_start IS NOT NULL "
            "AND datname = current_database()"
        )
        return bool(await connection.fetchval(query))
    finally:
        await connection.close()


async def test_a_frozen_workers_late_word_is_ignored(reach: Reach, mail_server: MailServer) -> None:
    """Stopped past its lease and continued: another has sent its messages, and nobody twice."""
    settings = mailing(reach.settings, mail_server, smtp_rcpt_seconds=60)
    for number in range(4):
        await reach.sign_up(f"p{number}@example.com")
    gate = mail_server.gate("rcpt")
    with worker_process(settings) as frozen:
        await gate.wait_reached(4)
        frozen.pause()
        gate.open()
        with worker_process(settings):
            await settled(reach)
            assert len(mail_server.messages) == 4
            frozen.cont()
            await eventually(lambda: frozen.output.count("settled too late") >= 4, 20)
    assert len(mail_server.messages) == 4
    assert all(m["attempts"] == 1 for m in await messages_of(reach))
