"""Databases on a Postgres server: one for each test process, emptied between tests."""

import asyncio
import os
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from tests.support.servers.postgres import NoPostgres, Postgres, started

T = TypeVar("T")


def create_database(server: str, like: str | None = None) -> str:
    """Make a database on the server that ``server`` is the URL of; return its own URL.

    It is empty, or a copy of the one at ``like``, which nobody may be connected to.
    """
    name = f"reach_test_{os.getpid()}_{uuid4().hex[:8]}"
    template = "" if like is None else f" TEMPLATE {urlsplit(like).path[1:]}"
    execute(server, f"CREATE DATABASE {name}{template}")
    return urlsplit(server)._replace(path=f"/{name}").geturl()


def drop_database(server: str, url: str) -> None:
    """Remove a database that ``create_database`` made."""
    execute(server, f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")


def empty(url: str, tables: Iterable[str]) -> None:
    """Delete every row of ``tables``, those that others refer to last.

    A connection that an earlier test left behind is ended first: it may hold locks.
    """
    end_the_others = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND datname = current_database() AND backend_type = 'client backend'"
    )
    deletes = [f'DELETE FROM "{table}"' for table in tables]
    execute(url, "; ".join([end_the_others, *deletes]))


def execute(url: str, statements: str) -> None:
    """Run statements in a database, in one transaction unless there is but one."""

    async def run() -> None:
        connection = await asyncpg.connect(url, timeout=20)
        try:
            await connection.execute(statements, timeout=20)
        finally:
            await connection.close()

    elsewhere(run())


def elsewhere(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on an event loop of its own, whether or not one runs here."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


SERVER = pytest.StashKey[Postgres]()


def postgres_server(config: pytest.Config) -> str:
    """Give the URL of this run's Postgres server; start it if it is not there yet.

    Raises NoPostgres.
    """
    if given := os.environ.get("REACH_TEST_POSTGRES_URL"):
        return given
    worker: dict[str, str] = getattr(config, "workerinput", {})
    if "no_postgres" in worker:
        raise NoPostgres(worker["no_postgres"])
    if "postgres" in worker:
        return worker["postgres"]
    if SERVER not in config.stash:
        config.stash[SERVER] = started()
    return config.stash[SERVER].url


def migrate(url: str) -> None:
    """Bring a database to the newest schema."""
    from reach.db.migrate import migrate as to_newest
    from reach.settings.database_url import DatabaseUrl

    to_newest(DatabaseUrl.parse(url))


def tables() -> list[str]:
    """Name every table, in an order in which they can be emptied."""
    from reach.db.counters import counters
    from reach.db.types import metadata
    from reach.people.search_index import changed

    # Last: until the others are empty, they are written to.
    last = (changed, counters)
    others = [table.name for table in reversed(metadata.sorted_tables) if table not in last]
    return [*others, *(table.name for table in last)]
