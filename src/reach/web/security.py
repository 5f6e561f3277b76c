"""What browsers are told with every answer, and whose scripts may call ``/v1``."""

from collections.abc import Callable

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from reach.settings import Settings
from reach.settings.urls import as_browsers_write

Header = tuple[bytes, bytes]

YEAR_SECONDS = 365 * 24 * 3600
#: For what is no page: should a browser take it for one, it runs, loads and frames nothing.
POLICY = "default-src 'none'; frame-ancestors 'none'"
#: A page, or what else knows better, says its own in place of any of these.
SAFETY = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
#: Nearly every answer is somebody's, or says what may be otherwise in a moment: no cache on the way
#: keeps it, nor the browser's. What may be kept says so itself (see ``web.html``).
KEEPING = {"cache-control": "no-store"}

NAMES = frozenset(name.encode() for name in (*SAFETY, *KEEPING))

METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")
#: What /v1 reads of a request, beyond what any script may send.
READS = (
    *("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match"),
    *("X-Request-ID", "traceparent", "tracestate"),
)
#: What a site's monitoring or its HTTP library adds to every call, unasked: browsers send none of
#: the call if one of them is not admitted. Nothing here reads them. From the documentation of W3C
#: Baggage, Sentry, Zipkin (B3), Jaeger, Datadog, New Relic, Elastic APM, Azure, AWS X-Ray, Google.
ADDED = (
    *("baggage", "sentry-trace", "b3", "X-B3-TraceId", "X-B3-SpanId", "X-B3-ParentSpanId"),
    *("X-B3-Sampled", "X-B3-Flags", "uber-trace-id", "x-datadog-trace-id", "x-datadog-parent-id"),
    *("x-datadog-origin", "x-datadog-sampling-priority", "x-datadog-tags", "newrelic"),
    *("elastic-apm-traceparent", "Request-Id", "Request-Context", "X-Amzn-Trace-Id"),
    *("X-Cloud-Trace-Context", "X-Correlation-ID", "X-Requested-With"),
)
#: What a script may read of an answer, beyond its body.
TELLS = (
    *("ETag", "Location", "Retry-After", "RateLimit", "RateLimit-Policy", "X-Request-ID"),
    *("Allow", "Content-Disposition", "WWW-Authenticate"),
)


def safety_headers(settings: Settings) -> tuple[Header, ...]:
    """Make what every answer carries, once: a flood of refusals has no time to.

    Strict-Transport-Security only where people come by https, and for this host alone: it is
    not ours to speak for its neighbours.
    """
    wanted = {**SAFETY, **KEEPING}
    if settings.is_https:
        wanted["strict-transport-security"] = f"max-age={YEAR_SECONDS}"
    return tuple((name.encode(), value.encode()) for name, value in wanted.items())


def sharing(settings: Settings) -> Callable[[ASGIApp], ASGIApp]:
    """Make what lets the scripts of ``REACH_CORS_ORIGINS`` call ``/v1``: nobody's, by default.

    Never with cookies: those belong to pages, which no script may fetch from elsewhere.
    """
    origins = {as_browsers_write(origin) for origin in settings.origins}
    if not origins:
        return lambda app: app

    def shared(app: ASGIApp) -> ASGIApp:
        with_cors = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=(*READS, *ADDED),
            expose_headers=TELLS,
        )

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            is_api = scope["type"] == "http" and scope["path"].startswith("/v1/")
            await (with_cors if is_api else app)(scope, receive, send)

        return serve

    return shared
