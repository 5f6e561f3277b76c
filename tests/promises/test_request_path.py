"""What a sign-up does before it is answered: one commit, and nothing else; so for a link."""

import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import httpx

from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.database.stored import messages_in, people_in
from tests.support.processes.ports import free_port
from tests.support.processes.running import client, running_api
from tests.support.servers.mail import MailServer
from tests.support.servers.postgres import Postgres

#: Where the index of the write-ahead log counts transactions (https://sqlite.org/walformat.html).
WAL_COUNTER = slice(8, 12)

Counted = Callable[[], Awaitable[int]]


async def test_a_sign_up_is_one_commit_and_no_mail_on_sqlite(
    sqlite: str, make_settings: Callable[..., Settings], mail_server: MailServer
) -> None:
    """Whatever the mail server does, and whether the address is known or not."""
    settings = make_settings(database_url=sqlite, smtp_url=mail_server.url, port=free_port())

    index = Path(f"{settings.database.url.database}-shm")

    def counter() -> int:
        return int(struct.unpack("=I", index.read_bytes()[WAL_COUNTER])[0])

    async def commits() -> int:
        return counter()

    await assert_one_commit_each(settings, mail_server, commits)


async def test_a_sign_up_is_one_commit_and_no_mail_on_postgres(
    private_postgres: Postgres, make_settings: Callable[..., Settings], mail_server: MailServer
) -> None:
    """Whatever the mail server does, and whether the address is known or not."""
    url = private_postgres.url
    settings = make_settings(database_url=url, smtp_url=mail_server.url, port=free_port())
    connection = await asyncpg.connect(url)
    # So that nobody else writes on this server.
    await connection.execute("ALTER SYSTEM SET autovacuum = off")
    await connection.execute("SELECT pg_reload_conf()")

    async def commits() -> int:
        """Every transaction that writes takes a number; reading takes none."""
        query = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        return int(await connection.fetchval(query))

    try:
        await assert_one_commit_each(settings, mail_server, commits)
    finally:
        connection.terminate()


async def assert_one_commit_each(
    settings: Settings, mail_server: MailServer, commits: Counted
) -> None:
    """Assert that each request is 202, one commit more, and no connection to the mail server."""
    async with running_api(settings), opened(settings) as database, client(settings) as http:
        assert await people_in(database) == []
        for number, break_server in enumerate((stall, refuse, go_down)):
            await break_server(mail_server)
            ada, nobody = f"ada{number}@example.com", f"nobody{number}@example.com"
            for url, body in (
                ("/v1/links", {"email": ada}),  # not signed up yet
                ("/v1/signups", {"email": ada, "name": "Ada"}),
                ("/v1/signups", {"email": ada, "name": "Ada"}),
                ("/v1/links", {"email": ada}),
                ("/v1/links", {"email": nobody}),
            ):
                before = await commits()
                answer = await http.post(url, json=body)
                assert answer.status_code == httpx.codes.ACCEPTED
                assert await commits() == before + 1
            assert len(await people_in(database)) == number + 1
            assert len(await messages_in(database)) == 2 * (number + 1)
    assert mail_server.sessions == 0


async def stall(mail_server: MailServer) -> None:
    """Let it accept connections and say nothing."""
    mail_server.stall()


async def refuse(mail_server: MailServer) -> None:
    """Let it turn everybody away."""
    mail_server.resume()
    mail_server.script["greeting"] = "554 5.3.2 No"


async def go_down(mail_server: MailServer) -> None:
    """Let nobody listen at its port."""
    await mail_server.stop()
