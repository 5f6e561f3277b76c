"""Reach behind a real PgBouncer, as it is delivered, in session and in transaction mode."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import anyio
import asyncpg
import pytest
from sqlalchemy import text

from reach.db.connect import open_database
from reach.db.migrate_postgres import LOCK
from reach.db.transaction import Transaction
from reach.settings import Settings
from tests.support.clock import eventually, wait_until
from tests.support.database.databases import create_database, drop_database
from tests.support.database.locks import held
from tests.support.database.releases import NEXT_REVISION, next_release
from tests.support.processes import watchdog
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.running import client, running_api, said, sign_up, worker
from tests.support.root import ROOT
from tests.support.servers.mail import MailServer
from tests.support.servers.postgres import NOBODY
from tests.support.servers.server import Server

Mode = Literal["session", "transaction"]

CONFIGURATION = (ROOT / "deploy" / "tests" / "pgbouncer.ini").read_text(encoding="utf-8")


class NoPgBouncer(Exception):
    """No PgBouncer can be had here; ``args[0]`` says why."""


def program() -> str:
    """Find it, on the PATH or where Debian keeps it. Raises NoPgBouncer."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise NoPgBouncer("there is no pgbouncer on the PATH (Debian's package is pgbouncer)")
    return found


class PgBouncer(Server):
    """A PgBouncer before the server of ``url``, with up to ``size`` processes for each database."""

    def __init__(self, url: str, mode: Mode, size: int = 20) -> None:
        self._program = program()
        self._url = urlsplit(url)
        self.folder = Path(tempfile.mkdtemp(prefix="reach-pgbouncer-"))
        self.port = free_port()
        (self.folder / "users").write_text(f'"{self._url.username}" ""\n')
        (self.folder / "ini").write_text(
            CONFIGURATION.format(
                host=self._url.hostname,
                server=self._url.port,
                port=self.port,
                folder=self.folder,
                mode=mode,
                size=size,
            )
        )
        #: It refuses to run as root.
        self._user = NOBODY if os.geteuid() == 0 else None
        if self._user is not None:
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, self._user, self._user)

    def through(self, url: str) -> str:
        """Give the URL by which a database of its server is reached through it."""
        parts = urlsplit(url)
        return parts._replace(netloc=f"{parts.username}@127.0.0.1:{self.port}").geturl()

    def start(self) -> None:
        """Start it on its port, and wait until it takes connections."""
        with (self.folder / "log").open("wb") as output:
            self._process = subprocess.Popen(
                [self._program, str(self.folder / "ini")],
                user=self._user,
                group=self._user,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        watchdog.guard(self._process.pid, signal.SIGKILL, self.folder)
        wait_until(lambda: not self.is_running or self._answers())
        assert self.is_running, (self.folder / "log").read_text(errors="replace")

    def stop(self) -> None:
        """Stop it: connections are cut."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            watchdog.release(self._process.pid)

    def close(self) -> None:
        """Stop it for good and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


#: Fewer processes of the server than one process of Reach has connections.
SIZE = 4
LISTENERS = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = "
#: What Reach has hold for itself, by what the server has by default.
PARAMETERS = {
    "statement_timeout": ("4s", "0"),
    "lock_timeout": ("4s", "0"),
    "idle_in_transaction_session_timeout": ("4s", "0"),
    "jit": ("off", "on"),
    "enable_seqscan": ("off", "on"),
    "enable_bitmapscan": ("off", "on"),
    "enable_hashjoin": ("off", "on"),
    "enable_mergejoin": ("off", "on"),
}


@pytest.fixture
def fresh(postgres_url: str) -> Iterator[str]:
    """Offer an empty Postgres database: its own address."""
    url = create_database(postgres_url)
    yield url
    drop_database(postgres_url, url)


@pytest.fixture(params=["session", "transaction"])
def mode(request: pytest.FixtureRequest) -> Mode:
    """Run the test in both modes."""
    found: Mode = request.param
    return found


@pytest.fixture
def pooled(fresh: str, mode: Mode) -> Iterator[str]:
    """Offer the empty database through PgBouncer."""
    yield from through_pooler(fresh, mode)


def through_pooler(url: str, mode: Mode) -> Iterator[str]:
    """Run a PgBouncer; give the address of a database through it."""
    try:
        # In session mode each connection of Reach takes a process for itself.
        with PgBouncer.private(url, mode, SIZE if mode == "transaction" else 40) as pooler:
            yield pooler.through(url)
    except NoPgBouncer as reason:
        pytest.skip(str(reason))


async def ended(process: ReachProcess) -> int:
    """Wait for its end beside the event loop; its exit code."""
    return await anyio.to_thread.run_sync(process.wait, 60)


async def migrated(settings: Settings) -> None:
    """Run `reach migrate`."""
    with ReachProcess("migrate", settings=settings) as process:
        assert await ended(process) == 0, process.errors


async def checked(settings: Settings) -> tuple[int, list[str]]:
    """Run `reach check`: its exit code, and its lines."""
    with ReachProcess("check", settings=settings) as process:
        return await ended(process), process.output.splitlines()


async def fetch(url: str, statement: str) -> list[tuple[object, ...]]:
    """Ask the server itself."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(statement)
    await connection.close()
    return [tuple(row) for row in rows]


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[ReachProcess]:
    """Run API and worker; gives the worker."""
    async with running_api(settings), worker(settings) as process:
        yield process


async def all_are_mailed(settings: Settings, mail_server: MailServer, count: int) -> None:
    """Sign up many at once: each is accepted, and each gets one email."""
    answers: list[int] = []
    async with client(settings) as http:

        async def one(name: str) -> None:
            answers.append((await sign_up(http, name)).status_code)

        async with anyio.create_task_group() as group:
            for number in range(count):
                group.start_soon(one, f"person{number}")
        assert answers == [202] * count
        assert (await http.get("/readyz")).status_code == 200
    wanted = sorted(f"person{number}@example.com" for number in range(count))
    await eventually(lambda: sorted(mail_server.recipients) == wanted)


async def test_all_of_reach_works_through_it(
    make_settings: Callable[..., Settings], pooled: str, fresh: str, mail_server: MailServer
) -> None:
    """From migrating to the email, with nothing set for it; and `reach check` says so."""
    settings = make_settings(database_url=pooled, port=free_port(), smtp_url=mail_server.url)
    await migrated(settings)
    async with working(settings) as process:
        await all_are_mailed(settings, mail_server, 100)
        await said(process, "no listening through a pooler")
        assert await fetch(fresh, f"{LISTENERS} current_database()") == [(0,)]
        _, lines = await checked(settings)
    assert any(line.startswith("ok database: answers, takes writes") for line in lines), lines
    assert "ok direct database: not set, and the database is behind a pooler" in lines


async def test_a_direct_address_has_the_worker_told_at_once(
    make_settings: Callable[..., Settings], pooled: str, fresh: str, mail_server: MailServer
) -> None:
    """It listens there, `reach migrate` goes there, and all else goes through the pooler."""
    settings = make_settings(
        database_url=pooled,
        database_direct_url=fresh,
        port=free_port(),
        smtp_url=mail_server.url,
    )
    await migrated(settings)
    async with working(settings):

        async def listens() -> bool:
            return await fetch(fresh, f"{LISTENERS} current_database()") == [(1,)]

        await eventually(listens)
        await all_are_mailed(settings, mail_server, 10)
        _, lines = await checked(settings)
    assert "ok direct database: answers, without a pooler" in lines


async def test_a_wrong_direct_address_is_found(
    make_settings: Callable[..., Settings], pooled: str, fresh: str, postgres: str
) -> None:
    """One that leads to another database, or nowhere; one through a pooler is slow, not wrong."""
    wrong = {
        postgres: "!! direct database: is not the database of REACH_DATABASE_URL",
        f"postgresql://postgres@127.0.0.1:{free_port()}/postgres": (
            "!! direct database: does not answer. It cannot be reached."
        ),
    }
    await migrated(make_settings(database_url=fresh))
    for url, words in wrong.items():
        settings = make_settings(database_url=pooled, database_direct_url=url)
        code, lines = await checked(settings)
        assert (code, words in lines) == (1, True), lines
    settings = make_settings(database_url=pooled, database_direct_url=pooled)
    code, lines = await checked(settings)
    assert (code, "ok direct database: leads through a pooler" in lines) == (0, True), lines


async def test_its_parameters_hold_in_each_transaction_and_are_left_to_nobody(
    make_settings: Callable[..., Settings], pooled: str, fresh: str
) -> None:
    """A statement that hangs is ended; another client of the pooler finds the server's defaults."""
    settings = make_settings(database_url=pooled)
    database = open_database(settings)
    try:
        for run in (database.read, database.write):
            assert await run(settings_in) == {name: ours for name, (ours, _) in PARAMETERS.items()}
    finally:
        await database.close()
    usual = {name: default for name, (_, default) in PARAMETERS.items()}
    for _ in range(2 * SIZE):
        assert dict(await simply(pooled)) == usual
    assert dict(await simply(fresh)) == usual


def settings_in(tx: Transaction) -> dict[str, str]:
    """What holds in a transaction."""
    return {name: str(tx.scalar(text(f"SHOW {name}"))) for name in PARAMETERS}


async def simply(url: str) -> list[tuple[str, str]]:
    """Ask as a client does that prepares nothing."""
    connection = await asyncpg.connect(url, statement_cache_size=0)
    async with connection.transaction():
        found = [(name, await connection.fetchval(f"SHOW {name}")) for name in PARAMETERS]
    await connection.close()
    return found


async def test_migrations_that_leave_their_transaction(
    make_settings: Callable[..., Settings], pooled: str, fresh: str, tmp_path: Path
) -> None:
    """An index built concurrently, a column filled in batches, a constraint validated."""
    settings = make_settings(database_url=pooled)
    environment = next_release(tmp_path)
    with ReachProcess("migrate", settings=settings, environment=environment) as process:
        assert await ended(process) == 0, process.errors
    assert await fetch(fresh, "SELECT version_num FROM alembic_version") == [(NEXT_REVISION,)]
    assert dict(await simply(pooled))["lock_timeout"] == "0"


async def test_one_migrates_at_a_time(
    make_settings: Callable[..., Settings], pooled: str, fresh: str
) -> None:
    """Another process's turn on Postgres itself is waited for; and nothing of it is left."""
    settings = make_settings(database_url=pooled)
    direct = make_settings(database_url=fresh)
    with ReachProcess("migrate", settings=settings) as process:
        async with held(direct, f"SELECT pg_advisory_lock({LOCK})"):
            process.kill()
            process.start()
            await said(process, "is at work")
        assert await ended(process) == 0, process.errors
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
    mine = "(SELECT oid FROM pg_database WHERE datname = current_database())"
    assert await fetch(fresh, locks + mine) == [(0,)]


async def test_without_a_pooler_statements_stay_prepared(
    make_settings: Callable[..., Settings], postgres: str
) -> None:
    """What PgBouncer needs costs nothing where there is none."""
    database = open_database(make_settings(database_url=postgres))
    try:
        for _ in range(3):
            await database.read(settings_in)
        names = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SHOW %'"
        assert await database.read(lambda tx: tx.scalar(text(names))) == len(PARAMETERS)
        assert await database.read(settings_in) == {
            name: ours for name, (ours, _) in PARAMETERS.items()
        }
    finally:
        await database.close()
