"""What `up` and `api` serve with: a port, uvicorn, one way to stop; and several API processes."""

import errno
import multiprocessing
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

import anyio
import structlog
import uvicorn
from anyio.from_thread import start_blocking_portal
from prometheus_client import CollectorRegistry
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from reach.network.hosts import LAST_PORT
from reach.runtime.connection import Connection
from reach.runtime.connections import Bounds
from reach.runtime.process import STOP_SIGNALS, AddressTaken, Stop, metrics_served
from reach.settings import Settings
from reach.telemetry import metrics, metrics_server
from reach.telemetry.metrics_server import STUCK_SECONDS, Heart
from reach.telemetry.multiprocess import Shares, shared, told

log = structlog.get_logger("reach")

BACKLOG = 2048
#: Those before it belong to the system's administrator.
FIRST_FREE_PORT = 1024


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


# Several API processes under one parent, which counts for them what they have counted.

JOIN_SECONDS = 0.05
#: How much longer than the grace time processes have to end, in such rounds at least; a pod has ten
#: seconds (deploy/chart).
MOST_LATE_SECONDS = 8
#: How many rounds (of half a second at least) a process may leave a question unanswered. A thread
#: answers, so that is one whose thread gets no turn: it has not started yet, its machine is busy,
#: or a call that holds Python's lock does not return. Rounds, not seconds: a machine that stood
#: still as a whole asks once before it judges.
MOST_SILENT_ROUNDS = 60
#: How long a process that replaces another on SIGHUP may take until it serves.
START_SECONDS = 60
#: What the database says, to the parent alone: it is the same no matter who asks.
FROM_DATABASE = tuple(
    metric.describe()[0].name  # type: ignore[index]  # it is a list
    for metric in (
        metrics.PEOPLE,
        metrics.OUTBOX_MESSAGES,
        metrics.OUTBOX_OLDEST_DUE,
        metrics.OUTBOX_OVERDUE,
    )
)


def supervise(
    app: str,
    settings: Settings,
    listener: socket.socket,
    keep_gauges: Callable[[], Awaitable[None]],
) -> None:
    """Run ``settings.processes`` of ``app`` (an import path) until told to stop.

    They are started afresh, and read the environment. ``keep_gauges`` goes on beside them if
    metrics are served. Raises CannotStart, and what ``keep_gauges`` raises.
    """
    os.environ["REACH_HOST"], os.environ["REACH_PORT"] = settings.host, str(settings.port)
    config = Config(
        app,
        factory=True,
        workers=settings.processes,
        timeout_worker_healthcheck=START_SECONDS,
        **options(settings),
    )
    with ExitStack() as stack:
        shares, heart = None, Heart(_longest_round_seconds(config))
        if settings.metrics_port is not None:
            shares = stack.enter_context(shared(FROM_DATABASE))
            registry = CollectorRegistry()
            registry.register(shares)
            stack.enter_context(metrics_served(settings, heart, registry))
        processes = Processes(config, [listener], shares, heart)
        if shares is not None:
            stack.enter_context(_beside(keep_gauges, processes.should_exit.set))
        processes.run()


def _longest_round_seconds(config: uvicorn.Config) -> float:
    """Calculate how long the parent may wait for its processes, one after the other.

    For each to answer, and on SIGHUP for each to finish what it has in hand.
    """
    each = config.timeout_worker_healthcheck + (config.timeout_graceful_shutdown or 0)
    return STUCK_SECONDS + config.workers * each


@contextmanager
def _beside(work: Callable[[], Awaitable[None]], on_end: Callable[[], None]) -> Iterator[None]:
    """Run ``work`` in a thread with an event loop of its own, until the block ends.

    If it fails, so does the block, which ``on_end`` has to end.
    """
    with start_blocking_portal() as portal:
        running = portal.start_task_soon(work)
        running.add_done_callback(lambda _: on_end())
        try:
            yield
        finally:
            has_failed = not running.cancel()
    if has_failed:
        running.result()


