"""What a delivery belongs to: the request that promised it, days ago perhaps, elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.trace import Span, SpanKind

from reach.messages.model import Message
from reach.messages.outcome import Outcome, Sent
from reach.telemetry import trace_context, traces


@contextmanager
def delivering(message: Message) -> Iterator[Span]:
    """Be about ``message`` until the end: its lines carry the trace of its request.

    Its span begins a trace of its own, linked to that: a trace that goes on for days, or begins
    anew with each retry, no tool can show.
    """
    caused_by = trace_context.parse(message.trace_context or "")
    token = trace_context.current.set(caused_by)
    try:
        if not traces.are_on():
            yield traces.NONE
            return
        names: dict[str, str | int] = {
            "reach.message.id": str(message.id),
            "reach.message.template": message.template,
            "reach.message.attempt": message.attempts + 1,
        }
        links = [traces.remote(caused_by)] if caused_by else []
        with traces.root(f"deliver {message.template}", links, SpanKind.CLIENT, names) as span:
            yield span
    finally:
        trace_context.current.reset(token)


def note(span: Span, outcome: Outcome) -> None:
    """Write what became of it on its span: codes, and never the mail server's words."""
    if not span.is_recording():
        return
    span.set_attribute("reach.attempt.outcome", outcome.name)
    if outcome.code is not None:
        span.set_attribute("reach.smtp.code", outcome.code)
    if outcome.enhanced is not None:
        span.set_attribute("reach.smtp.enhanced_code", outcome.enhanced)
    if not isinstance(outcome, Sent):
        traces.fail(span, outcome.name)
