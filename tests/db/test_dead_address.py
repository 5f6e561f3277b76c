"""A Postgres with a dead address is reached by another one, by whatever connects to it."""

import time
from collections.abc import Callable
from urllib.parse import quote, urlsplit

import anyio
import anyio.to_thread
import pytest

from reach.db.connect import open_database
from reach.db.errors import DatabaseUnavailable
from reach.db.migrate import migrate
from reach.db.schema import newest, revision
from reach.settings import Settings
from reach.settings.database_url import DatabaseUrl
from reach.transfer.databases import PostgresSide
from tests.support.clock import eventually
from tests.support.network import OTHERS, DeadAddress, hosts, tls_front
from tests.support.servers.mail import Authority
from tests.support.servers.postgres import Postgres
from tests.support.times import LATE_SECONDS

MakeSettings = Callable[..., Settings]

NAME, ALIVE = "db.test", "127.0.0.1"
#: What a dead address costs, and what a busy machine may be late by.
SOON_SECONDS = 0.25 + LATE_SECONDS


def port_of(url: str) -> int:
    """The server's port."""
    return urlsplit(url).port or 5432


async def revision_seen(settings: Settings) -> str:
    """Read from the database, on a new connection; soon. Raises DatabaseUnavailable."""
    database = open_database(settings)
    began = time.monotonic()
    try:
        return await database.read(revision) or ""
    finally:
        assert time.monotonic() - began < SOON_SECONDS
        await database.close()


@pytest.mark.parametrize("dead", OTHERS)
async def test_it_is_reached_by_another_address(
    dead: str, make_settings: MakeSettings, postgres: str
) -> None:
    """Soon, on each new connection."""
    settings = make_settings(database_url=postgres.replace(ALIVE, NAME))
    with DeadAddress(dead, port_of(postgres)), hosts({NAME: (dead, ALIVE)}):
        for _ in range(3):
            assert await revision_seen(settings) == newest()


async def test_whatever_connects_passes_a_dead_address_over(
    make_settings: MakeSettings, postgres: str
) -> None:
    """A migration, in the event loop's thread and in another; a copy; LISTEN."""
    url = postgres.replace(ALIVE, NAME)
    database_url = DatabaseUrl.parse(url)
    with DeadAddress(OTHERS[0], port_of(postgres)), hosts({NAME: (OTHERS[0], ALIVE)}):
        assert await anyio.to_thread.run_sync(migrate, database_url) == newest()
        side = PostgresSide("source", database_url, [])
        try:
            await side.open()
            assert "people" in await side.tables()
        finally:
            await side.close()
        database = open_database(make_settings(database_url=url))
        heard = database.subscribe("reach_test")
        async with anyio.create_task_group() as group:
            group.start_soon(database.relay, "reach_test")
            await eventually(heard.is_set, SOON_SECONDS)
            group.cancel_scope.cancel()
        await database.close()


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_tls_is_with_the_name(
    mode: str, make_settings: MakeSettings, postgres: str, authority: Authority
) -> None:
    """The certificate of the name is taken; that of the address only where no name is asked."""
    for name, is_taken in ((NAME, True), (ALIVE, mode != "verify-full")):
        certificate = authority.certify(name)
        async with tls_front(port_of(postgres), certificate, postgres=True) as port:
            url = postgres.replace(f"{ALIVE}:{port_of(postgres)}", f"{NAME}:{port}")
            url += f"?sslmode={mode}"
            url += "" if mode == "require" else f"&sslrootcert={quote(str(authority.file))}"
            settings = make_settings(database_url=url)
            with DeadAddress(OTHERS[0], port), hosts({NAME: (OTHERS[0], ALIVE)}):
                if is_taken:
                    assert await revision_seen(settings) == newest()
                else:
                    with pytest.raises(DatabaseUnavailable):
                        await revision_seen(settings)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
async def test_a_server_without_tls_is_taken_where_none_is_required(
    mode: str, make_settings: MakeSettings, postgres: str
) -> None:
    """As ever: the words of ``sslmode`` keep their meaning."""
    url = f"{postgres.replace(ALIVE, NAME)}?sslmode={mode}"
    with hosts({NAME: (ALIVE,)}):
        assert await revision_seen(make_settings(database_url=url)) == newest()
    url = f"{postgres.replace(ALIVE, NAME)}?sslmode=require"
    with hosts({NAME: (ALIVE,)}), pytest.raises(DatabaseUnavailable):
        await revision_seen(make_settings(database_url=url))


async def test_a_dead_host_of_a_list_leaves_time_for_the_others(
    make_settings: MakeSettings, postgres: str
) -> None:
    """They are tried one after the other, in their order, all of them within one time-out."""
    port = port_of(postgres)
    hosts_of_url = f"?host=first.test:{port}&host={NAME}:{port}"
    url = postgres.replace(f"{ALIVE}:{port}", "") + hosts_of_url
    settings = make_settings(database_url=url)
    with DeadAddress("127.0.0.2", port), hosts({"first.test": ("127.0.0.2",), NAME: (ALIVE,)}):
        assert await revision_seen(settings) == newest()


async def test_a_socket_of_the_file_system_is_taken(
    make_settings: MakeSettings, private_postgres: Postgres
) -> None:
    """It has no address at all."""
    url = f"postgresql://postgres@/postgres?host={quote(str(private_postgres.folder))}"
    settings = make_settings(database_url=f"{url}&port={private_postgres.port}")
    assert await revision_seen(settings) == newest()


async def test_a_name_without_a_living_address_is_an_outage(
    make_settings: MakeSettings, postgres: str, told: Callable[[], str]
) -> None:
    """Answered in time; strangers are told no address, the log is told each, once."""
    url = postgres.replace(ALIVE, NAME)
    settings = make_settings(database_url=url, database_seconds=1)
    knows = hosts({NAME: (OTHERS[0], "127.0.0.9")})
    with (
        DeadAddress(OTHERS[0], port_of(postgres)),
        knows,
        pytest.raises(DatabaseUnavailable) as caught,
    ):
        await revision_seen(settings)
    assert caught.value.detail == "It cannot be reached."
    (line,) = (line for line in told().splitlines() if "a server cannot be reached" in line)
    shown = f"[{OTHERS[0]}]" if ":" in OTHERS[0] else OTHERS[0]
    assert f"{shown}:{port_of(postgres)}: no answer in " in line
    assert f"127.0.0.9:{port_of(postgres)}: Connection refused" in line
