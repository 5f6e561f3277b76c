"""Who would start a process again can ask it whether its event loop still moves."""

import shutil
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from reach.settings import Settings
from reach.telemetry.metrics_server import STUCK_SECONDS, Heart, beating, served
from tests.support.clock import eventually, wait_until
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.reach import running_reach
from tests.support.processes.running import ended, everything, said
from tests.support.servers.mail import MailServer
from tests.support.telemetry.metrics import port_of, scrape

SLOWER_THAN_UVICORN_LIKES_SECONDS = 7
MakeSettings = Callable[..., Settings]
ONE_AT_WORK = {"up": "Reach is ready.", "api": "api started", "worker": "worker started"}


def livez(port: int, method: str = "GET") -> httpx.Response:
    """Ask at the metrics port."""
    url = f"http://127.0.0.1:{port}/livez"
    return httpx.request(method, url, verify=NO_CERTIFICATES, trust_env=False, timeout=5)


def is_answered(port: int, status: int) -> bool:
    """Whether that is the answer at the metrics port."""
    return livez(port).status_code == status


def test_what_stands_still_is_told_of() -> None:
    """503, once it is over the limit, to GET and HEAD."""
    with served("127.0.0.1", 0, Heart(limit_seconds=0.01)) as port:
        wait_until(lambda: livez(port).status_code == 503)
        assert livez(port).json() == {"status": "stuck"}
        assert livez(port, "HEAD").status_code == 503


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", ""])
@pytest.mark.parametrize(
    ("limit_seconds", "code", "words"),
    [(60, 0, ""), (0, 1, "It is stuck: /livez says 503\n")],
    ids=["alive", "stuck"],
)
def test_a_health_check_is_a_command(
    host: str, limit_seconds: float, code: int, words: str
) -> None:
    """0 while the process lives, else 1 and why; it asks where the settings say."""
    with served(host or "127.0.0.1", 0, Heart(limit_seconds)) as port:
        asked = {"REACH_METRICS_PORT": str(port), "REACH_METRICS_HOST": host}
        with ReachProcess(module="reach.telemetry.livez", environment=asked) as asking:
            assert (asking.wait(), asking.errors) == (code, words)


@pytest.mark.parametrize(
    ("port", "words"), [("", "REACH_METRICS_PORT is not set"), ("1", "No answer from port 1: Co")]
)
def test_a_health_check_without_an_answer(port: str, words: str) -> None:
    """1, and why."""
    asked = {"REACH_METRICS_PORT": port}
    with ReachProcess(module="reach.telemetry.livez", environment=asked) as asking:
        assert asking.wait() == 1
        assert asking.errors.startswith(words)


async def test_the_answer_is_that_of_the_public_port(settings: Settings) -> None:
    """In shape, and to HEAD too; whatever else is asked for is refused."""
    async with running_reach(settings) as reach:
        public = await reach.http.get("/livez")
    with beating() as heart, served("127.0.0.1", 0, heart) as port:
        answer = livez(port)
        assert answer.json() == public.json() == {"status": "ok"}
        for header in ("content-type", "content-length"):
            assert answer.headers[header] == public.headers[header]
        head = livez(port, "HEAD")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == answer.headers["content-length"]
        refused = livez(port, "POST")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


async def test_a_stuck_process_says_so(
    make_settings: MakeSettings, migrated_file: Path, tmp_path: Path, mail_server: MailServer
) -> None:
    """Each command: its loop blocked by a call, it is 503 after 10 s; let go again, it is 200."""
    with ExitStack() as stack:
        ports = {}
        for command, words in ONE_AT_WORK.items():
            shutil.copy(migrated_file, tmp_path / f"{command}.sqlite3")
            settings = make_settings(
                database_url=f"sqlite:///{tmp_path / command}.sqlite3",
                smtp_url=SecretStr(mail_server.url),
                port=free_port(),
                metrics_port=0,
            )
            process = ReachProcess(
                command, settings=settings, module="tests.support.processes.stuck"
            )
            stack.enter_context(process)
            await said(process, words)
            ports[process] = await port_of(process)
        began = time.monotonic()
        for process in ports:
            process.running.send_signal(signal.SIGUSR1)
        for process, port in ports.items():
            await eventually(partial(is_answered, port, 503), 60, 0.1)
            # Its last beat was a second before at the earliest.
            assert time.monotonic() - began > STUCK_SECONDS - 2
            assert scrape(port)
            process.running.send_signal(signal.SIGUSR2)
        for process, port in ports.items():
            await eventually(partial(is_answered, port, 200))
            process.running.terminate()
            assert await ended(process, 15) == 0


