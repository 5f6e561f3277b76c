"""What every server process of the tests has in common."""

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self


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
