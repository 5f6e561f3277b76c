"""Metrics are served where they are asked for, and nowhere else."""

import platform
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from socket import create_connection, create_server

import httpx
import pytest

from reach.runtime.process import AddressTaken, metrics_served
from reach.settings import Settings
from reach.telemetry import metrics_server
from reach.telemetry.metrics_server import Heart
from reach.telemetry.multiprocess import VARIABLE
from tests.support.clock import eventually
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA
from tests.support.processes.running import client, ended, everything, said
from tests.support.servers.mail import MailServer
from tests.support.telemetry.metrics import port_of, scrape

MakeSettings = Callable[..., Settings]
#: Each command, and what it says once it is at work.
COMMANDS = {"up": "Reach is ready.", "api": "api started", "worker": "worker started"}


def get(port: int, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    """Ask, with the event loop standing still meanwhile."""
    url = f"http://127.0.0.1:{port}{path}"
    return httpx.request(
        method, url, headers=headers, verify=NO_CERTIFICATES, trust_env=False, timeout=10
    )


@pytest.mark.parametrize("command", COMMANDS)
async def test_each_command_serves_its_metrics(
    settings: Settings, mail_server: MailServer, command: str
) -> None:
    """By a setting or by a flag; it says where, and which Reach it is.

    What others use the library's variable for is no affair of ours.
    """
    asked = settings.model_copy(update={"smtp_url": mail_server.url, "port": free_port()})
    elsewhere = {VARIABLE: "/nowhere"}
    with ReachProcess(
        command, "--metrics-port", "0", settings=asked, environment=elsewhere
    ) as process:
        port = await port_of(process)
        database = "sqlite" if settings.database.is_sqlite else "postgresql"
        labels = f'database="{database}",python="{platform.python_version()}"'
        build = f'reach_build_info{{{labels},version="{version("reach")}"}}'
        assert scrape(port)[build] == 1
        await said(process, COMMANDS[command])
        if command != "worker":
            async with client(asked) as http:
                assert (await http.post("/v1/signups", json=ADA)).status_code == 202
            await eventually(lambda: scrape(port)['reach_signups_total{result="new"}'] == 1)
        if command == "up":
            sent = 'reach_messages_finished_total{state="sent"}'
            await eventually(lambda: scrape(port)[sent] == 1)
        assert not [name for name in scrape(port) if name.endswith("_created")]
        process.running.terminate()
        assert await ended(process, 20) == 0


async def test_metrics_are_served_nowhere_unless_asked_for(settings: Settings) -> None:
    """No port, no server, and no line that says so."""
    with ReachProcess("api", settings=settings.model_copy(update={"port": free_port()})) as process:
        await said(process, "api started")
        assert "metrics served" not in everything(process)
    with metrics_served(settings, Heart()):
        assert settings.metrics_port is None


def test_only_metrics_and_life_are_served() -> None:
    """And only to GET, while the event loop, or whatever else there is, is busy."""
    with metrics_server.served("127.0.0.1", free_port(), Heart()) as port:
        assert "# TYPE reach_signups_total counter" in get(port, "/metrics").text
        assert get(port, "/metrics?x=1").status_code == 200
        for path in ("/", "/metrics/", "/favicon.ico", "/livez/", "/v1/people"):
            assert get(port, path).status_code == 404
        assert get(port, "/metrics", "POST").status_code == 405
    with pytest.raises(httpx.ConnectError):
        get(port, "/metrics")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken_is_named(make_settings: MakeSettings, host: str) -> None:
    """With what to do about it."""
    with closing(create_server((host, 0), family=10 if ":" in host else 2)) as other:
        port = other.getsockname()[1]
        settings = make_settings(metrics_host=host, metrics_port=port)
        with pytest.raises(AddressTaken) as refused, metrics_served(settings, Heart()):
            pass
    assert f"Cannot serve metrics on {host}, port {port}" in str(refused.value)
    assert "--metrics-port" in str(refused.value)


@pytest.mark.parametrize("command", [*COMMANDS, "api --processes 2"])
def test_a_command_whose_metrics_port_is_taken_ends_with_one_line(
    make_settings: MakeSettings, sqlite: str, command: str
) -> None:
    """And with 1: nobody would see what it does."""
    with closing(create_server(("127.0.0.1", 0))) as other:
        settings = make_settings(
            database_url=sqlite,
            smtp_url="smtp://127.0.0.1:9",
            port=free_port(),
            metrics_port=other.getsockname()[1],
        )
        with ReachProcess(*command.split(), settings=settings) as process:
            assert process.wait(30) == 1
            assert process.errors.startswith("Cannot serve metrics on 127.0.0.1, port ")
            assert process.errors.count("\n") == 1


async def test_a_caller_who_says_nothing_is_hung_up_on_and_not_told_of(
    make_settings: MakeSettings, sqlite: str
) -> None:
    """No line with their address, and no traceback; who asks for nonsense gets an answer."""
    asked = make_settings(database_url=sqlite, port=free_port())
    with ReachProcess("api", "--metrics-port", "0", settings=asked) as process:
        port = await port_of(process)
        silent = create_connection(("127.0.0.1", port))
        silent.send(b"G")
        strange = "application/openmetrics-text; version=canary; escaping=canary"
        answer = get(port, "/metrics", Accept=strange)
        assert answer.status_code in (httpx.codes.OK, httpx.codes.INTERNAL_SERVER_ERROR)
        silent.settimeout(3 * metrics_server.CALLER_SECONDS)
        with closing(silent):
            assert silent.recv(1) == b""
        assert process.stop() == 0
        assert process.errors == ""
