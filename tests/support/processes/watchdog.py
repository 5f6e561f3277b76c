"""Ends the servers of a test process that died without ending them itself.

A small process of its own: it reads from a pipe which servers run, and when the pipe closes
(however its test process ended) it stops those that are left and removes their folders.
"""

import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import IO

PATIENCE_SECONDS = 10


@cache
def _pipe() -> IO[bytes]:
    """Start this process's watchdog. It outlives Ctrl-C, being in a session of its own."""
    command = [sys.executable, "-I", "-S", __file__]
    watchdog = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    pipe = watchdog.stdin
    assert pipe is not None

    def close() -> None:
        pipe.close()
        watchdog.wait(2 * PATIENCE_SECONDS)

    atexit.register(close)
    return pipe


def guard(pid: int, last_signal: signal.Signals, folder: Path | None = None) -> None:
    """Have the process group ``pid`` ended by ``last_signal`` should this process die."""
    _tell({"pid": pid, "signal": int(last_signal), "folder": str(folder) if folder else None})


def release(pid: int) -> None:
    """Take back ``guard``: the process has been reaped."""
    _tell({"pid": pid, "signal": 0, "folder": None})


def remove_at_the_end(folder: Path) -> None:
    """Have a folder removed when this process ends."""
    _tell({"pid": 0, "signal": 0, "folder": str(folder)})


def _tell(entry: dict[str, int | str | None]) -> None:
    _pipe().write(json.dumps(entry).encode() + b"\n")
    _pipe().flush()


def watch(lines: IO[bytes]) -> None:
    """Keep the list until ``lines`` ends, then end whom it still names."""
    guarded: dict[int, tuple[int, str | None]] = {}
    folders: list[str] = []
    for line in lines:
        entry = json.loads(line)
        if not entry["pid"]:
            folders.append(entry["folder"])
        elif entry["signal"]:
            guarded[entry["pid"]] = (entry["signal"], entry["folder"])
        else:
            guarded.pop(entry["pid"], None)
    for pid, (last_signal, _) in guarded.items():
        send(pid, last_signal)
        send(pid, signal.SIGCONT)  # one that is paused gets it as it goes on
    deadline = time.monotonic() + PATIENCE_SECONDS
    for pid, (_, folder) in guarded.items():
        while send(pid, 0) and time.monotonic() < deadline:
            time.sleep(0.05)
        send(pid, signal.SIGKILL)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def send(pid: int, number: int) -> bool:
    """Signal a process group; False if it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
        return True
    return False


if __name__ == "__main__":
    watch(sys.stdin.buffer)
