"""Logs: one JSON object a line, on the stream that the command says; short on a terminal.

No address, name, token or subject ever: so no exception's message either, for those of
databases and mail servers quote what they were given.
"""

import logging
import re
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, TextIO

import structlog
from structlog.types import EventDict

from reach.telemetry import trace_context
from reach.telemetry.lines import Lines, Told
from reach.telemetry.terminal import Short
from reach.telemetry.writer import Line, Writer

#: These write addresses, or much that nobody reads. The rest of libraries says what it has to
#: say from INFO on: their debugging is full of what they were given.
QUIET = {
    "mail.log": logging.CRITICAL,
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    "sqlalchemy": logging.WARNING,
}
#: With ``REACH_LOG_LEVEL=debug``: each statement, without its parameters; at DEBUG come the rows.
STATEMENTS = "sqlalchemy.engine"
EXIT_SECONDS = 1.0
MOST_CHARACTERS = 500

#: Where an exception's message may begin in a library's own: asyncio writes it after the name of
#: what failed, Python's warnings after their kind.
ENDS = {"asyncio": r"[\n(<]", "py.warnings": r"\n|(?<=Warning):"}
#: What is left may still hold what somebody typed.
PRIVATE = re.compile(r"\S*@\S*|rk_\w+|rlt_[\w.-]+|(?<=\?)\S+")

Render = Callable[[Told], bytes]


def configure(level: str, stream: TextIO | None) -> Writer:
    """Send our own lines and every library's to ``stream``, in one shape.

    What waits is written when the process ends, for a second at most.
    """
    is_terminal = stream is not None and stream.isatty()
    render = Short().render if is_terminal else Lines().render

    def tell_dropped(count: int) -> bytes:
        return render(Told("reach.logs", "warning", "lines dropped", {"count": count}, time.time()))

    writer = Writer(None if stream is None else stream.fileno(), tell_dropped)
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[_Renderer(render)],
        logger_factory=lambda name="reach": _Logger(name, writer.write),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [LibraryHandler(render, writer)]
    root.setLevel(max(number, logging.INFO))
    for name, quiet_level in QUIET.items():
        logging.getLogger(name).setLevel(max(number, quiet_level))
    is_debugging = number <= logging.DEBUG
    logging.getLogger(STATEMENTS).setLevel(logging.INFO if is_debugging else logging.NOTSET)
    logging.captureWarnings(capture=True)
    return writer


def flush() -> None:
    """Write what waits, for a second at most: for who ends a process in a way of their own."""
    for handler in logging.getLogger().handlers:
        handler.flush()


class _Logger:
    """Where structlog leaves a rendered line."""

    def __init__(self, name: str, write: Callable[[Line], None]) -> None:
        self.name = name
        self.debug = self.info = self.warning = self.error = self.critical = write


class _Renderer:
    """structlog's only processor: from a call's keywords to a line, rendered when it is written.

    That is many at a time, by a thread: it takes a third of what it takes amid a request.
    """

    def __init__(self, render: Render) -> None:
        self._render = render

    def __call__(self, logger: _Logger, level: str, event: EventDict) -> tuple[Any, Any]:
        message = str(event.pop("event"))
        if found := _exception(event.pop("exc_info", None)):
            event.update(frames(found))
        context = trace_context.current.get()
        told = Told(logger.name, level, message, event, time.time(), context)
        return (partial(self._render, told),), {}  # the arguments of the logger's method


class LibraryHandler(logging.Handler):
    """Takes the lines of every library."""

    def __init__(self, render: Render, writer: Writer) -> None:
        super().__init__()
        self._render, self._writer = render, writer

    def flush(self) -> None:
        """Write what waits, be it ours or theirs; the library asks for it when a process ends."""
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
        error = _exception(record.exc_info)
        fields = {} if error is None else frames(error)
        context, level = trace_context.current.get(), _word(record.levelno)
        told = Told(record.name, level, message, fields, record.created, context)
        self._writer.write(self._render(told))


def _word(number: int) -> str:
    """Say a level in one of our five words: libraries have levels of their own."""
    words = ("critical", "error", "warning", "info")
    return next((word for word in words if number >= getattr(logging, word.upper())), "debug")


def frames(error: BaseException) -> dict[str, Any]:
    """Describe an error for a log line: its type and where it happened, never its message."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]  # what made the others stop
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


def _exception(found: object) -> BaseException | None:
    """Find the exception in what may stand for ``exc_info``."""
    if found is True:
        found = sys.exc_info()
    if isinstance(found, tuple):
        found = found[1]
    return found if isinstance(found, BaseException) else None
