"""Metrics as Prometheus asks for them: ``GET /metrics``, at a port of their own.

They are served by threads, so that an event loop that is busy is scraped all the same.
"""

import platform
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import REGISTRY, disable_created_metrics, make_wsgi_app
from prometheus_client.registry import Collector

from reach.telemetry.logs import frames
from reach.telemetry.metrics import BUILD_INFO

log = structlog.get_logger("reach")

PATH = "/metrics"
#: Who asks and then says no more is hung up on.
CALLER_SECONDS = 10.0
#: Closing waits at most this long.
_LOOK_SECONDS = 0.05

StartResponse = Callable[[str, list[tuple[str, str]]], object]


def note_build(database: str) -> None:
    """Say which Reach this is, and with which database: ``sqlite`` or ``postgresql``."""
    BUILD_INFO.labels(version("reach"), platform.python_version(), database).set(1)


@contextmanager
def served(host: str, port: int, metrics: Collector = REGISTRY) -> Iterator[int]:
    """Serve ``metrics`` for as long as the block lasts; gives the port, chosen if it was 0.

    Raises OSError if it cannot listen there.
    """
    disable_created_metrics()  # they would double the series, and several processes have none
    host = host.strip("[]")
    kind = _Server6 if ":" in host else _Server
    server = make_server(host, port, _only_at(PATH, make_wsgi_app(metrics)), kind, _Handler)
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


def _only_at(path: str, app: Any) -> Callable[[dict[str, Any], StartResponse], Iterable[bytes]]:
    """Answer 404 elsewhere: the library answers with its metrics whatever one asks for."""

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        status, words = "404 Not Found", f"Metrics are at {path}.\n"
        if environ["PATH_INFO"] == path:
            try:
                found: Iterable[bytes] = app(environ, start_response)
            except Exception as error:  # noqa: BLE001 - wsgiref would write its message to stderr
                log.error("scrape failed", **frames(error))  # noqa: TRY400 - likewise
                status, words = "500 Internal Server Error", "The metrics could not be shown.\n"
            else:
                return found
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [words.encode()]

    return answer


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


class _Handler(WSGIRequestHandler):
    timeout = CALLER_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Log nothing: it would be a line each time."""
