"""A collector of traces on loopback: a real HTTP server that takes OTLP and keeps the spans."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

from tests.support.processes.ports import free_port


@dataclass(frozen=True)
class Span:
    """A span as it came."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    links: Sequence[tuple[str, str]]
    events: Sequence[str]
    attributes: dict[str, Any]
    resource: dict[str, Any]
    is_error: bool
    wire: WireSpan

    @property
    def place(self) -> tuple[str, str]:
        """What a link to it says."""
        return self.trace_id, self.span_id


class Collector:
    """What listens on a port and keeps what comes; ``status`` is what it answers.

    While it hangs it answers nothing. See ``running_collector``.
    """

    def __init__(self) -> None:
        """Listen."""
        self.port = free_port()
        self.status = 200
        #: Bodies as they came, taken or not.
        self.bodies: list[bytes] = []
        self.paths: set[str] = set()
        self.goes_on = threading.Event()
        self.goes_on.set()
        self._spans: list[Span] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        """For ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process that hands its spans over at once."""
        return environment_of(self.url)

    @property
    def spans(self) -> Sequence[Span]:
        """All that came so far."""
        return list(self._spans)

    def named(self, name: str) -> Sequence[Span]:
        """Find spans by their name."""
        return [span for span in self.spans if span.name == name]

    def beneath(self, span: Span) -> Sequence[Span]:
        """Find a span's children, the first begun first."""
        found = [one for one in self.spans if (one.trace_id, one.parent_id) == span.place]
        return sorted(found, key=lambda one: one.wire.start_time_unix_nano)

    def hang(self) -> None:
        """Take requests, and answer none until the end."""
        self.goes_on.clear()

    def take(self, path: str, body: bytes) -> int:
        """Keep a request; the status to answer."""
        self.paths.add(path)
        self.bodies.append(body)
        self.goes_on.wait()
        if self.status == 200:
            self._spans += _spans_of(body)
        return self.status

    def close(self) -> None:
        """Stop listening."""
        self.goes_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def environment_of(url: str) -> dict[str, str]:
    """The variables of a process that hands its spans over at once, to ``url``."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "NO_PROXY": "127.0.0.1",
    }


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Run a collector as long as the ``with`` lasts."""
    collector = Collector()
    try:
        yield collector
    finally:
        collector.close()


def _handler_of(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers for the collector."""

        protocol_version = "HTTP/1.1"
        timeout = 5

        def do_POST(self) -> None:
            """Take a batch."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = collector.take(self.path, body)
            try:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
            except ConnectionError:
                self.close_connection = True  # its sender has ended meanwhile

        def log_message(self, *_: object) -> None:
            """Write no lines."""

    return Handler


def _spans_of(body: bytes) -> Sequence[Span]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        _span(span, {one.key: _value(one.value) for one in part.resource.attributes})
        for part in request.resource_spans
        for scope in part.scope_spans
        for span in scope.spans
    ]


def _span(span: WireSpan, resource: dict[str, Any]) -> Span:
    return Span(
        name=span.name,
        kind=WireSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        events=[event.name for event in span.events],
        attributes={one.key: _value(one.value) for one in span.attributes},
        resource=resource,
        is_error=span.status.code == span.status.STATUS_CODE_ERROR,
        wire=span,
    )


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))
