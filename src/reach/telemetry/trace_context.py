"""Which request a line, a message or a delivery belongs to: W3C trace context.

Every request has a trace id, whether or not traces are exported: the log has it in each line,
and a message keeps it, so that a delivery days later, by another process, can be told to be that
of this request. https://www.w3.org/TR/trace-context/
"""

import random
from collections.abc import Sequence
from contextvars import ContextVar

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

HEADER = "traceparent"
_PROPAGATOR = TraceContextTextMapPropagator()

#: That of the request, or of the delivery, that this task is about.
current: ContextVar[SpanContext | None] = ContextVar("reach_trace", default=None)


def parse(header: str) -> SpanContext | None:
    """Read a ``traceparent``; None if it is not one."""
    extracted = _PROPAGATOR.extract({HEADER: header}, Context())
    found = get_current_span(extracted).get_span_context()
    return found if found.is_valid else None


def of_request(headers: Sequence[str]) -> SpanContext:
    """Place a request in its caller's trace.

    ``headers`` are its ``traceparent`` headers: with none, several or a bad one it begins a trace.
    Ids are made up by ``random``: a call to the system for each request would give up the
    interpreter's lock, which a busy thread gets back only after a while.
    """
    span_id = random.getrandbits(64) or 1
    parent = parse(headers[0]) if len(headers) == 1 else None
    if parent is None:
        return SpanContext(random.getrandbits(128) or 1, span_id, is_remote=False)
    return SpanContext(parent.trace_id, span_id, is_remote=False, trace_flags=parent.trace_flags)


def current_header() -> str | None:
    """Write the current trace context, to be stored with what it caused; None outside any.

    As ``traceparent``, by hand: the propagator takes 5 µs. A trace's state, which may be anything,
    is left out.
    """
    context = current.get()
    if context is None:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
