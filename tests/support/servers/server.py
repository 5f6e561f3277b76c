"""What the servers that tests start have in common."""

import os
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.support.clock import wait_until
from tests.support.processes import watchdog


class Server(ABC):
    """A server with a folder and a port of its own, to pause, stop and kill."""

    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def private(cls, *options: Any) -> Iterator[Self]:
        """Run a server that a test may break, as long as the ``with`` lasts."""
        server = cls(*options)
        try:
            server.start()
            yield server
        finally:
            server.close()

    @property
    def pid(self) -> int:
        """The number of its main process."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its main process is there (it may be paused)."""
        return self._process is not None and self._process.poll() is None

    def restart(self) -> None:
        """Stop it and start it on the same port."""
        self.stop()
        self.start()

    @abstractmethod
    def start(self) -> None:
        """Start it on its port, and wait until it answers."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it in order."""

    @abstractmethod
    def close(self) -> None:
        """Stop it for good and remove its folder."""


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
