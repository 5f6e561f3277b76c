"""The log: one line for each event, on the stream that the command says, written by a thread.

No address, name, token or subject ever: so no exception's message either, for those of
databases and mail servers quote what they were given. What cannot be written is counted: a pipe
that nobody reads, a disk that is full and a reader that has gone cost lines, and nothing else.
"""

import errno
import logging
import os
import re
import select
import stat
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TextIO

import structlog
from structlog.types import EventDict

from reach.telemetry import traces
from reach.telemetry.log_lines import JsonLines, Told, terminal_line
from reach.telemetry.metrics import LINES_DROPPED

#: These write addresses, or much that nobody reads. The rest of libraries says what it has to
#: say from INFO on: their debugging is full of what they were given.
QUIET = {
    "mail.log": logging.CRITICAL,
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    "httpx2": logging.WARNING,
    "sqlalchemy": logging.WARNING,
}
#: With ``REACH_LOG_LEVEL=debug``: each statement, without its parameters; at DEBUG come the rows.
STATEMENTS = "sqlalchemy.engine"
MOST_CHARACTERS = 1000
#: Where an exception's message may begin in a library's own: asyncio writes it after the name of
#: what failed, Python's warnings after their kind.
ENDS = {"asyncio": r"[\n(<]", "py.warnings": r"\n|(?<=Warning):"}
#: What is left may still hold what somebody typed.
PRIVATE = re.compile(r"\S*@\S*|rk_\w+|rlt_[\w.-]+|(?<=\?)\S+")

#: Lines that wait; about 5 MB.
MOST_LINES = 10_000
#: The thread writes no more often than this: a line costs the event loop only its place.
BATCH_SECONDS = 0.02
RETRY_SECONDS = EXIT_SECONDS = 1.0
#: Into a file whatever is written goes whole. Into a pipe or a socket, which other processes may
#: write to, a little does (``PIPE_BUF``), or nothing at all.
FILE_BYTES = 64 * 1024
#: These may pass, and what was to be written is kept meanwhile; after others nobody reads it.
MAY_PASS = (errno.EAGAIN, errno.ENOSPC, errno.EDQUOT)


def configure(level: str, stream: TextIO | None) -> "Writer":
    """Send our own lines and every library's to ``stream``, in one shape.

    What waits is written when the process ends, for a second at most.
    """
    is_terminal = stream is not None and stream.isatty()
    for_people = partial(terminal_line, has_colours=not os.environ.get("NO_COLOR"))
    descriptor = None if stream is None else stream.fileno()
    writer = Writer(descriptor, for_people if is_terminal else JsonLines())
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[_told],
        logger_factory=lambda name="reach": _Logger(name, writer.write),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [LibraryHandler(writer)]
    root.setLevel(max(number, logging.INFO))
    for name, quiet_level in QUIET.items():
        logging.getLogger(name).setLevel(max(number, quiet_level))
    is_debugging = number <= logging.DEBUG
    logging.getLogger(STATEMENTS).setLevel(logging.INFO if is_debugging else logging.NOTSET)
    logging.captureWarnings(capture=True)
    return writer


def flush() -> None:
    """Write what waits, for a second at most: before a process ends without its exit handlers."""
    for handler in logging.getLogger().handlers:
        handler.flush()


class _Logger:
    """The end of structlog's chain: hands a line to the writer."""

    def __init__(self, name: str, write: Callable[[Told], None]) -> None:
        self.name = name
        self.debug = self.info = self.warning = self.error = self.critical = write


def _told(logger: _Logger, level: str, event: EventDict) -> tuple[tuple[Told], dict[str, Any]]:
    """Process a call, as structlog's only processor: the thread does the rest."""
    message = event.pop("event")
    if error := event.pop("exc_info", None):
        event.update(frames(error if isinstance(error, BaseException) else sys.exception()))
    context = traces.current.get()
    return (Told(logger.name, level, message, event, time.time(), context),), {}


class LibraryHandler(logging.Handler):
    """Takes the lines of every library."""

    def __init__(self, writer: "Writer") -> None:
        super().__init__()
        self._writer = writer

    def flush(self) -> None:
        """Write what waits, ours too; the standard library calls it when a process ends."""
        self._writer.flush(EXIT_SECONDS)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a library's line, cut where an exception's message may begin."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - whatever its arguments do, there is a line
            message = str(record.msg)
        if record.name.startswith(STATEMENTS):  # a statement has many, and no exception's message
            message = " ".join(message.split())
        message = re.split(ENDS.get(record.name, r"\n"), message.strip(), maxsplit=1)[0].strip()
        message = PRIVATE.sub("…", message[:MOST_CHARACTERS])
        fields = frames(record.exc_info[1]) if record.exc_info else {}
        # Libraries have levels of their own.
        words = ("critical", "error", "warning", "info")
        level = next((w for w in words if record.levelno >= getattr(logging, w.upper())), "debug")
        context = traces.current.get()
        self._writer.write(Told(record.name, level, message, fields, record.created, context))


