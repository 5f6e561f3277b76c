"""Logs: one JSON object a line, on the stream that the command says; pretty on a terminal.

No address, name, token or subject ever: so no exception's message either, for those of
databases and mail servers quote what they were given.
"""

import logging
import re
import sys
import traceback
from typing import Any, TextIO

import structlog
from structlog.types import EventDict, WrappedLogger

#: These write addresses, or much that nobody reads.
QUIET = {"mail.log": logging.CRITICAL, "alembic": logging.WARNING, "asyncio": logging.WARNING}


def configure(level: str, stream: TextIO) -> None:
    """Send our own lines and every library's to ``stream``, in one shape."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="@timestamp"),
        _without_messages,
    ]
    if stream.isatty():
        last: Any = structlog.dev.ConsoleRenderer(event_key="message")
    else:
        last = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.EventRenamer("message"),
                last,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, quiet_level in QUIET.items():
        logging.getLogger(name).setLevel(quiet_level)


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


def _without_messages(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Turn a library's exception into its frames (see above).

    Some write an exception's message into their own: on further lines, and asyncio after the
    name of what failed.
    """
    end = r"[\n(<]" if event.get("logger") == "asyncio" else r"\n"
    event["event"] = re.split(end, str(event.get("event", "")), maxsplit=1)[0].strip()
    found = event.pop("exc_info", None)
    if isinstance(found, tuple):
        found = found[1]
    elif found is True:
        found = sys.exc_info()[1]
    if isinstance(found, BaseException):
        event.update(frames(found))
    return event
