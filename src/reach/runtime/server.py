"""What `up` and `api` serve with: a port of their own, uvicorn, and one way to stop."""

import asyncio
import errno
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

import anyio
import structlog
import uvicorn
from prometheus_client import REGISTRY
from prometheus_client.registry import CollectorRegistry

from reach.network.hosts import LAST_PORT
from reach.runtime.connection import Connection
from reach.runtime.connections import Bounds
from reach.settings import Settings
from reach.telemetry import metrics_server
from reach.telemetry.heartbeat import Heart

log = structlog.get_logger("reach")

BACKLOG = 2048
#: Those before it belong to the system's administrator.
FIRST_FREE_PORT = 1024
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class CannotStart(Exception):
    """Something is in the way; ``args[0]`` says what to do."""


class AddressTaken(CannotStart):
    """Another program listens where this one was to."""


class Stop:
    """The wish that a process ends, told at once to all that runs in it.

    The first time: finish what is in hand, within the grace time. Again: cut it off.
    """

    def __init__(self) -> None:
        self.asked = anyio.Event()
        self.cut_off = anyio.Event()

    def ask(self) -> None:
        """Stop; asked again, at once."""
        if self.asked.is_set():
            self.cut_off.set()
        self.asked.set()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Have SIGINT and SIGTERM ask, for as long as the block lasts."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.ask)
        try:
            yield
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)


class Server(uvicorn.Server):
    """uvicorn, without its own way with signals: what else runs here must stop too."""

    def __init__(self, app: Any, settings: Settings, on_ready: Callable[[], None]) -> None:
        super().__init__(uvicorn.Config(app, **options(settings)))
        self._on_ready = on_ready

    async def serve_until(self, stop: Stop, listener: socket.socket) -> None:
        """Serve until ``stop``, then finish the requests under way, or drop them."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._heed, stop)
            await self.serve(sockets=[listener])
            group.cancel_scope.cancel()

    async def _heed(self, stop: Stop) -> None:
        await stop.asked.wait()
        self.stop()
        await stop.cut_off.wait()
        self.drop()

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        """Leave them to ``Stop``."""
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when the first request can come."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    def stop(self) -> None:
        """Take no more callers, and finish the requests under way."""
        self.should_exit = True

    def drop(self) -> None:
        """Drop the requests under way. uvicorn's ``force_exit`` goes on waiting for their callers.

        What they had committed stays; their callers are not told.
        """
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()


def options(settings: Settings) -> dict[str, Any]:
    """What uvicorn is told."""
    return {
        "loop": "auto",
        "http": partial(Connection, bounds=Bounds.of(settings)),
        "ws": "none",  # there is none here, and its own lines have paths and addresses
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,  # it trusts loopback; what to trust is ours to say
        "server_header": False,
        "backlog": BACKLOG,
        "timeout_graceful_shutdown": settings.grace_seconds,
    }


def allow_many_connections() -> None:
    """Let this process, and those it starts, have as many open files as the system would let it.

    Each caller is one, and what shells give by default is used up by a small flood.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # where "unlimited" is more than there may be
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def listen(settings: Settings) -> socket.socket:
    """Take the port before anything else is done. Raises AddressTaken."""
    allow_many_connections()
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if settings.host == metrics_server.ALL_SIX:
        metrics_server.hear_both(listener)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        remedy = "Choose another host: --host … (make run HOST=…)"
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            other = settings.port + 1 if FIRST_FREE_PORT < settings.port < LAST_PORT else 8001
            remedy = f"Choose another port: --port {other} (make run PORT={other})"
        raise AddressTaken(
            f"Cannot listen on {settings.host}, port {settings.port}: {error.strerror}. {remedy}"
        ) from None
    listener.set_inheritable(True)
    return listener


@contextmanager
def metrics_served(
    settings: Settings, heart: Heart, registry: CollectorRegistry = REGISTRY
) -> Iterator[None]:
    """Serve metrics, and whether ``heart`` beats, for as long as the block lasts.

    If a port is set. Raises AddressTaken.
    """
    host, port = settings.metrics_host, settings.metrics_port
    if port is None:
        yield
        return
    with ExitStack() as stack:
        try:
            taken = stack.enter_context(metrics_server.served(host, port, heart, registry))
        except OSError as error:
            other = "--metrics-port … or REACH_METRICS_PORT, REACH_METRICS_HOST"
            raise AddressTaken(
                f"Cannot serve metrics on {host}, port {port}: {error.strerror}. "
                f"Choose another: {other}"
            ) from None
        log.info("metrics served", port=taken)
        yield
