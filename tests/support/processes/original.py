"""The process that has imported Reach, and is copied: see ``warm``.

``python -m tests.support.processes.original DESCRIPTOR``: it takes orders from that socket,
a message for each, with the descriptors of two streams and of the pipe that is told the copy's
number and end.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import socket
import sys
from contextlib import suppress
from functools import partial
from typing import Any

#: What a command imports at its start, and once it is under way.
IMPORTED = (
    "anyio._backends._asyncio",
    "reach.app",
    "reach.checks",
    "reach.cli",
    "reach.db.migrate",
    "reach.db.postgres",
    "reach.db.sqlite",
    "reach.runtime.data_dir",
    "reach.runtime.processes",
    "uvloop",
)
#: The exit code of a copy that ends by itself, once it is known.
CODE: list[int] = []
ORDER_BYTES = 1 << 20
STREAMS = 3
HIGHEST_DESCRIPTOR = 1024


class Copying:
    """Makes copies, and tells how they end. In a copy, ``wait`` returns what it is to do."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._selector = selectors.DefaultSelector()
        self._selector.register(line, selectors.EVENT_READ, self._begin)
        self._is_over = False
        self._order: dict[str, Any] | None = None

    def wait(self) -> dict[str, Any] | None:
        """Serve; returns None once nobody can order any more."""
        while True:
            for key, _ in self._selector.select():
                key.data()
                if self._is_over:
                    return self._order

    def _begin(self) -> None:
        message, descriptors, _, _ = socket.recv_fds(self._line, ORDER_BYTES, STREAMS)
        if not message:
            self._is_over = True
            return
        stdout, stderr, pipe = descriptors
        pid = os.fork()
        if not pid:
            os.setsid()  # and only then can it be signalled as others are: by its group
            os.write(pipe, b"%d\n" % os.getpid())
            os.dup2(stdout, 1)
            os.dup2(stderr, 2)
            self._selector.close()
            os.closerange(3, HIGHEST_DESCRIPTOR)
            self._is_over, self._order = True, json.loads(message)
            return
        os.close(stdout)
        os.close(stderr)
        process = os.pidfd_open(pid)
        end = partial(self._end, pid, process, pipe)
        self._selector.register(process, selectors.EVENT_READ, end)

    def _end(self, pid: int, process: int, pipe: int) -> None:
        self._selector.unregister(process)
        os.close(process)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(BrokenPipeError):  # nobody wants to know any more
            os.write(pipe, b"%d\n" % code)
        os.close(pipe)


def leave() -> None:
    """End at once, when all else is done: to take apart what was imported costs half a copy."""
    if CODE:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            return  # the usual end tells of it
        os._exit(CODE[0] & 0xFF)


def main() -> None:
    """Serve, and in a copy be `python -m reach`."""
    atexit.register(leave)  # before anything is imported, and so the last to be called
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    order = Copying(socket.socket(fileno=int(sys.argv[1]))).wait()
    if order is None:
        return
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    sys.argv = ["reach", *order["arguments"]]
    try:
        runpy.run_module("reach", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            CODE.append(end.code or 0)
        raise
    CODE.append(0)


if __name__ == "__main__":
    main()
