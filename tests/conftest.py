"""What every test can ask for: databases, settings; and in CI, no silent skips.

What is Reach's own is imported when a fixture needs it, so that one broken module fails its own
tests and no others.
"""

import gc
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from tests.skips import pytest_sessionfinish, pytest_terminal_summary
from tests.support.database.databases import (
    SERVER,
    create_database,
    drop_database,
    empty,
    migrate,
    postgres_server,
    tables,
)
from tests.support.processes.ports import free_port
from tests.support.servers.mail import Authority, MailServer
from tests.support.servers.postgres import NoPostgres, Postgres
from tests.support.servers.redis import NoRedis, Redis, some_redis
from tests.support.times import LEASE_SECONDS, PATIENT_DISK, SHORT_TIMES, UNLIMITED

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from reach.db.database import Database
    from reach.settings import Settings
    from tests.support.canaries import Watch
    from tests.support.database.outboxes import Outbox
    from tests.support.processes.reach import Reach


def pytest_configure() -> None:
    """Take away settings that the caller's shell holds: they are not the tests'.

    Let a thousand callers be open at the same time. And let Ctrl-C be heard by what tests start: in
    a shell's background job, it is ignored.
    """
    from reach.runtime.server import allow_many_connections

    allow_many_connections()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for variable in list(os.environ):
        is_ours = variable.startswith("REACH_") and not variable.startswith("REACH_TEST_")
        if is_ours or variable.startswith("OTEL_"):
            del os.environ[variable]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage meanwhile, and never look through what is collected again: it all stays.

    That took more than a quarter of the time, in each test process.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


