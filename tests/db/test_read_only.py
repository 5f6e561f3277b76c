"""Postgres takes no writes: it is a standby, or set to be read-only.

What can be read is read, the reason is said, and within two seconds of a server that takes writes
being there, all goes on.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
import asyncpg
import httpx
import pytest

from reach.auth import keys
from reach.db.errors import READ_ONLY_DATABASE
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.databases import execute, migrate
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.running import client, running_api, sign_up, worker
from tests.support.servers.mail import MailServer
from tests.support.servers.postgres import NoPostgres, Postgres


class Replica(Postgres):
    """A server that begins as a copy of another one, which has not started yet."""

    def __init__(self, other: Postgres) -> None:
        self._other = other
        super().__init__()

    def _initialise(self) -> None:
        self._prepare()
        shutil.copytree(self._other.folder / "data", self.folder / "data", symlinks=True)
        self._hand_over(self.folder / "data")


@contextmanager
def pair() -> Iterator[tuple[Postgres, Postgres]]:
    """Run a primary, and a standby that follows it. Raises NoPostgres."""
    primary = Postgres()
    try:
        standby = Replica(primary)
        try:
            primary.start()
            standby.follow(primary)
            standby.start()
            yield primary, standby
        finally:
            standby.close()
    finally:
        primary.close()


def promote(standby: Postgres) -> None:
    """Make a standby the primary, and wait until it is."""
    execute(standby.url, "SELECT pg_promote(true, 30)")


def fail_over(primary: Postgres, standby: Postgres) -> None:
    """Have the standby be the primary, and the primary come back as its standby."""
    primary.stop()
    promote(standby)
    primary.follow(standby)
    primary.start()


HEALED_SECONDS = 2
SAID = "the database takes no writes"


@pytest.fixture
def servers() -> Iterator[tuple[Postgres, Postgres]]:
    """Offer a primary, migrated, and its standby."""
    try:
        with pair() as (primary, standby):
            migrate(primary.url)
            yield primary, standby
    except NoPostgres as reason:
        pytest.skip(str(reason))


def first(one: Postgres, other: Postgres) -> str:
    """Write a list of two servers."""
    hosts = "&".join(f"host=127.0.0.1:{server.port}" for server in (one, other))
    return f"postgresql://postgres@/postgres?{hosts}"


async def do(url: str, *statements: str) -> None:
    """Run statements as somebody who may write whatever the server's default is."""
    writes = {"default_transaction_read_only": "off"}
    connection = await asyncpg.connect(url, server_settings=writes)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[tuple[ReachProcess, httpx.AsyncClient]]:
    """Run an API, and speak to it."""
    async with running_api(settings) as api, client(settings) as http:
        yield api, http


async def operator_key(settings: Settings) -> dict[str, str]:
    """Make an operator's key; the header it goes in."""
    text = keys.generate()
    async with opened(settings) as database:
        await database.write(keys.add, text, "test", keys.SCOPES)
    return {"Authorization": f"Bearer {text}"}


def statuses(http: httpx.AsyncClient) -> Callable[[], "asyncio.Future[list[int]]"]:
    """Ask for what needs writing: a sign-up, and whether it is ready."""
    count = 0

    async def ask() -> list[int]:
        nonlocal count
        count += 1
        answers = [await sign_up(http, f"person{count}"), await http.get("/readyz")]
        return [answer.status_code for answer in answers]

    return lambda: asyncio.ensure_future(ask())


async def comes_to(ask: Callable[[], "asyncio.Future[list[int]]"], wanted: list[int]) -> None:
    """Wait until the statuses are these, for as long as healing may take."""

    async def is_so() -> bool:
        return await ask() == wanted

    await eventually(is_so, HEALED_SECONDS, 0.05)


async def is_told(api: ReachProcess, settings: Settings) -> None:
    """An operator learns of it: once in the log, by reason; and from `reach check`."""
    (said,) = [line for line in api.log if line["message"] == SAID]
    assert said["event"]["reason"] == READ_ONLY_DATABASE
    with ReachProcess("check", settings=settings) as check:
        assert await anyio.to_thread.run_sync(check.wait, 30) == 1
        found = [line for line in check.output.splitlines() if line.startswith("!! database:")]
    assert found == [f"!! database: answers, but takes no writes. {READ_ONLY_DATABASE}"]


async def test_it_is_set_to_be_read_only_and_back(
    make_settings: Callable[..., Settings], private_postgres: Postgres
) -> None:
    """For the whole server, as providers do where a disk is nearly full."""
    url = private_postgres.url
    settings = make_settings(database_url=url, port=free_port())
    key = await operator_key(settings)
    async with served(settings) as (api, http):
        ask = statuses(http)
        assert await ask() == [202, 200]
        reload = "SELECT pg_reload_conf()"
        await do(url, "ALTER SYSTEM SET default_transaction_read_only = on", reload)
        await comes_to(ask, [503, 503])
        read = await http.get("/v1/people", headers=key)
        assert read.raise_for_status().json()["items"]
        await is_told(api, settings)
        await do(url, "ALTER SYSTEM RESET default_transaction_read_only", reload)
        await comes_to(ask, [202, 200])