def frames(error: BaseException | None) -> dict[str, Any]:
    """Describe an error for a log line: its type and where it happened, never its message."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]  # what made the others stop
    if error is None:
        return {}
    cause = error.__cause__ or error.__context__
    described: dict[str, Any] = {
        "error_type": f"{type(error).__module__}.{type(error).__qualname__}",
        "frames": [
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)[-12:]
        ],
    }
    if cause is not None:
        described["cause_type"] = f"{type(cause).__module__}.{type(cause).__qualname__}"
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    return described | ({"sqlstate": state} if state else {})


class Writer:
    """Writes whole lines to a descriptor, some moments later; ``write`` never waits.

    Without a descriptor (the stream was closed when the process started) all lines are lost.
    ``render`` is called by the thread, for many lines at a time: amid a request it takes three
    times as long.
    """

    def __init__(self, descriptor: int | None, render: Callable[[Told], bytes]) -> None:
        """Start the thread; it ends with the process."""
        self._descriptor, self._render = -1 if descriptor is None else descriptor, render
        #: A line, or what is set once all before it is written.
        self._waiting: deque[Told | threading.Event] = deque()
        self._wake, self._hurry = threading.Event(), threading.Event()
        self._untold, self._counting = 0, threading.Lock()
        self._most_lines = 0 if descriptor is None else MOST_LINES
        self._batch_bytes, self._is_closed = select.PIPE_BUF, False
        if descriptor is not None:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                self._batch_bytes = FILE_BYTES
            threading.Thread(target=self._run, name="log", daemon=True).start()

    def write(self, told: Told) -> None:
        """Take a line; drop it if too many wait."""
        if len(self._waiting) >= self._most_lines:
            self._drop(1)
            return
        self._waiting.append(told)
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
        return written.wait(seconds) and not self._is_closed

    def close(self) -> None:
        """Write nothing any more: the descriptor's number may soon be that of another file."""
        self._is_closed = True
        self._wake.set()
        self._hurry.set()

    def _drop(self, count: int) -> None:
        with self._counting:
            self._untold += count
        LINES_DROPPED.inc(count)

    # The thread's

    def _run(self) -> None:
        while not self._is_closed:
            self._wake.wait()
            self._wake.clear()
            batch = bytearray()
            while self._waiting:
                told = self._waiting.popleft()
                line = b"" if isinstance(told, threading.Event) else self._rendered(told)
                if isinstance(told, threading.Event) or len(batch) + len(line) > self._batch_bytes:
                    self._write_batch(batch)
                    batch.clear()
                if isinstance(told, threading.Event):
                    told.set()
                batch += line
            self._write_batch(batch)
            self._pause(BATCH_SECONDS)

    def _rendered(self, told: Told) -> bytes:
        try:
            return self._render(told)
        except Exception:  # noqa: BLE001 - one line is lost, and counted; the others are written
            self._drop(1)
            return b""

    def _write_batch(self, batch: bytearray) -> None:
        """Write lines, and then how many were lost since this was last written."""
        if lost := self._write(bytes(batch)):
            self._drop(lost)
        with self._counting:
            count, self._untold = self._untold, 0
        told = Told("reach.logs", "warning", "lines dropped", {"count": count}, time.time())
        if count and self._write(self._render(told)):
            with self._counting:
                self._untold += count

    def _write(self, text: bytes) -> int:
        """Write lines, however long it takes; return how many are lost since nobody reads them."""
        rest = memoryview(text)
        while rest and not self._is_closed:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except OSError as error:
                if error.errno not in MAY_PASS:
                    self._pause(RETRY_SECONDS)
                    return bytes(rest).count(b"\n")
                self._pause(BATCH_SECONDS if error.errno == errno.EAGAIN else RETRY_SECONDS)
        return 0

    def _pause(self, seconds: float) -> None:
        """Wait, unless ``flush`` is called."""
        self._hurry.wait(seconds)
        self._hurry.clear()
