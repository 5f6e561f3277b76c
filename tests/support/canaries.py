"""What no log line and no metric may hold, whatever any test does: the whole suite is searched.

Reach's lines of a test's own process go to a file, at the debug level, by the way that they go in
production; those of real processes to files of theirs (see ``servers.processes``).
"""

import logging
import os
import re
import tempfile
from functools import cached_property
from typing import TextIO

from prometheus_client import REGISTRY, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from reach.telemetry import logging as logs
from reach.telemetry import metrics

#: The names that tests sign people up with, and canaries that some put wherever they can.
NAMES = "Ada|Grace|Eve|Bob|Zoë|José|Victoria|Lovelace|Hopper|Canary"
FORBIDDEN = re.compile(
    rf"""
      [\w.+\\-]+@[\w\\-]+          # an address
    | rk_[0-9A-Za-z]{{8}}          # an operator's key
    | rlt_[\w-]{{10,}}             # the token of a link
    | \?token=
    | (?-i:\b(?:{NAMES})\b)
    | welcome\ to\ reach,          # a subject, in which a name follows
    | canary
    """,
    re.VERBOSE | re.IGNORECASE,
)
#: The Message-ID of an email, which is that of nobody: ours begin with the message's id.
MESSAGE_ID = re.compile(r"<[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}@[^>\s]+>")
#: These are the tests' own tools: what they log is not said by Reach.
TOOLS = ("httpx", "httpcore", "hypothesis", "playwright", "faker")
#: Output that is not the log, and is meant to be read once by the person who started it.
IS_LINE = "{"
FLUSH_SECONDS = 10


def found_in(text: str, *, only_lines: bool = False) -> list[str]:
    """Find the lines with something forbidden; ``only_lines``: in those of the log."""
    if not FORBIDDEN.search(text):
        return []
    return [
        line
        for line in MESSAGE_ID.sub("<id>", text).splitlines()
        if FORBIDDEN.search(line) and (line.startswith(IS_LINE) or not only_lines)
    ]


class Watch:
    """Reads along with what Reach, in this process, logs and counts; a test at a time."""

    def __init__(self) -> None:
        for tool in TOOLS:
            logging.getLogger(tool).setLevel(logging.CRITICAL)
        self._writer = logs.configure("debug", self._file)
        # Every statement of every test would be slow to write, and much to read.
        logging.getLogger(logs.STATEMENTS).setLevel(logging.WARNING)
        self._begins_at = 0
        self._labels: set[str] = set()

    @cached_property
    def _file(self) -> TextIO:
        # Its descriptor is closed by nobody: something may be logged until the very end.
        with tempfile.TemporaryFile() as file:
            return os.fdopen(os.dup(file.fileno()), "w", closefd=False)

    def begin(self) -> None:
        """Forget what was logged before this test."""
        self._flush()
        self._begins_at = os.fstat(self._file.fileno()).st_size

    def told(self) -> str:
        """What was logged since this test began."""
        self._flush()
        descriptor = self._file.fileno()
        size = os.fstat(descriptor).st_size - self._begins_at
        return os.pread(descriptor, size, self._begins_at).decode()

    def counted(self) -> str:
        """Under which labels Reach counts, of those that were not there when this was asked last.

        All else that can be scraped is in the source. To write out all that is counted, after
        each test, took a tenth of the whole suite's time; ``scraped`` is for its end.
        """
        new = labels() - self._labels
        self._labels |= new
        return "\n".join(new)

    def scraped(self) -> str:
        """All that can be scraped."""
        return generate_latest(REGISTRY).decode()

    def _flush(self) -> None:
        assert self._writer.flush(FLUSH_SECONDS), "the log is not written"


def labels() -> set[str]:
    """Every value of a label of Reach's metrics."""
    ours = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
    known = (getattr(metric, "_metrics", {}) for metric in ours)
    return {value for values in known for labelled in list(values) for value in labelled}
