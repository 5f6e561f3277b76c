"""Whatever becomes of who reads a process's log, the service goes on."""

import json
import os
import select
from collections.abc import Callable
from pathlib import Path

import anyio
import httpx
import pytest

from reach.settings import Settings
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.root import ROOT
from tests.support.telemetry.logs import ReachTo, pipe

MakeSettings = Callable[..., Settings]
#: A pipe takes 64 KiB, which are 130 lines.
REQUESTS = 2_000
CALLERS = 8


async def served(port: int, count: int) -> None:
    """Ask so many times; each time there is an answer."""
    limits = httpx.Limits(max_connections=CALLERS)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}",
        verify=NO_CERTIFICATES,
        trust_env=False,
        timeout=10,
        limits=limits,
    ) as http:

        async def ask() -> None:
            for _ in range(count // CALLERS):
                assert (await http.get("/livez")).status_code == httpx.codes.OK

        async with anyio.create_task_group() as callers:
            for _ in range(CALLERS):
                callers.start_soon(ask)


@pytest.mark.parametrize("command", ["api", "up"])
async def test_a_pipe_that_nobody_reads_holds_up_nobody(
    make_settings: MakeSettings, sqlite: str, command: str
) -> None:
    """Requests are answered long after the pipe is full; and it ends as soon as ever."""
    settings = make_settings(database_url=sqlite, port=free_port())
    with pipe() as (_, written), ReachTo(command, log=written, settings=settings) as process:
        process.wait_ready(settings.port)
        await served(settings.port, REQUESTS if command == "api" else REQUESTS // 5)
        assert process.stop(settings.grace_seconds) == 0


async def test_a_slow_reader_gets_whole_lines(make_settings: MakeSettings, sqlite: str) -> None:
    """Two processes write; however late they are read, none has another's line in its own."""
    settings = make_settings(database_url=sqlite, port=free_port(), processes=2)
    with pipe() as (reading, written):
        text = b""
        with ReachTo("api", log=written, settings=settings) as process:
            process.wait_ready(settings.port)
            await served(settings.port, 800)
            os.set_blocking(reading, False)
            await anyio.to_thread.run_sync(process.running.terminate)
            os.close(written)
            while piece := _next(reading):
                text += piece
            assert process.wait() == 0
    lines = [json.loads(whole) for whole in text.splitlines()]
    assert text.endswith(b"\n")
    assert len({found["process"]["pid"] for found in lines}) == 3  # with their parent
    assert sum(found["message"] == "request" for found in lines) >= 800
    assert any(found["message"].startswith("Finished server process") for found in lines)


def _next(reading: int) -> bytes:
    select.select([reading], [], [], 20)
    return os.read(reading, 1000)


@pytest.mark.parametrize("where", ["/dev/full", "nobody", "closed"])
async def test_a_log_that_cannot_be_written(
    make_settings: MakeSettings, sqlite: str, where: str
) -> None:
    """A disk that is full, a reader that has left, a stream that was never open: it serves."""
    settings = make_settings(database_url=sqlite, port=free_port())
    with pipe() as (reading, written):
        os.close(reading)
        full = os.open("/dev/full", os.O_WRONLY)
        log = {"/dev/full": full, "nobody": written}.get(where)
        with ReachTo("up", log=log, settings=settings) as process:
            process.wait_ready(settings.port)
            await served(settings.port, 80)
            assert process.stop(settings.grace_seconds) == 0
        os.close(full)


def test_a_crash_is_told_before_the_process_ends(
    make_settings: MakeSettings, sqlite: str, tmp_path: Path
) -> None:
    """The last line is the one that matters."""
    settings = make_settings(database_url=sqlite, port=free_port(), smtp_url="smtp://127.0.0.1:1")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(CRASH)
    with ReachProcess(
        "worker", settings=settings, environment={"PYTHONPATH": f"{broken}:{_source()}"}
    ) as process:
        assert process.wait() == 1
        last = process.log[-1]
        assert (last["message"], last["log.level"]) == ("crashed", "critical")
        assert last["error"]["type"] == "builtins.RuntimeError"
        assert "of-a-crash" not in process.output + process.errors


#: A fault of ours, without a fault of ours: the worker's host has no name.
CRASH = """
import socket
def crash():
    raise RuntimeError("message-of-a-crash")
socket.gethostname = crash
"""


def _source() -> str:
    return str(ROOT / "src")
