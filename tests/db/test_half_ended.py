"""Postgres says that it ends a connection before it does so: whenever that is, we get over it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.util import await_only

from reach.db import postgres as reach_postgres
from reach.db.connect import open_database
from reach.db.postgres_connection import LOST
from reach.db.transaction import Transaction
from reach.settings import Settings
from reach.settings.database_url import DatabaseUrl
from reach.transfer.databases import PostgresSide
from tests.support.clock import eventually
from tests.support.database.locks import ask

CHANNEL = "reach_test"
END_ALL = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND datname = current_database() "
    "AND backend_type = 'client backend'"
)


class Lingering:
    """A way to Postgres that carries every word, but not that a connection has ended."""

    def __init__(self, server: str) -> None:
        """``server`` is a URL."""
        self.server = server
        #: How many connections the server has ended.
        self.ended = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Listen until the block ends; gives the URL."""
        port = urlsplit(self.server).port
        writers: list[asyncio.StreamWriter] = []

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while words := await reader.read(1 << 16):
                    writer.write(words)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            its_reader, its_writer = await asyncio.open_connection("127.0.0.1", port)
            writers.extend((writer, its_writer))
            back = asyncio.create_task(carry(its_reader, writer))
            back.add_done_callback(self._note)
            await carry(reader, its_writer)  # until our own side leaves
            its_writer.close()
            await back
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            own = listening.sockets[0].getsockname()[1]
            yield self.server.replace(f":{port}/", f":{own}/")
        finally:
            listening.close()
            for writer in writers:
                writer.close()

    def _note(self, _: object) -> None:
        self.ended += 1

    async def end_all(self) -> None:
        """Have the server end every connection, and be heard to say so."""
        before = self.ended
        count = int(str(await ask(self.server, END_ALL)))
        assert count > 0
        await eventually(lambda: self.ended == before + count)


@pytest.mark.parametrize("error", [*LOST, ConnectionResetError])
def test_each_word_for_a_lost_connection_is_known(error: type[Exception]) -> None:
    """For what is asked of the database, and for what copies it."""
    assert reach_postgres.is_lost(error("it has ended"))
    side = PostgresSide("source", DatabaseUrl.parse("postgresql://nobody@127.0.0.1/none"), [])
    assert "unavailable" in str(side.explain(error("it has ended")))


@pytest.mark.parametrize("kind", ["read", "write"])
@pytest.mark.parametrize("when", ["idle", "in a transaction"])
async def test_a_transaction_is_run_again(
    make_settings: Callable[..., Settings], postgres: str, kind: str, when: str
) -> None:
    """On another connection, for as often as it takes."""
    way, tries = Lingering(postgres), 0

    def one(tx: Transaction) -> object:
        nonlocal tries
        tries += 1
        tx.execute(text("SELECT 1"))
        if when == "in a transaction" and tries % 2:
            await_only(way.end_all())
        return tx.scalar(text("SELECT 2"))

    async with way.open() as url:
        database = open_database(make_settings(database_url=url))
        try:
            for _ in range(2):
                assert await getattr(database, kind)(one) == 2
                if when == "idle":
                    await way.end_all()
        finally:
            await database.close()
    assert way.ended >= 2


async def test_a_listener_listens_again(
    make_settings: Callable[..., Settings], postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker ended, once, whose database was stopped while it had just begun to listen."""
    monkeypatch.setattr(reach_postgres, "LISTEN_CHECK_SECONDS", 0.1)
    way = Lingering(postgres)
    async with way.open() as url:
        database = open_database(make_settings(database_url=url))
        heard = database.subscribe(CHANNEL)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(database.relay, CHANNEL)
                for _ in range(2):
                    with anyio.fail_after(10):
                        await heard.wait()
                    heard.clear()
                    await way.end_all()
                group.cancel_scope.cancel()
        finally:
            await database.close()
