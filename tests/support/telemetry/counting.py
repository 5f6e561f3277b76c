"""Processes that count, by the real library, into the shares of the process that started them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from reach.telemetry.multiprocess import Shares, told

#: Counts as often as it is told to, and says so each time.
CODE = """
import sys
from reach.telemetry.metrics import CIRCUIT_BREAKER_OPENINGS, GROUP_MEMBERS
from reach.telemetry.metrics import REQUESTS_IN_PROGRESS, SIGN_UPS
REQUESTS_IN_PROGRESS.inc()
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        SIGN_UPS.labels("new").inc()
        GROUP_MEMBERS.observe(3)
    print("counted", flush=True)
"""


class Counting:
    """A process that counts sign-ups, and is in the middle of one request."""

    def __init__(self, shares: Shares | None) -> None:
        """Start it, and wait until it can count."""
        with told(shares):
            self._process = subprocess.Popen(
                [sys.executable, "-c", CODE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self._heard("ready")

    @classmethod
    @contextmanager
    def some(cls, shares: Shares, count: int) -> Iterator[list[Self]]:
        """Run several until the end of the ``with``."""
        processes: list[Self] = []
        try:
            processes += [cls(shares) for _ in range(count)]
            yield processes
        finally:
            for process in processes:
                process.kill()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def count(self, times: int) -> None:
        """Have it count so often."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{times}\n")
        self._process.stdin.flush()
        self._heard("counted")

    def kill(self) -> None:
        """End it at once; it can do no more about its numbers."""
        self._process.kill()
        self._process.communicate()

    def _heard(self, word: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"{word}\n"
