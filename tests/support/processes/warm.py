"""Processes of Reach that need not import it first: copies (fork) of one that has.

To import what `reach` needs takes a second of processor, and the suite starts hundreds. A copy is
a process as any other: with a number, a session, an environment, streams and an end of its own.
It has imported more than its command might, in another order; so a process that is given any
variable that is not Reach's, or that a test says is ``cold``, starts from nothing.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

from reach.settings.types import PREFIX
from tests.support.root import ROOT

#: Linux tells who waits for one process, and for something else, too.
CAN = hasattr(os, "pidfd_open") and hasattr(os, "fork")


class Copy:
    """What ``subprocess.Popen`` has of a process, for one whose parent is the original.

    It writes its number into ``pipe``, and the original, once it has ended, its exit code.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = os.fdopen(pipe, "rb", 0)
        self._lock = threading.Lock()
        self.returncode: int | None = None
        self.pid = int(self._pipe.readline() or b"0")
        assert self.pid, "the original of all processes has ended"

    def poll(self) -> int | None:
        """Its exit code, minus the number of the signal that ended it; None while it runs."""
        with self._lock:
            if self.returncode is None and select.select([self._pipe], [], [], 0)[0]:
                # Without a word if the original has been ended: then so has this one.
                self.returncode = int(self._pipe.readline() or -signal.SIGKILL)
                self._pipe.close()
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends. Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left < 0:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            with suppress(ValueError, OSError):  # another thread has just read the end
                select.select([self._pipe], [], [], left)
        return code

    def send_signal(self, number: int) -> None:
        """Signal it, if it still runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class Original:
    """A process that has imported Reach, and makes copies of itself; it ends when this one does."""

    def __init__(self) -> None:
        self.environment = plain(
            {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
        )
        self._lock = threading.Lock()
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.processes.original", str(theirs.fileno())],
            env=self.environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
        theirs.close()
        atexit.register(self.close)

    def close(self) -> None:
        """Have it end."""
        self._line.close()
        self._process.wait()

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Whether a copy would have met the same variables, but for Reach's, when it imported."""
        return plain(environment) == self.environment

    def copy(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        stdout: IO[bytes],
        stderr: IO[bytes],
    ) -> Copy:
        """Start `reach` with these arguments and variables."""
        order = {
            "arguments": arguments,
            "environment": dict(environment),
            "folder": str(Path.cwd()),
        }
        reading, writing = os.pipe()
        with self._lock:
            descriptors = [stdout.fileno(), stderr.fileno(), writing]
            socket.send_fds(self._line, [json.dumps(order).encode()], descriptors)
        os.close(writing)
        return Copy(reading)


def plain(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that are not Reach's."""
    return {k: v for k, v in environment.items() if not k.startswith((PREFIX, "PYTEST_"))}


@cache
def original() -> Original:
    """Start this test process's original, unless it runs; it is ready in a second or two."""
    return Original()