async def test_connections_opened_while_it_was_read_only_are_given_up(
    make_settings: Callable[..., Settings], private_postgres: Postgres
) -> None:
    """They would stay as they are, whatever is set afterwards."""
    url = private_postgres.url
    settings = make_settings(database_url=url, port=free_port())
    await do(url, "ALTER DATABASE postgres SET default_transaction_read_only = on")
    async with served(settings) as (_, http):
        ask = statuses(http)
        assert [await ask() for _ in range(3)] == [[503, 503]] * 3
        await do(url, "ALTER DATABASE postgres RESET default_transaction_read_only")
        await comes_to(ask, [202, 200])


async def test_a_primary_becomes_a_standby_and_a_primary_again(
    make_settings: Callable[..., Settings], servers: tuple[Postgres, Postgres]
) -> None:
    """Behind one address: as when a name still leads to the old primary, and later to the new."""
    here, there = servers
    settings = make_settings(database_url=here.url, port=free_port())
    key = await operator_key(settings)
    async with served(settings) as (api, http):
        ask = statuses(http)
        assert await ask() == [202, 200]
        await anyio.to_thread.run_sync(fail_over, here, there)
        assert [await ask() for _ in range(3)] == [[503, 503]] * 3
        read = await http.get("/v1/people", headers=key)
        assert read.raise_for_status().json()["items"]
        await is_told(api, settings)
        await anyio.to_thread.run_sync(fail_over, there, here)
        await comes_to(ask, [202, 200])


@pytest.mark.parametrize("target", ["", "&target_session_attrs=read-write"])
async def test_a_list_of_servers_leads_to_the_one_that_takes_writes(
    make_settings: Callable[..., Settings],
    servers: tuple[Postgres, Postgres],
    mail_server: MailServer,
    target: str,
) -> None:
    """The standby first, and after a failover the new primary: for sign-ups and for the worker."""
    primary, standby = servers
    settings = make_settings(
        database_url=first(standby, primary) + target, port=free_port(), smtp_url=mail_server.url
    )
    async with served(settings) as (api, http), worker(settings):
        assert (await sign_up(http, "before")).status_code == 202
        await eventually(lambda: mail_server.recipients == ["before@example.com"])
        await anyio.to_thread.run_sync(fail_over, primary, standby)
        ask = statuses(http)
        await comes_to(ask, [202, 200])
        assert (await sign_up(http, "after")).status_code == 202
        await eventually(lambda: "after@example.com" in mail_server.recipients)
        assert "after@example.com" in await stored(standby.url)
        assert SAID not in api.output or target == ""


async def stored(url: str) -> list[str]:
    """List who is stored, as that server says."""
    connection = await asyncpg.connect(url)
    found = await connection.fetch("SELECT email FROM people")
    await connection.close()
    return [row["email"] for row in found]


async def test_migrations_go_to_the_one_that_takes_writes() -> None:
    """The list may begin with the standby."""
    with pair() as (primary, standby):
        url = first(standby, primary)
        with ReachProcess("migrate", environment={"REACH_DATABASE_URL": url}) as process:
            assert await anyio.to_thread.run_sync(process.wait, 60) == 0, process.errors


async def test_reading_goes_on_where_only_a_standby_is_left(
    make_settings: Callable[..., Settings], servers: tuple[Postgres, Postgres]
) -> None:
    """With a list, too; not if the URL wants nothing but a server that takes writes."""
    primary, standby = servers
    url = first(primary, standby)
    reading = make_settings(database_url=url, port=free_port())
    strict = make_settings(database_url=f"{url}&target_session_attrs=read-write", port=free_port())
    key = await operator_key(reading)
    async with served(reading) as (_, http), served(strict) as (api, strict_http):
        await anyio.to_thread.run_sync(primary.stop)

        async def can_read() -> bool:
            return (await http.get("/v1/people", headers=key)).status_code == 200

        await eventually(can_read, HEALED_SECONDS)
        assert await statuses(http)() == [503, 503]
        assert (await strict_http.get("/v1/people", headers=key)).status_code == 503
        assert await statuses(strict_http)() == [503, 503]
        assert READ_ONLY_DATABASE in api.output


async def test_a_silent_primary_keeps_nobody_from_reading(
    make_settings: Callable[..., Settings], servers: tuple[Postgres, Postgres]
) -> None:
    """It hangs, and does not refuse: it is given up in time for the standby to answer."""
    primary, standby = servers
    settings = make_settings(database_url=first(primary, standby), port=free_port())
    key = await operator_key(settings)
    primary.pause()
    try:
        async with served(settings) as (_, http):
            assert (await http.get("/v1/people", headers=key)).status_code == 200
            assert await statuses(http)() == [503, 503]
    finally:
        primary.resume()
