"""How spans leave the process: OTLP over HTTP, from a thread of its own. It needs the extra."""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, TraceState
from opentelemetry.util.types import Attributes

log = structlog.get_logger("reach.traces")

#: They write a line for each batch that is not taken, with the words of the one who did not.
LOUD = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal")

#: What a span may begin with. FastAPI begins its own with the path and the query as they were
#: typed, any method, and the ``Host`` that the caller sent.
KEPT = frozenset(
    {
        "http.request.method",
        "url.scheme",
        "network.protocol.version",
        "db.system.name",
        "db.operation.name",
        "db.query.text",
        "reach.db.access",
        "reach.group.size",
        "reach.message.id",
        "reach.message.template",
        "reach.message.attempt",
    }
)


class Scrubber(Sampler):
    """Decides as the environment's sampler does, and lets spans begin with nothing personal.

    A span's first attributes and its trace state are those that its sampler returns.
    """

    def __init__(self, inner: Sampler) -> None:
        """Leave the decisions to ``inner``."""
        self._inner = inner

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide. What is linked to something that is sampled is treated as its child."""
        result = self._inner.should_sample(parent_context, trace_id, name, kind)
        for link in links or ():
            if result.decision is Decision.RECORD_AND_SAMPLE:
                break
            if link.context.trace_flags.sampled:
                above = trace.set_span_in_context(NonRecordingSpan(link.context), Context())
                result = self._inner.should_sample(above, link.context.trace_id, name, kind)
        if result.decision is Decision.DROP:
            return SamplingResult(result.decision)
        kept = {key: value for key, value in (attributes or {}).items() if key in KEPT}
        return SamplingResult(result.decision, kept)

    def get_description(self) -> str:
        """Name it."""
        return f"Scrubber{{{self._inner.get_description()}}}"


class Exporter(SpanExporter):
    """Hands spans over; says once when they are not taken, and once when they are again."""

    def __init__(self, inner: SpanExporter) -> None:
        """Hand over by ``inner``."""
        self._inner = inner
        self._is_unavailable = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand over a batch; what is not taken is lost."""
        result = self._inner.export(spans)
        is_unavailable = result is not SpanExportResult.SUCCESS
        if is_unavailable and not self._is_unavailable:
            log.warning("traces are not taken")
        elif self._is_unavailable and not is_unavailable:
            log.info("traces are taken again")
        self._is_unavailable = is_unavailable
        return result

    def shutdown(self) -> None:
        """Give up what is under way."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing: nothing is kept here."""
        return self._inner.force_flush(timeout_millis)


def provider() -> TracerProvider:
    """Make what begins spans and hands them over, as the standard variables say.

    Raises ValueError, with no value repeated, if it is not clear what they say.
    """
    with _strictly():
        made = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        made.sampler = Scrubber(made.sampler)
        exporter = OTLPSpanExporter()
    made.add_span_processor(BatchSpanProcessor(Exporter(exporter)))
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return made


class _Complaints(logging.Handler):
    """Keeps what is logged, less the values in it."""

    def __init__(self) -> None:
        """Keep warnings and worse."""
        super().__init__(logging.WARNING)
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.words.append(str(record.msg))


@contextmanager
def _strictly() -> Iterator[None]:
    """Raise what OpenTelemetry only logs: a sampler it does not know, and headers, secrets and all.

    Raises ValueError.
    """
    logger, complaints = logging.getLogger("opentelemetry"), _Complaints()
    before = logger.level, logger.propagate
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    logger.addHandler(complaints)
    try:
        yield
    finally:
        logger.removeHandler(complaints)
        logger.setLevel(before[0])
        logger.propagate = before[1]
    if complaints.words:
        raise ValueError("; ".join(complaints.words))


def _resource() -> Resource:
    """Say who traces; what ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` say counts."""
    ours = {
        "service.name": "reach",
        "service.version": version("reach"),
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
    }
    return Resource.create(ours).merge(OTELResourceDetector().detect())
