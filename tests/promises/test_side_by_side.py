"""Two versions of Reach on one Postgres, from before its migration until one is gone again.

The newer one is this source with migrations that add, fill, index and constrain what is in use:
see ``tests.support.db.releases``. Processes are started by `reach` as anybody starts them.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import column, func, select, table, text

from reach.auth import keys
from reach.db.database import Database
from reach.db.migrate import migrate
from reach.db.schema import revision
from reach.db.transaction import Transaction
from reach.settings import Settings
from tests.support.databases import create_database, drop_database
from tests.support.db.releases import NEXT_REVISION, next_release
from tests.support.eventually import eventually
from tests.support.mail import MailServer
from tests.support.ports import free_port
from tests.support.processes import ReachProcess
from tests.support.promises.load import Load
from tests.support.promises.locks import held
from tests.support.promises.running import START_SECONDS, ended, everything, said
from tests.support.promises.stored import opened

PEOPLE = 20_000
FILL = text("""
    WITH those AS (
        INSERT INTO people
            (id, email, email_key, name, links_version, created_at, updated_at, version)
        SELECT gen_random_uuid(), n || '@example.org', n || '@example.org', 'Ada', 0,
            now(), now(), 1
        FROM generate_series(1, :count) AS n RETURNING id, email
    )
    INSERT INTO messages (id, person_id, template, data, recipient, state, due_at, lease,
        recorded_lease, attempts, failures, message_id, created_at, finished_at)
    SELECT gen_random_uuid(), id, 'welcome', '{}', email, 'sent', now(), 1, 1, 1, 0,
        '<' || id || '@example.org>', now(), now() FROM those
""")
#: Those who have read it are in no hurry; a migration that wants to alter the table waits for them.
LONG_READ = "SELECT count(*) FROM people"


@pytest.fixture
def old(
    make_settings: Callable[..., Settings], postgres_url: str, mail_server: MailServer
) -> Iterator[Settings]:
    """Settings for a database of the older version, in use for long."""
    url = create_database(postgres_url)
    settings = make_settings(
        database_url=url, smtp_url=SecretStr(mail_server.url), port=free_port(), grace_seconds=20
    )
    migrate(settings.database)
    yield settings
    drop_database(postgres_url, url)


def fill(tx: Transaction) -> list[UUID]:
    """Have people and messages there, and name some of them."""
    tx.execute(FILL, {"count": PEOPLE})
    tx.execute(text("ANALYZE"))
    return list(tx.execute(select(column("id")).select_from(table("people")).limit(20)).scalars())


class Site:
    """Processes of two versions, and who comes to them."""

    def __init__(self, settings: Settings, newer: dict[str, str], load: Load) -> None:
        self.settings = settings
        self.newer = newer
        self.load = load

    def process(self, command: str, *, newer: bool, **changes: Any) -> ReachProcess:
        """Make a process of one version; the caller begins it."""
        environment = self.newer if newer else {}
        return ReachProcess(command, settings=self.settings, environment=environment, **changes)

    @asynccontextmanager
    async def api(self, *, newer: bool) -> AsyncIterator[int]:
        """Run ``reach api``, with visitors; at the end they leave, and then it ends in order."""
        port = free_port()
        with self.process("api", newer=newer, port=port) as api:
            await said(api, "api started")
            async with self.load.at(self.settings.model_copy(update={"port": port})):
                yield port
            api.running.terminate()
            assert await ended(api, START_SECONDS) == 0, everything(api)

    @asynccontextmanager
    async def worker(self, *, newer: bool) -> AsyncIterator[None]:
        """Run ``reach worker``; at the end it ends in order."""
        with self.process("worker", newer=newer) as worker:
            await said(worker, "worker started")
            yield
            worker.running.terminate()
            assert await ended(worker, START_SECONDS) == 0, everything(worker)

    async def migrate_while_it_is_read(self, *ports: int) -> None:
        """Run the newer version's ``reach migrate``, first in vain: somebody reads for long."""
        with self.process("migrate", newer=True) as migration:
            async with held(self.settings, LONG_READ):
                await said(migration, "trying again")
                await self.load.goes_on(*ports)
            assert await ended(migration, 60) == 0, migration.errors
            assert f"The schema is at {NEXT_REVISION}." in migration.output


async def test_a_migration_and_two_versions_fail_no_request(
    old: Settings, mail_server: MailServer, tmp_path: Path
) -> None:
    """Nor does going back: each sign-up that was accepted is kept, and mailed once."""
    async with opened(old) as database:
        known = await database.write(fill)
        operator_key = keys.generate()
        await database.write(keys.add, operator_key, "load", keys.SCOPES)
        load = Load({"Authorization": f"Bearer {operator_key}"}, known)
        site = Site(old, next_release(tmp_path / "next"), load)
        await both_versions(site, database)
        assert load.failures == []
        await everybody_is_there(database, load)
    welcomes = Counter(mail_server.recipients)
    assert {address: welcomes[address] for address in load.accepted} == dict.fromkeys(
        load.accepted, 1
    )


async def both_versions(site: Site, database: Database) -> None:
    """The old one alone, a migration, both, the new one alone, and the old one again."""
    async with AsyncExitStack() as leaving, AsyncExitStack() as staying:
        ports = [await leaving.enter_async_context(site.api(newer=False)) for _ in range(2)]
        await leaving.enter_async_context(site.worker(newer=False))
        await site.load.goes_on(*ports)
        await site.migrate_while_it_is_read(*ports)
        ports.append(await staying.enter_async_context(site.api(newer=True)))
        await staying.enter_async_context(site.worker(newer=True))
        await site.load.goes_on(*ports)
        await leaving.aclose()
        await site.load.goes_on(ports[-1])
        async with site.worker(newer=False):
            async with site.api(newer=False) as again:
                await staying.aclose()
                await site.load.goes_on(again)
            await eventually(lambda: is_finished(database), 60, every=0.1)


async def everybody_is_there(database: Database, load: Load) -> None:
    """Each once, in the old form and in the new one; and the schema is the new one's."""

    def emails(tx: Transaction) -> list[str]:
        mine = text("SELECT email FROM people WHERE email LIKE 'load%'")
        return list(tx.execute(mine).scalars())

    def out_of_step(tx: Transaction) -> int:
        differing = text("SELECT count(*) FROM people WHERE display_name IS DISTINCT FROM name")
        return int(tx.execute(differing).scalar_one())

    assert len(load.accepted) > 100
    assert sorted(await database.read(emails)) == sorted(load.accepted)
    assert await database.read(out_of_step) == 0
    assert await database.read(revision) == NEXT_REVISION


async def is_finished(database: Database) -> bool:
    """Whether no message waits any more."""
    queued = select(func.count()).select_from(table("messages")).where(text("state <> 'sent'"))
    return await database.read(lambda tx: tx.execute(queued).scalar_one()) == 0
