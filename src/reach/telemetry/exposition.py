"""Metrics as Prometheus asks for them: ``GET /metrics``, at a port of their own.

They are served by threads, so that an event loop that is busy is scraped all the same, and one that
is stuck is told of: by ``GET /livez``, which a worker has nowhere else.
"""

import platform
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import REGISTRY, disable_created_metrics, make_wsgi_app
from prometheus_client.registry import Collector

from reach.telemetry.heartbeat import Heart
from reach.telemetry.logs import frames
from reach.telemetry.metrics import BUILD_INFO

log = structlog.get_logger("reach")

#: Every address of this machine.
ALL_SIX = "::"

METRICS, LIVEZ = "/metrics", "/livez"
#: Who asks and then says no more is hung up on.
CALLER_SECONDS = 10.0
#: Closing waits at most this long.
_LOOK_SECONDS = 0.05

StartResponse = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


def note_build(database: str) -> None:
    """Say which Reach this is, and with which database: ``sqlite`` or ``postgresql``."""
    BUILD_INFO.labels(version("reach"), platform.python_version(), database).set(1)


@contextmanager
def served(host: str, port: int, heart: Heart, metrics: Collector = REGISTRY) -> Iterator[int]:
    """Serve ``metrics``, and whether ``heart`` still beats, for as long as the block lasts.

    Gives the port, chosen if it was 0. Raises OSError if it cannot listen there.
    """
    disable_created_metrics()  # they would double the series, and several processes have none
    host = host.strip("[]")
    kind = _Server6 if ":" in host else _Server
    pages = {METRICS: _guarded(make_wsgi_app(metrics)), LIVEZ: _livez(heart)}
    server = make_server(host, port, _by_path(pages), kind, _Handler)
    thread = threading.Thread(
        target=server.serve_forever, args=(_LOOK_SECONDS,), name="reach-metrics", daemon=True
    )
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _by_path(pages: Mapping[str, Application]) -> Application:
    """Answer 404 elsewhere: the library answers with its metrics whatever one asks for."""

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        page = pages.get(environ["PATH_INFO"])
        if page is not None:
            return page(environ, start_response)
        return _text(start_response, "404 Not Found", f"Metrics are at {METRICS}.\n")

    return answer


def _guarded(metrics: Any) -> Application:
    """Say what goes wrong in a line of the log: wsgiref would write its message to stderr."""

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        try:
            found: Iterable[bytes] = metrics(environ, start_response)
        except Exception as error:  # noqa: BLE001 - its message stays here
            log.error("scrape failed", **frames(error))  # noqa: TRY400 - likewise
            status = "500 Internal Server Error"
            return _text(start_response, status, "The metrics could not be shown.\n")
        return found

    return answer


def _livez(heart: Heart) -> Application:
    """Answer as the API's own /livez does, but that it can say no."""

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            refused = ("Allow", "GET, HEAD")
            return _text(start_response, "405 Method Not Allowed", "Ask with GET.\n", refused)
        status, body = ("200 OK", b'{"status":"ok"}')
        if not heart.is_alive():
            status, body = ("503 Service Unavailable", b'{"status":"stuck"}')
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ]
        start_response(status, headers)
        return [body] if environ["REQUEST_METHOD"] == "GET" else []

    return answer


def _text(
    start_response: StartResponse, status: str, words: str, *headers: tuple[str, str]
) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *headers])
    return [words.encode()]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    #: socketserver's own 5 are few for whoever asks while others are still silent.
    request_queue_size = 128
    allow_reuse_port = False

    def server_bind(self) -> None:
        """Bind without looking up what this machine is called, which may take very long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Say what went wrong, unless it is that the caller hung up, or said nothing."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            log.error("scrape failed", **frames(error))


class _Server6(_Server):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        """Hear IPv4 too, where every address is meant."""
        if self.server_address[0] == ALL_SIX:
            hear_both(self.socket)
        super().server_bind()


def hear_both(listener: socket.socket) -> None:
    """Let what is to listen at ``::`` hear IPv4 too, whatever the system does by default."""
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)


class _Handler(WSGIRequestHandler):
    timeout = CALLER_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Log nothing: it would be a line each time."""
