"""Pipes for what is logged, of which the test has both ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from reach.settings import Settings
from tests.support.processes.commands import ReachProcess


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
