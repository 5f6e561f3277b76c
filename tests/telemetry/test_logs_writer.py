"""Whatever becomes of what the log is written to, the service goes on."""

import fcntl
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from prometheus_client import REGISTRY

from reach.settings import Settings
from reach.telemetry import writer as writing
from reach.telemetry.writer import Writer
from tests.eventually import wait_until
from tests.servers.ports import free_port
from tests.servers.processes import ReachProcess

MakeSettings = Callable[..., Settings]
#: A pipe takes 64 KiB, which are 130 lines.
REQUESTS = 2_000
CALLERS = 8


def tell(count: int) -> bytes:
    """Make the line that says how many were dropped."""
    return f'{{"dropped":{count}}}\n'.encode()


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe: where it is read, and where it is written."""
    reading, written = os.pipe()
    try:
        yield reading, written
    finally:
        for end in (reading, written):
            try:
                os.close(end)
            except OSError:
                continue  # the test has closed it


def counted() -> float:
    """How many lines were dropped, as a metric says."""
    return REGISTRY.get_sample_value("reach_log_lines_dropped_total") or 0


def line(number: int) -> bytes:
    """Make a line that can be told from its neighbours."""
    return f'{{"number":{number},"padding":"{"x" * 200}"}}\n'.encode()


def drained(reading: int, writer: Writer) -> list[dict[str, Any]]:
    """Read what comes until all is written, as whole JSON lines."""
    text = b""
    is_written = threading.Event()

    def wait() -> None:
        if writer.flush(20):
            is_written.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not is_written.is_set() or select.select([reading], [], [], 0)[0]:
        if select.select([reading], [], [], 0.05)[0]:
            text += os.read(reading, 1000)
    waiting.join()
    assert text.endswith(b"\n")
    return [json.loads(whole) for whole in text.splitlines()]


def test_lines_come_whole_and_in_order() -> None:
    """Also out of several threads."""
    with pipe() as (reading, written):
        writer = Writer(written, tell)

        def write_from(first: int) -> None:
            for number in range(first, first + 500):
                writer.write(line(number))

        threads = [threading.Thread(target=write_from, args=[at]) for at in (0, 1000, 2000)]
        for thread in threads:
            thread.start()
        numbers = [found["number"] for found in drained(reading, writer)]
        for at in (0, 1000, 2000):
            of_one = [number for number in numbers if at <= number < at + 500]
            assert of_one == list(range(at, at + 500))


def test_a_socket_gets_no_more_at_once_than_goes_whole() -> None:
    """The journal of systemd is one, for several processes. Each datagram is a write."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        writer = Writer(ours.fileno(), tell)
        for number in range(100):
            writer.write(line(number))
        read = b""
        while read.count(b"\n") < 100:
            piece = theirs.recv(2 * writing.FILE_BYTES)
            assert len(piece) <= select.PIPE_BUF
            assert piece.endswith(b"}\n")
            read += piece


@pytest.mark.parametrize("flags", [0, os.O_NONBLOCK], ids=["blocking", "non-blocking"])
def test_what_nobody_reads_is_dropped_counted_and_told(flags: int) -> None:
    """Nobody waits; the oldest lines come once there is room, and then how many are missing."""
    before = counted()
    sent = writing.MOST_LINES + 5_000
    with pipe() as (reading, written):
        fcntl.fcntl(written, fcntl.F_SETFL, fcntl.fcntl(written, fcntl.F_GETFL) | flags)
        writer = Writer(written, tell)
        for number in range(sent):
            writer.write(line(number))
        found = drained(reading, writer)
        while not any("dropped" in one for one in found):
            found += drained(reading, writer)
    numbers = [one["number"] for one in found if "number" in one]
    dropped = sum(one["dropped"] for one in found if "dropped" in one)
    assert numbers[:1000] == list(range(1000))
    assert numbers == sorted(numbers)
    assert len(numbers) + dropped == sent
    assert len(numbers) >= writing.MOST_LINES
    assert counted() - before == dropped


def test_a_reader_that_left_is_no_fault() -> None:
    """What it did not read is counted; nothing is raised, and no signal comes."""
    before = counted()
    with pipe() as (reading, written):
        os.close(reading)
        writer = Writer(written, tell)
        writer.write(line(1))
        wait_until(lambda: counted() == before + 1)
        writer.write(line(2))
        wait_until(lambda: counted() > before + 1)
        assert counted() == before + 2


def test_a_full_disk_keeps_lines_until_there_is_room(tmp_path: Path) -> None:
    """A file that may not grow stands for it: lines wait, and are whole when it may."""
    code = FULL.replace("FILE", str(tmp_path / "log"))
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    lines = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    assert lines == [line(number) for number in range(100)]


FULL = """
import os, resource, signal, errno
from reach.telemetry import writer as writing
from reach.telemetry.writer import Writer
from tests.telemetry.test_logs_writer import line, tell
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
# A file's largest size gives EFBIG where a disk gives ENOSPC.
writing.MAY_PASS = (*writing.MAY_PASS, errno.EFBIG)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
log = os.open("FILE", os.O_CREAT | os.O_WRONLY)
writer = Writer(log, tell)
for number in range(100):
    writer.write(line(number))
assert not writer.flush(0.2)
assert os.fstat(log).st_size == 1000
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert writer.flush(10)
"""


def test_without_a_stream_lines_are_dropped() -> None:
    """Whoever starts it with stdout closed gets a service without a log."""
    writer = Writer(None, tell)
    before = counted()
    writer.write(line(1))
    assert counted() == before + 1
    assert not writer.flush(1)


class ReachTo(ReachProcess):
    """A ``reach …`` process whose log goes to a descriptor of the test's own."""

    def __init__(self, *arguments: str, log: int | None, settings: Settings) -> None:
        super().__init__(*arguments, settings=settings)
        self._log = log

    def streams(self) -> dict[str, Any]:
        """Give it the descriptor; with none it starts with both streams closed."""
        if self._log is None:
            return {"preexec_fn": lambda: os.closerange(1, 3), "stdout": None, "stderr": None}
        return {"stdout": self._log, "stderr": self._log}


async def served(port: int, count: int) -> None:
    """Ask so many times; each time there is an answer."""
    limits = httpx.Limits(max_connections=CALLERS)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10, limits=limits
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
        last = json.loads(process.output.splitlines()[-1])
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
    return str(Path(__file__).parents[2] / "src")
