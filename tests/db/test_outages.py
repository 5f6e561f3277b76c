"""The database is lost and comes back: 503 with Retry-After meanwhile, nothing lost."""

import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import anyio
import httpx
import pytest

from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.processes.commands import api_process
from tests.support.processes.ports import free_port
from tests.support.processes.running import client, sign_up
from tests.support.servers.postgres import Postgres


async def is_unavailable(http: httpx.AsyncClient, prefix: str) -> None:
    """Thirty at once and one more: each a 503 that says when to come back."""
    answers: list[httpx.Response] = []

    async def one(name: str) -> None:
        answers.append(await sign_up(http, name))

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(one, f"{prefix}{number}")
    await one(f"{prefix}-once-more")
    for answer in answers:
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"].isdigit()
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await http.get("/livez")).status_code == 200


async def is_back(http: httpx.AsyncClient, prefix: str) -> None:
    """Without a restart, and with no connection spoilt: fifty at once."""

    async def accepted() -> bool:
        return (await sign_up(http, f"{prefix}-first")).status_code == 202

    await eventually(accepted, 20)
    statuses: list[int] = []

    async def one(name: str) -> None:
        statuses.append((await sign_up(http, name)).status_code)

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(one, f"{prefix}-{number}")
    assert statuses == [202] * 50
    assert (await http.get("/readyz")).status_code == 200


@pytest.mark.parametrize(
    ("leave", "come_back"),
    [
        (Postgres.stop, Postgres.start),
        (Postgres.kill, Postgres.start),
        (Postgres.pause, Postgres.resume),
    ],
    ids=["stopped", "killed", "paused"],
)
async def test_postgres_goes_away_and_comes_back(
    make_settings: Callable[..., Settings],
    private_postgres: Postgres,
    leave: Callable[[Postgres], None],
    come_back: Callable[[Postgres], None],
) -> None:
    """Stopped, killed or frozen."""
    settings = make_settings(database_url=private_postgres.url, port=free_port())
    with api_process(settings):
        async with client(settings) as http:
            assert (await sign_up(http, "before")).status_code == 202
            await anyio.to_thread.run_sync(leave, private_postgres)
            await is_unavailable(http, "away")
            assert (await http.get("/readyz")).status_code == 503
            await anyio.to_thread.run_sync(come_back, private_postgres)
            await is_back(http, "back")


async def test_a_full_disk_is_a_503_and_heals(
    make_settings: Callable[..., Settings], sqlite: str, tmp_path: Path
) -> None:
    """A real limit on the size of files, set on the running process and lifted again."""
    settings = make_settings(database_url=sqlite, port=free_port())
    with api_process(settings) as api:
        async with client(settings) as http:
            assert (await sign_up(http, "before")).status_code == 202
            wal = (tmp_path / "reach.sqlite3-wal").stat().st_size
            resource.prlimit(api.pid, resource.RLIMIT_FSIZE, (wal, resource.RLIM_INFINITY))
            await is_unavailable(http, "full")
            assert (await http.get("/readyz")).status_code == 503
            assert api.output.count("the database takes no writes") == 1
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(api.pid, resource.RLIMIT_FSIZE, unlimited)
            await is_back(http, "room")


def put_in_place(migrated: Path, file: Path) -> None:
    """Copy a database to where another one was, of which nothing may be left."""
    for left in ("-wal", "-shm"):
        Path(f"{file}{left}").unlink(missing_ok=True)
    shutil.copy(migrated, file)


async def test_a_missing_file_is_a_503_until_it_is_there(
    make_settings: Callable[..., Settings], sqlite: str, migrated_file: Path, tmp_path: Path
) -> None:
    """Taken away from a running API: it makes none by itself, and finds it when it is back.

    Without one it does not start: see test_nowhere.
    """
    file = tmp_path / "reach.sqlite3"
    settings = make_settings(database_url=sqlite, port=free_port())
    with api_process(settings):
        async with client(settings) as http:
            file.unlink()
            assert (await http.get("/readyz")).status_code == 503
            await is_unavailable(http, "missing")
            assert not file.exists()
            put_in_place(migrated_file, file)
            await is_back(http, "there")