class Config(uvicorn.Config):
    """What each of several processes is told, and does first."""

    def configure_logging(self) -> None:
        """End as programs do: uvicorn, once it has stopped, raises again the signal that asked.

        By default that ends a process on the spot, with lines of the log still unwritten.
        """
        super().configure_logging()
        if multiprocessing.parent_process() is not None:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


class Processes(Multiprocess):
    """uvicorn's supervisor, with our way of stopping, and of counting."""

    def __init__(
        self,
        config: uvicorn.Config,
        sockets: list[socket.socket],
        shares: Shares | None,
        heart: Heart,
    ) -> None:
        """Have them write ``shares``; ``heart`` beats whenever they were looked after."""
        super().__init__(config, sockets)
        self._shares = shares
        self._heart = heart
        self._silent_rounds: dict[Process, int] = {}

    def init_processes(self) -> None:
        """Start them."""
        with told(self._shares):
            super().init_processes()

    def handle_signals(self) -> None:
        """Do what signals ask for: some of them start processes."""
        with told(self._shares):
            super().handle_signals()

    def keep_subprocess_alive(self) -> None:
        """Replace the dead, and those that answer no more; what they have counted is kept.

        uvicorn waits 5 s for each answer, and ends who is late: on a busy machine that is a process
        which has not even started, or one that is merely slow. Here nobody is waited for.
        """
        self._heart.beat()
        if self._shares is not None:
            alive = (one.pid for one in self.processes if one.process.is_alive())
            self._shares.fold([pid for pid in alive if pid is not None])
        before, self._silent_rounds = self._silent_rounds, {}
        for index, process in enumerate(self.processes):
            if process.process.is_alive():
                silent = self._silent_rounds[process] = _silence(process, before.get(process, 0))
                if silent <= MOST_SILENT_ROUNDS:
                    continue
                log.critical("process silent", child_pid=process.pid)
            self._replace(index)

    def _replace(self, index: int) -> None:
        old = self.processes[index]
        old.kill()
        old.join()
        if old.exitcode == STARTUP_FAILURE:  # and so would the next
            self.should_exit.set()
        if self.should_exit.is_set():
            return
        log.warning("process replaced", child_pid=old.pid)
        self.processes[index] = new = Process(self.config, self.sockets)
        with told(self._shares):
            new.start()

    def terminate_all(self) -> None:
        """Let go of the port and tell them to stop.

        While it is held, the system goes on taking callers in whom no process serves any more.
        """
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    def join_all(self) -> None:
        """Wait until they have ended; a second signal ends them at once, and so does being late."""
        self.signal_queue.clear()
        grace_seconds = self.config.timeout_graceful_shutdown or 0
        rounds_left = int((grace_seconds + MOST_LATE_SECONDS) / JOIN_SECONDS)
        while late := [process for process in self.processes if process.exitcode is None]:
            rounds_left -= 1
            if rounds_left == 0:  # it cannot hear, or cannot end
                for process in late:
                    log.critical("process silent", child_pid=process.pid)
            is_asked_again = set(STOP_SIGNALS) & set(self.signal_queue)  # not a resized window
            if is_asked_again or rounds_left <= 0:
                for process in late:
                    process.kill()
            self._heart.beat()
            time.sleep(JOIN_SECONDS)
        super().join_all()


def _silence(process: Process, rounds: int) -> int:
    """Ask ``process`` whether it answers, without waiting. Give for how many rounds it has not.

    0 before the first question, which every answer brings on.
    """
    answers = process.parent_conn
    try:
        is_answered = rounds == 0
        while answers.poll():
            answers.recv()
            is_answered = True
        if is_answered:
            answers.send(b"ping")
    except (EOFError, OSError):  # it is about to end, which is seen in the next round
        return rounds
    return 1 if is_answered else rounds + 1