#: What takes longest: the image is built, and schemathesis asks for everything there is.
LONG = ("tests/image/", "tests/web/test_strict.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: begun last, it would be waited for by all that are done."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Have what processes are copied from import Reach, should there be tests that start any."""
    processes = sys.modules.get("tests.support.processes.commands")
    if processes is not None and not session.config.option.collectonly:
        processes.warm_up()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Under pytest-xdist, start Postgres once, and tell each worker where it is."""
    try:
        node.workerinput["postgres"] = postgres_server(node.config)
    except NoPostgres as reason:
        node.workerinput["no_postgres"] = str(reason)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the Postgres that this process started."""
    if SERVER in config.stash:
        config.stash[SERVER].close()


@pytest.fixture(scope="session")
def watch() -> "Iterator[Watch]":
    """Watch Reach's log and metrics in this process, whichever test makes them."""
    from tests.support.canaries import Watch, found_in

    watch = Watch()
    yield watch
    assert not found_in(watch.scraped())


@pytest.fixture(autouse=True)
def nothing_private_is_told(watch: "Watch") -> Iterator[None]:
    """Fail a test in which Reach logs or counts an address, a name, a key or a token.

    Or in which it logs a line that deploy/elastic's index template does not fit.
    """
    from tests.support.canaries import found_in
    from tests.support.telemetry.elastic import complaints

    watch.begin()
    yield
    told = watch.told()
    private = found_in(told) + found_in(watch.counted())
    assert not private, "\n".join(("this was told:", *private))
    faults = [fault for line in told.splitlines() for fault in complaints(json.loads(line))]
    assert not faults, "\n".join(("Elasticsearch would not search for this:", *faults))


@pytest.fixture
def told(watch: "Watch", nothing_private_is_told: None) -> "Callable[[], str]":
    """Give what Reach, in this process, has logged since the test began: JSON lines."""
    return watch.told


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Asynchronous tests and fixtures share one event loop, of production's kind."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """This test process's own Postgres database, migrated; it may hold an earlier test's rows."""
    try:
        server = postgres_server(request.config)
    except NoPostgres as reason:
        pytest.skip(str(reason))
    url = create_database(server)
    migrate(url)
    yield url
    drop_database(server, url)


@pytest.fixture
def postgres(postgres_url: str) -> str:
    """Offer the Postgres database, its tables empty."""
    empty(postgres_url, tables())
    return postgres_url


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an empty SQLite database once, to be copied: faster than migrating each time."""
    path = tmp_path_factory.mktemp("migrated") / "reach.sqlite3"
    migrate(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def sqlite(migrated_file: Path, tmp_path: Path) -> str:
    """Offer a SQLite database of the test's own, its tables empty."""
    shutil.copy(migrated_file, tmp_path / "reach.sqlite3")
    return f"sqlite:///{tmp_path / 'reach.sqlite3'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Run the test twice: on SQLite and on Postgres, migrated and empty each time."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def private_postgres() -> Iterator[Postgres]:
    """Offer a Postgres server to pause, stop and kill; its database is migrated."""
    try:
        with Postgres.private(migrate) as server:
            yield server
    except NoPostgres as reason:
        pytest.skip(str(reason))


@pytest.fixture
def redis_url() -> Iterator[str]:
    """Offer an empty Redis, to use and not to break."""
    try:
        with some_redis() as url:
            yield url
    except NoRedis as reason:
        pytest.skip(str(reason))


@pytest.fixture
def redis() -> Iterator[Redis]:
    """Offer a Redis server to pause, flush, stop and kill."""
    try:
        with Redis.private() as server:
            yield server
    except NoRedis as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
async def browser() -> "AsyncIterator[Browser]":
    """Run a browser for the tests of one file."""
    from tests.support.servers.browser import NoBrowser, started

    try:
        async with started() as running:
            yield running
    except NoBrowser as reason:
        pytest.skip(str(reason))


@pytest.fixture
def make_settings(tmp_path: Path) -> "Callable[..., Settings]":
    """Make settings for a data directory of the test's own, with times short enough to wait for.

    Takes settings by name, in place of these.
    """
    from reach.settings import Settings

    def make(**changes: Any) -> Settings:
        on_disk = str(changes.get("database_url", "")).startswith("sqlite")
        usual = {**SHORT_TIMES, **UNLIMITED, **(PATIENT_DISK if on_disk else {})}
        return Settings(**{**usual, "data_dir": tmp_path, **changes})

    return make


@pytest.fixture
def settings(make_settings: "Callable[..., Settings]", database_url: str) -> "Settings":
    """Settings for a test on both databases."""
    return make_settings(database_url=database_url)


@pytest.fixture
async def mail_server() -> "AsyncIterator[MailServer]":
    """A mail server that a test can script."""
    async with MailServer() as server:
        yield server


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Offer a certificate authority of the test's own."""
    return Authority(tmp_path)


@pytest.fixture
def mailing(settings: "Settings", mail_server: MailServer) -> "Settings":
    """Settings on both databases whose mail goes to ``mail_server``, with a port of their own."""
    return settings.model_copy(
        update={
            "smtp_url": SecretStr(mail_server.url),
            "port": free_port(),
            "lease_seconds": LEASE_SECONDS,
        }
    )


@pytest.fixture
async def database(settings: "Settings") -> "AsyncIterator[Database]":
    """Offer the database itself, to promise by and to look into."""
    from reach.runtime.process import opened

    async with opened(settings) as database:
        yield database


@pytest.fixture
async def outbox(settings: "Settings") -> "AsyncIterator[Outbox]":
    """Offer an empty outbox."""
    from reach.runtime.process import opened
    from tests.support.database.outboxes import Outbox

    async with opened(settings) as database:
        yield Outbox(database, settings)


@pytest.fixture
async def reach(settings: "Settings", mail_server: MailServer) -> "AsyncIterator[Reach]":
    """Reach on both databases, served on a real socket; no worker yet (see running_worker)."""
    from tests.support.processes.reach import running_reach

    smtp_url = SecretStr(mail_server.url)
    async with running_reach(settings.model_copy(update={"smtp_url": smtp_url})) as running:
        yield running
