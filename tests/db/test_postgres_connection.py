"""Which server is connected to, and what happens to connections that the server ends."""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from reach.db.connect import open_database
from reach.db.postgres_connection import SILENT_SECONDS, Opener, Session
from reach.db.transaction import Transaction, notify
from reach.settings import Settings
from reach.settings.database_url import DatabaseUrl
from tests.support.database.locks import ask
from tests.support.network import DeadAddress
from tests.support.times import LATE_SECONDS

END_THEM = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'reach' "
    "AND (state = 'idle' OR wait_event = 'PgSleep')"
)


@pytest.mark.parametrize("target", ["any", "read-write", "primary"])
def test_a_target_is_understood(target: str) -> None:
    """What providers' URLs have behind them."""
    url = DatabaseUrl.parse(f"postgresql://db/name?target_session_attrs={target}")
    assert url.connect_args == {"target_session_attrs": target}
    assert not url.url.query


@pytest.mark.parametrize("target", ["standby", "read-only", "prefer-standby", "yes"])
def test_a_target_that_cannot_work_is_refused_by_name(target: str) -> None:
    """Reach writes; and what libpq does not know, Reach does not either."""
    with pytest.raises(ValueError, match="target_session_attrs"):
        DatabaseUrl.parse(f"postgresql://db/name?target_session_attrs={target}&sslmode=require")


@pytest.mark.parametrize(
    ("database", "direct"),
    [("sqlite:///x", "postgresql://db/x"), ("postgresql://db/x", "sqlite:///x"), ("", "x")],
)
def test_a_direct_address_is_of_postgres(database: str, direct: str) -> None:
    """A file has no pooler."""
    with pytest.raises(ValidationError, match=r"must start with|needs a REACH_DATABASE_URL"):
        Settings(database_url=database, database_direct_url=direct)  # type: ignore[arg-type]


async def test_a_silent_server_of_a_list_keeps_nobody_waiting(
    make_settings: Callable[..., Settings], postgres: str
) -> None:
    """It takes connections and says nothing, as one that hangs does."""
    parts = urlsplit(postgres)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        places = (silent.getsockname()[1], parts.port)
        hosts = "&".join(f"host=127.0.0.1:{port}" for port in places)
        url = parts._replace(netloc=f"{parts.username}@", query=hosts).geturl()
        database = open_database(make_settings(database_url=url, database_seconds=30))
        try:
            for _ in range(2):
                began = time.monotonic()
                assert await database.write(lambda tx: tx.scalar(text("SELECT 1"))) == 1
                assert time.monotonic() - began < SILENT_SECONDS + LATE_SECONDS
        finally:
            await database.close()


async def test_a_lost_machine_of_a_list_keeps_nobody_from_reading(postgres: str) -> None:
    """What is sent to it is dropped: a server that can only be read waits for it once."""
    port = urlsplit(postgres).port
    only_reads = "options=-c%20default_transaction_read_only%3Don"
    places = f"127.0.0.2:{port},127.0.0.1:{port}"
    url = DatabaseUrl.parse(postgres.replace(f"127.0.0.1:{port}", places) + f"?{only_reads}")
    opener = Opener(url, Session("test", {}), seconds=30)
    with DeadAddress("127.0.0.2", port or 0):
        (await opener.open()).terminate()
        began = time.monotonic()
        (await opener.open()).terminate()
        assert time.monotonic() - began < SILENT_SECONDS + LATE_SECONDS


async def test_connections_that_the_server_ends_are_nobodys_fault(
    make_settings: Callable[..., Settings], postgres: str
) -> None:
    """An administrator ends them, some in the middle of a transaction: each is run again."""
    database = open_database(make_settings(database_url=postgres))

    async def one() -> object:
        return await database.write(lambda tx: tx.scalar(text("SELECT 1 FROM pg_sleep(0.3)")))

    try:
        for _ in range(3):
            running = [asyncio.create_task(one()) for _ in range(5)]
            ended = 0
            while not ended:
                ended = int(str(await ask(postgres, END_THEM)))
            assert await asyncio.gather(*running) == [1] * 5
    finally:
        await database.close()


async def test_a_commit_that_is_refused_is_taken_back(
    make_settings: Callable[..., Settings], postgres: str
) -> None:
    """What goes before COMMIT may fail, and COMMIT then is not read: the next one begins afresh."""
    settings = make_settings(database_url=postgres, database_connections=2)
    database = open_database(settings)

    def refused(tx: Transaction) -> None:
        tx.execute(text("SELECT 1"))
        notify(tx, "no name; of a channel")

    try:
        for _ in range(4):  # on each of them
            with pytest.raises(DBAPIError, match="syntax error"):
                await database.write(refused)
            assert await database.write(lambda tx: tx.execute(text("SELECT 1")).scalar_one()) == 1
    finally:
        await database.close()
