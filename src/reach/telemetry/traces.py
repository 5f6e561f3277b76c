"""Traces: OpenTelemetry, an extra, off until its standard variables say where they go.

What begins a span calls ``child`` or ``root``, which cost one look while traces are off. Nothing
here needs the SDK; what does is in ``otlp``. No span holds an address, a name, a token, what was
typed or an exception's message: see ``otlp.Scrubber`` for those that FastAPI begins.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
)

from reach.problems import Problem
from reach.settings.sources import BadSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

#: How long a stopping process hands over what it has; what is left then is lost, traces only.
FLUSH_SECONDS = 2.0
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
REMEDY = (
    "is set, and OpenTelemetry is not installed. Install the extra: pip install 'reach[traces]', "
    "or, where `make run` installed Reach, .venv/bin/python -m pip install --require-hashes "
    "--requirement requirements/traces.txt"
)

#: The module that needs the extra.
OTLP = "reach.telemetry.otlp"

Attributes = Mapping[str, str | int]


@dataclass
class _Process:
    """What this process traces with."""

    provider: "TracerProvider | None" = None
    tracer: trace.Tracer | None = None


#: Its ``tracer`` is None while traces are off.
process = _Process()
#: A span that is none, and what is entered in its place.
NONE = INVALID_SPAN
OFF = nullcontext(NONE)


def endpoint_variable() -> str | None:
    """Name the variable that says where traces go; None if they are off.

    Raises BadSettings if it says what Reach cannot do.
    """
    given = [name for name in ENDPOINTS if os.environ.get(name)]
    exporter = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if not given or is_disabled or exporter == "none":
        return None
    if exporter != "otlp":
        raise BadSettings("OTEL_TRACES_EXPORTER must be otlp or none")
    protocol = next(filter(None, map(os.environ.get, PROTOCOLS)), "http/protobuf")
    if protocol != "http/protobuf":
        raise BadSettings("OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf: Reach has no other")
    if not _is_url(os.environ[given[0]]):
        raise BadSettings(f"{given[0]} must be a URL, as http://127.0.0.1:4318")
    return given[0]


def endpoint() -> str | None:
    """Say where traces go, to be shown: without credentials or query; None if they are off."""
    variable = endpoint_variable()
    if variable is None:
        return None
    url = urlsplit(os.environ[variable])
    host = url.netloc.rpartition("@")[2]
    return f"{url.scheme}://{host}{url.path}"


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # a port that is no number, an address that is none
        return False


def require_installed() -> bool:
    """Whether traces are on. Raises BadSettings if they are to be and cannot."""
    variable = endpoint_variable()
    if variable is None:
        return False
    try:
        import_module(OTLP)
    except ImportError:
        raise BadSettings(f"{variable} {REMEDY}") from None
    return True


def configure() -> None:
    """Turn traces on in this process if the environment says where to. Raises BadSettings.

    Call it before the database is opened and the application made: they look whether it is on.
    """
    if process.provider is None and require_installed():
        try:
            process.provider = provider = import_module(OTLP).provider()
        except ValueError as error:
            raise BadSettings(f"OpenTelemetry cannot use its OTEL_ variables: {error}") from None
        process.tracer = provider.get_tracer("reach")


def stop() -> None:
    """Turn traces off, and hand over what was gathered: for 2 s at most."""
    provider, process.provider, process.tracer = process.provider, None, None
    if provider is not None:
        # A daemon: a collector that never answers must not keep the process from ending.
        last = threading.Thread(target=provider.shutdown, name="reach-traces-end", daemon=True)
        last.start()
        last.join(FLUSH_SECONDS)


def are_on() -> bool:
    """Whether this process traces."""
    return process.tracer is not None


def provider() -> "TracerProvider | None":
    """What FastAPI is to trace with; None while traces are off."""
    return process.provider


def here() -> SpanContext | None:
    """Say where in a trace the caller is; None if in none, or while traces are off."""
    if process.tracer is None:
        return None
    found = trace.get_current_span().get_span_context()
    return found if found.is_valid else None


def child(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
    *,
    of_ended: bool = False,
) -> AbstractContextManager[Span]:
    """Begin a span beneath the current one, for as long as the ``with`` lasts.

    Where no span is being recorded there is none: what a process does by itself all day long
    (polls, sweeps) is no trace. ``of_ended``: beneath one that has ended, too.
    """
    span = begin(name, kind, attributes, of_ended=of_ended)
    return OFF if span is None else _begun(span)


def begin(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
    *,
    of_ended: bool = False,
) -> Span | None:
    """Begin what ``child`` does, for a caller that has to end it."""
    if process.tracer is None:
        return None
    above = trace.get_current_span()
    if above.is_recording() or (of_ended and above.get_span_context().trace_flags.sampled):
        return process.tracer.start_span(name, kind=kind, attributes=attributes)
    return None


def root(
    name: str,
    links: Sequence[SpanContext],
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
) -> AbstractContextManager[Span]:
    """Begin a trace of its own that is linked to others."""
    if process.tracer is None:
        return OFF
    return _begun(
        process.tracer.start_span(
            name,
            context=Context(),
            kind=kind,
            attributes=attributes,
            links=[Link(one) for one in links],
        )
    )


def fail(span: Span, error_type: str) -> None:
    """Mark a span as failed, with a class's name or a code: never with a message."""
    span.set_attribute("error.type", error_type)
    span.set_status(Status(StatusCode.ERROR))


@contextmanager
def _begun(span: Span) -> Iterator[Span]:
    """Be in ``span`` until the end; an exception, unless it is expected, is its failure."""
    with trace.use_span(
        span, end_on_exit=True, record_exception=False, set_status_on_exception=False
    ):
        try:
            yield span
        except BaseException as error:
            if not isinstance(error, Problem) or error.status >= Problem.status:
                fail(span, f"{type(error).__module__}.{type(error).__qualname__}")
            raise
