"""Which request a line, a message or a delivery belongs to: W3C trace context.

Every request has a trace id, whether or not traces are exported: the log has it in each line,
and a message keeps it, so that a delivery days later, by another process, can be told to be that
of this request. https://www.w3.org/TR/trace-context/
"""

import random
import re
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace

_HEADER = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_ZERO_TRACE, _ZERO_SPAN = "0" * 32, "0" * 16


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace. ``trace_id`` has 32 hexadecimal digits, ``span_id`` 16."""

    trace_id: str
    span_id: str
    is_sampled: bool = False

    def __str__(self) -> str:
        """Write it as the header ``traceparent``."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02x}"


#: That of the request, or of the delivery, that this task is about.
current: ContextVar[TraceContext | None] = ContextVar("reach_trace", default=None)


def new() -> TraceContext:
    """Begin a trace."""
    return TraceContext(_digits(32), _digits(16))


def _digits(count: int) -> str:
    """Make up hexadecimal digits, not all of them 0.

    Nobody need be unable to guess them; and a call to the system for each request would let go of
    the interpreter's lock, which a busy thread gets back only after a while.
    """
    return f"{random.getrandbits(4 * count) or 1:0{count}x}"


def parse(header: str) -> TraceContext | None:
    """Read a ``traceparent``; None if it is not one."""
    found = _HEADER.fullmatch(header)
    if found is None or found[1] == _ZERO_TRACE or found[2] == _ZERO_SPAN:
        return None
    return TraceContext(found[1], found[2], is_sampled=bool(int(found[3], 16) & 1))


def of_request(headers: Sequence[str]) -> TraceContext:
    """Place a request in its caller's trace.

    ``headers`` are its ``traceparent`` headers: with none, several or a bad one it begins a trace.
    """
    parent = parse(headers[0]) if len(headers) == 1 else None
    if parent is None:
        return new()
    return replace(parent, span_id=_digits(16))


def current_header() -> str | None:
    """Write the current trace context, to be stored with what it caused; None outside any."""
    context = current.get()
    return None if context is None else str(context)