async def test_a_stuck_process_of_several_is_replaced(
    make_settings: MakeSettings, sqlite: str
) -> None:
    """It ends itself and says why; the others serve, and the parent lives all the while."""
    several = make_settings(database_url=sqlite, port=free_port(), processes=2, metrics_port=0)
    with ReachProcess("api", settings=several, module="tests.support.processes.stuck") as process:
        port = await port_of(process)
        process.wait_ready(several.port)
        await eventually(lambda: everything(process).count("Application startup complete") == 2)
        serving = process.children
        stuck = serving.pop()
        stuck.send_signal(signal.SIGUSR1)
        asked: list[int] = []

        def is_replaced() -> bool:
            asked.append(livez(port).status_code)
            return len(process.children) == 2 and not stuck.is_running()

        await eventually(is_replaced, 6 * STUCK_SECONDS, 0.2)
        assert set(asked) == {200}
        assert serving < process.children
        last_words = [
            line
            for line in process.log
            if line["process"]["pid"] == stuck.pid and line["log.level"] == "critical"
        ]
        assert [line["message"] for line in last_words] == ["event loop stuck"]
        process.running.terminate()
        assert await ended(process, 20) == 0


async def test_a_slow_start_costs_no_process(make_settings: MakeSettings, sqlite: str) -> None:
    """What gets no turn for longer than uvicorn would wait is waited for, and then serves."""
    several = make_settings(database_url=sqlite, port=free_port(), processes=2)
    with ReachProcess("api", settings=several) as process:
        await eventually(lambda: len(process.children) == 2, 60)
        started = process.children
        for child in started:
            child.suspend()
        waits_until = time.monotonic() + SLOWER_THAN_UVICORN_LIKES_SECONDS
        await eventually(lambda: time.monotonic() > waits_until, 60)
        for child in started:
            child.resume()
        await eventually(lambda: everything(process).count("Application startup complete") == 2, 60)
        assert process.children == started
        process.running.terminate()
        assert await ended(process, 20) == 0
        assert "process replaced" not in everything(process)


async def test_a_process_that_is_stuck_in_c_is_replaced(
    make_settings: MakeSettings, sqlite: str
) -> None:
    """No thread of its own can end it, so its parent does, and the others serve meanwhile."""
    several = make_settings(database_url=sqlite, port=free_port(), processes=2)
    with ReachProcess("api", settings=several, module="tests.support.processes.stuck") as process:
        await eventually(lambda: everything(process).count("Application startup complete") == 2, 60)
        serving = process.children
        stuck = serving.pop()
        stuck.send_signal(signal.SIGHUP)
        await eventually(lambda: len(process.children - {stuck}) == 2, 60, 0.1)
        assert serving < process.children
        await said(process, "process replaced")
        told = [
            line["reach"]["child"] for line in process.log if line["message"].startswith("process ")
        ]
        assert told == [{"pid": stuck.pid}, {"pid": stuck.pid}]
        process.running.terminate()
        assert await ended(process, 20) == 0


async def test_a_stop_does_not_wait_for_a_stuck_process(
    make_settings: MakeSettings, sqlite: str
) -> None:
    """It cannot hear that it is to end; the parent waits some seconds more than the grace time."""
    several = make_settings(database_url=sqlite, port=free_port(), processes=2, grace_seconds=1)
    with ReachProcess("api", settings=several) as process:
        await eventually(lambda: everything(process).count("Application startup complete") == 2, 60)
        stuck = process.children.pop()
        stuck.suspend()
        process.running.terminate()
        assert await ended(process, 30) == 0
        assert not stuck.is_running()
        told = [
            line["reach"]["child"] for line in process.log if line["message"] == "process silent"
        ]
        assert told == [{"pid": stuck.pid}]
