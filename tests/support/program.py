"""A program of somebody else's that tests run on loopback until they are done with it."""

import os
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod

from tests.support import watchdog
from tests.support.eventually import wait_until

START_SECONDS = 20


class Program(ABC):
    """One process of a program, from ``start`` until ``close``."""

    def __init__(self) -> None:
        self._output = tempfile.TemporaryFile()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self._process = subprocess.Popen(
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        watchdog.guard(self._process.pid, signal.SIGKILL)
        wait_until(lambda: self._has_ended() or self.is_ready(), START_SECONDS, 0.02)
        assert not self._has_ended(), self.output

    def close(self) -> None:
        """End it, and forget what it wrote."""
        if self._process is not None:
            watchdog.send(self._process.pid, signal.SIGKILL)
            self._process.wait()
            watchdog.release(self._process.pid)
        self._output.close()

    @property
    def output(self) -> str:
        """What it has written so far."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    @abstractmethod
    def command(self) -> list[str]:
        """Say how it is started."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it does what it was started for."""

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None
