"""Processes of what is measured: started as their users start them, with all that they start."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import psutil

from tests.support.clock import wait_until
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.processes import watchdog

WAIT_SECONDS = 40


@dataclass(frozen=True)
class Memory:
    """What a process has in memory, in MB of 2**20 bytes; ``pss`` where the system says it."""

    rss: float
    pss: float | None


class Running:
    """A process and those it starts, from ``__enter__`` to the end of the ``with``.

    Its output goes to a file, as a service's log does.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = command
        self._environment = environment
        self._log = log

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        watchdog.guard(self.pid, signal.SIGKILL)
        return self

    def __exit__(self, *_: object) -> None:
        # At once: nobody needs what it has, and with a mail server that stalls it would wait.
        watchdog.send(self.pid, signal.SIGKILL)
        self._process.wait()
        watchdog.release(self.pid)

    @property
    def pid(self) -> int:
        """The number of the process, and of its group."""
        return self._process.pid

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, url: str = "", words: str = "") -> Self:
        """Wait until ``url`` answers 200, or it has written ``words``. Raises AssertionError."""
        wait_until(
            lambda: (
                self._process.poll() is not None or (answers(url) if url else words in self.output)
            ),
            WAIT_SECONDS,
            every=0.02,
        )
        assert self._process.poll() is None, f"{self._command} ended: {self.output[-2000:]}"
        return self

    def pause(self) -> None:
        """Freeze it (SIGSTOP)."""
        os.killpg(self.pid, signal.SIGSTOP)

    def cont(self) -> None:
        """Let it go on."""
        os.killpg(self.pid, signal.SIGCONT)

    def family(self) -> list[psutil.Process]:
        """The process, and those it started that still run."""
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]

    def busy_seconds(self) -> float:
        """Processor time of them all so far: user's and system's."""
        return busy_seconds(self.pid)

    def memory(self) -> Memory:
        """Memory of the largest of them: of one that serves, not of one that only starts those."""
        largest = max(self.family(), key=lambda one: one.memory_info().rss)
        pss = getattr(largest.memory_full_info(), "pss", None)
        return Memory(largest.memory_info().rss / 2**20, None if pss is None else pss / 2**20)


def busy_seconds(pid: int) -> float:
    """Processor time of a process and of those it started that still run."""
    parent = psutil.Process(pid)
    times = [one.cpu_times() for one in (parent, *parent.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


def answers(url: str) -> bool:
    """Whether somebody answers 200 there."""
    try:
        answer = httpx.get(url, verify=NO_CERTIFICATES, trust_env=False, timeout=2)
    except httpx.TransportError:
        return False
    return answer.status_code == httpx.codes.OK


def listens(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def python_server(module: str, port: int, output: int | None = None) -> Iterator[int]:
    """Run a server of ours until the end of the ``with``; it listens when this begins."""
    command = [sys.executable, "-m", module, str(port)]
    process = subprocess.Popen(command, stdout=output or subprocess.DEVNULL)
    watchdog.guard(process.pid, signal.SIGKILL)
    try:
        until(lambda: listens(port))
        yield process.pid
    finally:
        process.kill()
        process.wait()
        watchdog.release(process.pid)


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition. Raises AssertionError, in the end."""
    wait_until(condition, WAIT_SECONDS, every=0.02)
