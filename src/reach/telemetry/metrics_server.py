"""Metrics as Prometheus asks for them, and whether an event loop still moves: at their own port.

They are served by threads, so that an event loop that is busy is scraped all the same, and one that
is stuck is told of: by ``GET /livez``, which a worker has nowhere else.
"""

import asyncio
import os
import platform
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import REGISTRY, disable_created_metrics, make_wsgi_app
from prometheus_client.registry import Collector

from reach.telemetry.logging import flush, frames
from reach.telemetry.metrics import BUILD_INFO

log = structlog.get_logger("reach")

BEAT_SECONDS = 1.0
#: What stands still for so long will not move again: nothing here blocks a loop on purpose.
STUCK_SECONDS = 10.0
#: A process that ended itself so; not 3, with which uvicorn's supervisor would end too.
STUCK = 70


class Heart:
    """Tells when something last moved."""

    def __init__(self, limit_seconds: float = STUCK_SECONDS) -> None:
        """Begin with a beat."""
        self._limit_seconds = limit_seconds
        self.beat()

    def beat(self) -> None:
        """Move."""
        self.beat_at = time.monotonic()

    def is_alive(self) -> bool:
        """Whether it has moved within the limit. Any thread may ask."""
        return time.monotonic() - self.beat_at < self._limit_seconds


@contextmanager
def beating() -> Iterator[Heart]:
    """Have the running event loop beat for as long as the block lasts."""
    loop = asyncio.get_running_loop()
    heart = Heart()
    next_beat: asyncio.TimerHandle

    def beat() -> None:
        nonlocal next_beat
        heart.beat()
        next_beat = loop.call_later(BEAT_SECONDS, beat)

    beat()
    try:
        yield heart
    finally:
        next_beat.cancel()


@contextmanager
def ending_if_stuck() -> Iterator[None]:
    """End this process if its event loop is stuck, for a parent to replace it.

    The parent could not tell: what answers it is a thread.
    """
    over = threading.Event()
    with beating() as heart:
        watch = threading.Thread(
            target=_watch, args=(heart, over), name="reach-heartbeat", daemon=True
        )
        watch.start()
        try:
            yield
        finally:
            over.set()


def _watch(heart: Heart, over: threading.Event) -> None:
    """Look whether the heart has beaten since the last look, every second.

    Looks are counted, not seconds: on a machine that is busy, or stood still, this thread does not
    look either.
    """
    seen, misses = heart.beat_at, 0
    while not over.wait(BEAT_SECONDS):
        misses = misses + 1 if heart.beat_at == seen else 0
        seen = heart.beat_at
        if misses * BEAT_SECONDS > STUCK_SECONDS:
            log.critical("event loop stuck")
            flush()
            os._exit(STUCK)


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
    server = make_server(host, port, _answering(make_wsgi_app(metrics), heart), kind, _Handler)
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


def _answering(metrics: Application, heart: Heart) -> Application:
    """Make what answers both pages; the library answers with its metrics whatever one asks for."""

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path == METRICS:
            try:
                return metrics(environ, start_response)
            except Exception as error:  # noqa: BLE001 - wsgiref would write its message to stderr
                log.error("scrape failed", **frames(error))
            status, body = "500 Internal Server Error", "The metrics could not be shown.\n"
        elif path != LIVEZ:
            status, body = "404 Not Found", f"Metrics are at {METRICS}.\n"
        elif method not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", "Ask with GET.\n"
        elif heart.is_alive():
            status, body = "200 OK", '{"status":"ok"}'
        else:
            status, body = "503 Service Unavailable", '{"status":"stuck"}'
        kind = "application/json" if body.startswith("{") else "text/plain; charset=utf-8"
        headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        headers += [("Allow", "GET, HEAD")] if status.startswith("405") else []
        start_response(status, [*headers, ("Cache-Control", "no-store")])
        return [body.encode()] if method != "HEAD" else []

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    #: socketserver's own 5 are few for those who ask while others are still silent.
    request_queue_size = 128
    allow_reuse_port = False

    def server_bind(self) -> None:
        """Bind without looking up what this machine is called, which may take very long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def handle_error(self, *_: Any) -> None:
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

    def log_message(self, *_: Any) -> None:
        """Log nothing: it would be a line each time."""
