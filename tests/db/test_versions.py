"""Schema versions: what a newer one is to this version's processes, and migrating at once."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import text

import reach.auth.keys
import reach.db.counters
import reach.people.model
from reach.db.migrate_postgres import LOCK
from reach.db.schema import is_current, names, newest, revision
from reach.db.transaction import Transaction
from reach.db.types import metadata
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.database.databases import create_database, drop_database
from tests.support.database.locks import held
from tests.support.database.stored import all_sent
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA, Reach
from tests.support.processes.running import START_SECONDS, client, ended, running_api, said, worker
from tests.support.servers.mail import MailServer

TURN = f"SELECT pg_advisory_lock({LOCK})"
WAITS = "Another `reach migrate` is at work"


def set_revision(tx: Transaction, number: str) -> None:
    """Let the database say that it is at this revision."""
    tx.execute(text("UPDATE alembic_version SET version_num = :number"), {"number": number})


@pytest.fixture
async def newer(settings: Settings) -> AsyncIterator[Settings]:
    """Settings whose database a newer Reach has migrated already."""
    async with opened(settings) as database:
        await database.write(set_revision, "9999")
        try:
            yield settings
        finally:
            await database.write(set_revision, newest())


def differences(tx: Transaction) -> list[object]:
    """What Alembic would change to make a database the code's."""
    found: list[object] = compare_metadata(MigrationContext.configure(tx), metadata)
    return found


async def test_a_newer_schema_is_ready(newer: Settings, reach: Reach) -> None:
    """While versions change, the old one goes on: the schema is only added to."""
    assert reach.settings.database_url == newer.database_url
    assert await reach.database.read(is_current)
    assert (await reach.http.get("/readyz")).status_code == 200
    await reach.database.write(set_revision, "0000")
    assert not await reach.database.read(is_current)
    assert (await reach.http.get("/readyz")).status_code == 503


async def test_processes_start_on_a_newer_schema(newer: Settings, mail_server: MailServer) -> None:
    """An `api` and a `worker` of this version start beside it, and do their work."""
    url = SecretStr(mail_server.url)
    settings = newer.model_copy(update={"smtp_url": url, "port": free_port()})
    async with running_api(settings), worker(settings), client(settings) as http:
        assert (await http.get("/readyz")).status_code == 200
        assert (await http.post("/v1/signups", json=ADA)).status_code == 202
        async with opened(settings) as database:
            await all_sent(database)
            assert await database.read(revision) == "9999"


async def test_migrating_leaves_a_newer_schema(newer: Settings) -> None:
    """`reach migrate` of an old version neither fails nor takes anything back."""
    with ReachProcess("migrate", settings=newer) as process:
        assert await ended(process, 20) == 0, process.errors
    async with opened(newer) as database:
        assert await database.read(revision) == "9999"
        assert await database.read(is_current)


@pytest.fixture
def fresh(make_settings: Callable[..., Settings], postgres_url: str) -> Iterator[Settings]:
    """Settings for a Postgres database with nothing in it."""
    url = create_database(postgres_url)
    yield make_settings(database_url=url)
    drop_database(postgres_url, url)


async def test_two_migrate_postgres_at_once(fresh: Settings) -> None:
    """They take turns, though both begin with nothing: each migration is done once, by one."""
    with ExitStack() as running:
        async with held(fresh, TURN):
            both = [
                running.enter_context(ReachProcess("migrate", settings=fresh)) for _ in range(2)
            ]
            for process in both:
                await said(process, WAITS)
        for process in both:
            assert await ended(process, START_SECONDS) == 0, process.errors
        told = [line for process in both for line in process.errors.splitlines()]
    done = [line.partition(":")[0] for line in told if ": done in" in line]
    assert done == names()
    async with opened(fresh) as database:
        assert await database.read(revision) == newest()
        assert await database.read(differences) == []
