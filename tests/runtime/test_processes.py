"""Reach as several processes: an API apart from its worker, an API of two, a late database."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA
from tests.support.processes.running import (
    client,
    ended,
    everything,
    half_a_request,
    is_closed,
    running_api,
    said,
    worker,
)
from tests.support.servers.mail import MailServer
from tests.support.servers.postgres import Postgres

MakeSettings = Callable[..., Settings]


async def test_api_and_worker_are_two_processes(
    settings: Settings, mail_server: MailServer
) -> None:
    """They share no more than a database: who signs up at one is mailed by the other."""
    apart = settings.model_copy(
        update={"smtp_url": SecretStr(mail_server.url), "port": free_port()}
    )
    async with worker(apart) as mailing, running_api(apart) as serving, client(apart) as http:
        assert (await http.post("/v1/signups", json=ADA)).status_code == httpx.codes.ACCEPTED
        await eventually(lambda: mail_server.recipients == [ADA["email"]])
        for process in (mailing, serving):
            assert process.errors == ""
            assert all(line["message"] for line in process.log)
            process.running.send_signal(signal.SIGTERM)
            assert await ended(process, settings.grace_seconds) == 0
            assert ADA["email"] not in everything(process)


async def test_an_api_of_two_processes(settings: Settings) -> None:
    """Both answer; SIGTERM ends them all with 0, once who is inside is signed up and told so."""
    several = settings.model_copy(update={"port": free_port()})
    # A flag: what the children are started with reaches them all the same.
    flags = ("--processes", "2", "--port", str(several.port))
    with ReachProcess("api", *flags, settings=settings) as process:
        await until_ready(several, process)
        family = process.children
        assert len(family) == 2
        async with client(several) as http:
            for number in range(20):
                person = {**ADA, "email": f"ada{number}@example.com"}
                answer = await http.post("/v1/signups", json=person)
                assert answer.status_code == httpx.codes.ACCEPTED
        async with half_a_request(several) as finish:
            process.running.terminate()
            await eventually(lambda: is_closed(several))
            assert process.exit_code is None
            assert (await finish()).startswith(b"HTTP/1.1 202 ")
            assert await ended(process, 15) == 0
        assert "Traceback" not in everything(process)
        await eventually(lambda: not any(child.is_running() for child in family))


async def test_a_killed_process_is_replaced(settings: Settings) -> None:
    """Nobody needs to restart anything, and people can sign up all the while."""
    several = settings.model_copy(update={"port": free_port(), "processes": 2})
    with ReachProcess("api", settings=several) as process:
        await until_ready(several, process)
        serving = process.children
        assert len(serving) == 2
        killed = serving.pop()
        killed.kill()
        async with client(several) as http:
            await eventually(lambda: len(process.children) == 2 and not killed.is_running(), 30)
            assert (await http.post("/v1/signups", json=ADA)).status_code == httpx.codes.ACCEPTED
        assert serving < process.children
        process.running.terminate()
        assert await ended(process, 15) == 0


async def test_a_second_signal_ends_all_processes_at_once(settings: Settings) -> None:
    """However long their grace time is."""
    several = settings.model_copy(update={"port": free_port(), "grace_seconds": 60, "processes": 2})
    with ReachProcess("api", settings=several) as process:
        await until_ready(several, process)
        async with half_a_request(several) as finish:
            process.running.terminate()
            await eventually(lambda: is_closed(several))
            assert process.exit_code is None
            process.running.send_signal(signal.SIGINT)
            assert await ended(process, 10) == 0
            assert b" 202 " not in await finish()


@pytest.mark.parametrize("count", [1, 2])
def test_an_api_that_no_process_could_run(
    make_settings: MakeSettings, sqlite: str, tmp_path: Path, count: int
) -> None:
    """2 and one line, from the parent: not children that are started again for ever."""
    settings = make_settings(
        database_url=sqlite,
        templates_dir=tmp_path / "none",
        processes=count,
        port=free_port(),
    )
    with ReachProcess("api", settings=settings) as process:
        assert process.wait() == 2
        assert process.errors == "REACH_TEMPLATES_DIR: there is no such folder\n"


@pytest.mark.parametrize("flags", [(), ("--processes", "2")], ids=["one", "two"])
async def test_an_api_heals_when_the_database_comes(
    private_postgres: Postgres, make_settings: MakeSettings, flags: tuple[str, ...]
) -> None:
    """Away at the start, it is alive and not ready; then it serves, without a restart."""
    settings = make_settings(database_url=private_postgres.url, port=free_port())
    private_postgres.stop()
    with ReachProcess("api", *flags, settings=settings) as process:
        async with client(settings) as http:
            await eventually(lambda: status(http, "/livez"), 20, 0.05)
            assert await status(http, "/readyz") == httpx.codes.SERVICE_UNAVAILABLE
            answer = await http.post("/v1/signups", json=ADA)
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert int(answer.headers["Retry-After"]) > 0
            private_postgres.start()
            await until_ready(settings, process)
            answer = await http.post("/v1/signups", json=ADA)
            assert answer.status_code == httpx.codes.ACCEPTED
        process.running.terminate()
        assert await ended(process, 15) == 0


async def test_a_worker_heals_when_the_database_comes(
    private_postgres: Postgres, make_settings: MakeSettings, mail_server: MailServer
) -> None:
    """Away at the start, it waits and says so; then it works. While it waits, it can be stopped."""
    settings = make_settings(
        database_url=private_postgres.url, smtp_url=mail_server.url, port=free_port()
    )
    private_postgres.stop()
    with ReachProcess("worker", settings=settings) as waiting:
        await said(waiting, "waiting for the database")
        waiting.running.terminate()
        assert await ended(waiting, settings.grace_seconds) == 0
    with ReachProcess("worker", settings=settings) as process:
        await said(process, "waiting for the database")
        private_postgres.start()
        await said(process, "worker started")
        async with opened(settings), running_api(settings), client(settings) as http:
            await http.post("/v1/signups", json=ADA)
            await eventually(lambda: mail_server.recipients == [ADA["email"]])


async def until_ready(settings: Settings, process: ReachProcess) -> None:
    """Wait until `/readyz` says so."""

    async def is_ready() -> bool:
        assert process.exit_code is None, everything(process)
        async with client(settings) as http:
            return await status(http, "/readyz") == httpx.codes.OK

    await eventually(is_ready, 20, 0.05)


async def status(http: httpx.AsyncClient, path: str) -> int:
    """What a path answers; 0 if nobody does."""
    try:
        return (await http.get(path)).status_code
    except httpx.TransportError:
        return 0


SHELLS_LIMIT = """
import resource
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
from reach.runtime.server import listen
from reach.settings import Settings
with listen(Settings(port=0)):
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
"""


def test_a_shells_limit_is_not_the_callers() -> None:
    """Each caller is an open file: who listens may have as many as the system lets it."""
    done = subprocess.run([sys.executable, "-c", SHELLS_LIMIT], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
