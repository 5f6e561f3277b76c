"""Where lines go: a bounded queue that one thread empties, so that no reader holds up the service.

A pipe that nobody reads, a disk that is full and a reader that has gone cost lines, which are
counted, and nothing else.
"""

import errno
import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable

#: Lines that wait; about 5 MB.
MOST_LINES = 10_000
#: The thread writes no oftener than this: a line costs the event loop no more than its place.
BATCH_SECONDS = 0.02
RETRY_SECONDS = 1.0
TELL_SECONDS = 1.0
#: Into a file whatever is written goes whole. Into a pipe or a socket, which other processes may
#: write to, a little does, or nothing at all.
FILE_BYTES = 64 * 1024
#: These may pass, and what was to be written is kept meanwhile; after others nobody reads it.
MAY_PASS = (errno.EAGAIN, errno.ENOSPC, errno.EDQUOT)


#: As it is written, or what renders it.
Line = bytes | Callable[[], bytes]


class Writer:
    """Writes whole lines to a descriptor, some moments later; ``write`` never waits.

    ``tell_dropped`` makes the line that says how many were lost. Without a descriptor (the
    stream was closed when the process started) all are.
    """

    def __init__(self, descriptor: int | None, tell_dropped: Callable[[int], bytes]) -> None:
        """Start the thread; it ends with the process."""
        self._tell_dropped = tell_dropped
        #: A line, or what is set once all before it is written.
        self._waiting: deque[Line | threading.Event] = deque()
        self._wake, self._hurry = threading.Event(), threading.Event()
        self._untold, self._told_at = 0, -TELL_SECONDS
        self._counting = threading.Lock()
        self._is_closed = False
        self._descriptor = -1 if descriptor is None else descriptor
        self._most_lines = 0 if descriptor is None else MOST_LINES
        self._batch_bytes = select.PIPE_BUF
        if descriptor is not None:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                self._batch_bytes = FILE_BYTES
            threading.Thread(target=self._run, name="log", daemon=True).start()

    def write(self, line: Line) -> None:
        """Take a line, which ends with a line break; drop it if too many wait.

        What renders a line is called by the thread, once it is the line's turn.
        """
        if len(self._waiting) >= self._most_lines:
            self._drop(1)
            return
        self._waiting.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def flush(self, seconds: float) -> bool:
        """Wait until all that was taken is written; False if it takes longer than ``seconds``."""
        if not self._most_lines:
            return False
        written = threading.Event()
        self._waiting.append(written)
        self._wake.set()
        self._hurry.set()
        return written.wait(seconds)

    def close(self) -> None:
        """Write nothing any more: the descriptor's number may soon be that of another file."""
        self._is_closed = True
        self._wake.set()
        self._hurry.set()

    def _drop(self, count: int) -> None:
        # Where prometheus-client counts is decided when it is imported: not by who logs first.
        from reach.telemetry.metrics import LINES_DROPPED  # noqa: PLC0415

        with self._counting:
            self._untold += count
        LINES_DROPPED.inc(count)

    # The thread's

    def _run(self) -> None:
        while not self._is_closed:
            self._wake.wait(TELL_SECONDS if self._untold else None)
            self._wake.clear()
            while self._waiting and not self._is_closed:
                self._write_batch()
            self._tell()
            self._pause(BATCH_SECONDS)

    def _write_batch(self) -> None:
        """Write as many waiting lines as one call takes."""
        lines: list[bytes] = []
        written: list[threading.Event] = []
        room = self._batch_bytes
        while self._waiting:
            first = self._waiting[0]
            if isinstance(first, threading.Event):
                written.append(first)
            else:
                line = first if isinstance(first, bytes) else self._rendered(first)
                room -= len(line)
                if room < 0 and lines:
                    self._waiting[0] = line  # for the next batch
                    break
                lines.append(line)
            self._waiting.popleft()
        if lost := self._write(b"".join(lines)):
            self._drop(lost)
        for event in written:
            event.set()
        if time.monotonic() - self._told_at >= TELL_SECONDS:
            self._tell()

    def _rendered(self, render: Callable[[], bytes]) -> bytes:
        try:
            return render()
        except Exception:  # noqa: BLE001 - one line is lost, and counted; the others are written
            self._drop(1)
            return b""

    def _write(self, text: bytes) -> int:
        """Write lines, however long it takes; return how many are lost since nobody reads them."""
        rest, lost = memoryview(text), 0
        while rest and not self._is_closed:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except OSError as error:
                if error.errno not in MAY_PASS:
                    lost, rest = bytes(rest).count(b"\n"), rest[len(rest) :]
                self._pause(BATCH_SECONDS if error.errno == errno.EAGAIN else RETRY_SECONDS)
        return lost

    def _tell(self) -> None:
        with self._counting:
            count, self._untold = self._untold, 0
        if count:
            self._told_at = time.monotonic()
            if self._write(self._tell_dropped(count)):
                with self._counting:
                    self._untold += count

    def _pause(self, seconds: float) -> None:
        """Wait, unless somebody waits for us."""
        self._hurry.wait(seconds)
        self._hurry.clear()
