"""Two versions of Reach on one Postgres, from before its migration until one is gone again.

The newer one is this source with migrations that add, fill, index and constrain what is in use:
see ``tests.support.database.releases``. Processes are started by `reach` as anybody starts them.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import column, func, select, table, text

from reach.auth import keys
from reach.db.database import Database
from reach.db.migrate import migrate
from reach.db.schema import revision
from reach.db.transaction import Transaction
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.databases import create_database, drop_database
from tests.support.database.locks import held
from tests.support.database.releases import NEXT_REVISION, next_release
from tests.support.people import by_link, token_of
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.running import START_SECONDS, client, ended, everything, said
from tests.support.servers.mail import MailServer

PATIENCE_SECONDS = 30


class Load:
    """What was asked of every process, and what went wrong."""

    def __init__(self, key: dict[str, str], known: Sequence[UUID]) -> None:
        """Take an operator's key, and people to be changed: each is one task's alone."""
        self.failures: list[str] = []
        self.answered: Counter[tuple[int, str]] = Counter()
        #: Whose sign-up was accepted.
        self.accepted: list[str] = []
        self._key = key
        self._known = iter(known)
        self._numbers = count()

    @asynccontextmanager
    async def at(self, settings: Settings) -> AsyncIterator[None]:
        """Keep the API at ``settings.port`` busy; at the end, all are answered that asked."""
        going = asyncio.Event()
        going.set()
        async with client(settings) as http, asyncio.TaskGroup() as group:
            for visit in (self._sign_up, self._look, self._come_and_go):
                group.create_task(self._repeat(visit, http, settings, going))
            for change in (self._change, self._change_own):
                group.create_task(self._repeat(change, http, settings, going, next(self._known)))
            try:
                yield
            finally:
                going.clear()

    async def goes_on(self, *ports: int, rounds: int = 5) -> None:
        """Wait until each process has answered each kind of visitor some more."""
        before = self.answered.copy()

        def is_answered() -> bool:
            return bool(self.failures) or all(
                self.answered[port, visit] >= before[port, visit] + rounds
                for port in ports
                for visit in ("_sign_up", "_look", "_come_and_go", "_change", "_change_own")
            )

        await eventually(is_answered, PATIENCE_SECONDS, every=0.05)

    async def _repeat(
        self,
        visit: Callable[..., Awaitable[None]],
        http: httpx.AsyncClient,
        settings: Settings,
        going: asyncio.Event,
        *given: UUID,
    ) -> None:
        while going.is_set():
            try:
                await visit(http, settings, *given)
            except (httpx.HTTPError, AssertionError) as error:
                self.failures.append(f"{settings.port} {visit.__name__}: {error!r}")
            self.answered[settings.port, visit.__name__] += 1

    async def _sign_up(self, http: httpx.AsyncClient, settings: Settings) -> None:
        address = f"load{next(self._numbers)}-{settings.port}@example.com"
        body = {"email": address, "name": "Ada"}
        expect(await http.post("/v1/signups", json=body), 202)
        self.accepted.append(address)

    async def _look(self, http: httpx.AsyncClient, _: Settings) -> None:
        listed = expect(await http.get("/v1/people?limit=20", headers=self._key), 200)
        one = listed.json()["items"][-1]["id"]
        # It may have come and gone.
        expect(await http.get(f"/v1/people/{one}", headers=self._key), 200, 404)
        expect(await http.get("/v1/messages?limit=5&state=sent", headers=self._key), 200)
        expect(await http.get("/v1/stats", headers=self._key), 200)

    async def _come_and_go(self, http: httpx.AsyncClient, _: Settings) -> None:
        body = {"email": f"guest{next(self._numbers)}@example.com", "name": "G", "welcome": False}
        made = expect(await http.post("/v1/people", json=body, headers=self._key), 201)
        place = made.headers["Location"]
        expect(await http.delete(place, headers=self._key), 204)
        expect(await http.get(place, headers=self._key), 404)

    async def _change(self, http: httpx.AsyncClient, _: Settings, person: UUID) -> None:
        body = {"name": f"Name {next(self._numbers)}"}
        changed = await http.patch(f"/v1/people/{person}", json=body, headers=self._key)
        assert expect(changed, 200).json()["name"] == body["name"]

    async def _change_own(self, http: httpx.AsyncClient, settings: Settings, person: UUID) -> None:
        link = by_link(token_of(settings, person))
        body = {"description": f"{next(self._numbers)}"}
        expect(await http.patch("/v1/me", json=body, headers=link), 200)
        read = expect(await http.get("/v1/me", headers=link), 200)
        assert read.json()["description"] == body["description"]


def expect(answer: httpx.Response, *statuses: int) -> httpx.Response:
    """Raise AssertionError unless the status is one of these."""
    assert answer.status_code in statuses, f"{answer.status_code} {answer.text[:200]}"
    return answer


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
