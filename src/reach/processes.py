"""What runs in a process: all of Reach (`up`), its API, or a worker.

Each runs until SIGINT or SIGTERM, then finishes what it has in hand within the grace time.
"""

import asyncio
import errno
import fcntl
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import anyio
import structlog
import uvicorn
from uvicorn.supervisors import Multiprocess

from reach.app import create_app
from reach.db.away import DatabaseAway
from reach.db.engine import Database, open_database
from reach.db.migrate import is_current, migrate
from reach.keyfiles import operator_key, secret_key
from reach.messages.compose import Composer
from reach.messages.mailbox import Mailbox
from reach.messages.smtp import Sender
from reach.messages.worker import Worker
from reach.settings import BadSettings, Settings, load
from reach.telemetry import logs
from reach.urls import LAST_PORT, SmtpUrl

log = structlog.get_logger("reach")

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
CHECK_AGAIN_SECONDS = 1.0
#: Those before it belong to the system's administrator.
FIRST_FREE_PORT = 1024
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class CannotStart(Exception):  # noqa: N818 - an expected failure
    """Something is in the way; ``args[0]`` says what to do."""


class AddressTaken(CannotStart):
    """Another program listens where this one was to."""


@dataclass(frozen=True, slots=True)
class Started:
    """What ``up`` has to say once it is ready."""

    settings: Settings
    operator_key: str
    has_mailbox: bool


async def up(settings: Settings, on_ready: Callable[[Started], None]) -> None:
    """Run API, worker, pages and, without an SMTP server, the mailbox, on one event loop.

    Makes and migrates what is missing. Raises CannotStart, BadSettings, DatabaseAway.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(_alone(settings))
        listener = stack.enter_context(listen(settings))
        settings = settings.model_copy(
            update={"secret_key": secret_key(settings), "port": listener.getsockname()[1]}
        )
        server_url, mailbox = settings.smtp, None
        if server_url is None:
            mailbox = Mailbox(settings.data_dir / "mailbox")
            server_url = SmtpUrl.parse(await stack.enter_async_context(mailbox.serve()))
        await asyncio.to_thread(migrate, settings.database)
        database = await stack.enter_async_context(_open(settings))
        key = await operator_key(settings, database)
        app = create_app(settings, database, mailbox)
        started = Started(settings, key, mailbox is not None)
        server = Server(app, settings, lambda: on_ready(started))
        worker = Worker(settings, database, Composer(settings), Sender(settings, server_url))
        stop = anyio.Event()
        with _signals(server.stop):
            async with anyio.create_task_group() as group:
                group.start_soon(worker.run, stop)
                await server.serve(sockets=[listener])
                stop.set()


def api(settings: Settings) -> None:
    """Run the API in ``settings.processes`` processes. Raises AddressTaken, BadSettings."""
    with listen(settings) as listener:
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})
        asyncio.run(_require_schema(settings))
        if settings.processes == 1:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(_api(settings, listener))
            return
        # The processes are started afresh, and read the environment.
        os.environ["REACH_HOST"], os.environ["REACH_PORT"] = settings.host, str(settings.port)
        config = uvicorn.Config(
            "reach.processes:app_of_environment",
            factory=True,
            workers=settings.processes,
            **_options(settings),
        )
        Multiprocess(config, sockets=[listener]).run()


def app_of_environment() -> Any:
    """Make the application of one API process out of several, which all read the environment."""
    settings = load()
    logs.configure(settings.log_level, sys.stdout)
    return create_app(settings, open_database(settings), close_database=True)


async def _api(settings: Settings, listener: socket.socket) -> None:
    app = create_app(settings, open_database(settings), close_database=True)
    server = Server(app, settings, lambda: log.info("api started", port=settings.port))
    with _signals(server.stop):
        await server.serve(sockets=[listener])
    log.info("api stopped")


async def work(settings: Settings) -> None:
    """Run one worker. Raises BadSettings if there is no mail server or the schema is too old."""
    if settings.smtp is None:
        raise BadSettings("REACH_SMTP_URL must be set: only `reach up` has a mailbox of its own")
    stop = anyio.Event()
    with _signals(stop.set):
        async with _open(settings) as database:
            worker = Worker(settings, database, Composer(settings), Sender(settings, settings.smtp))
            if await _wait_for_schema(database, stop):
                await worker.run(stop)


class Server(uvicorn.Server):
    """uvicorn, without its own way with signals: what else runs here must stop too."""

    def __init__(self, app: Any, settings: Settings, on_ready: Callable[[], None]) -> None:
        super().__init__(uvicorn.Config(app, **_options(settings)))
        self._on_ready = on_ready

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        """Leave them to ``_signals``."""
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when the first request can come."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    def stop(self) -> None:
        """Finish the requests under way; asked again, drop them."""
        self.force_exit = self.should_exit
        self.should_exit = True


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "loop": "auto",
        "http": "auto",
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,  # it trusts loopback; what to trust is ours to say
        "server_header": False,
        "backlog": BACKLOG,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": max(1, int(settings.grace_seconds)),
    }


def listen(settings: Settings) -> socket.socket:
    """Take the port before anything else is done. Raises AddressTaken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
def _alone(settings: Settings) -> Iterator[None]:
    """Have the data directory to ourselves. Raises CannotStart.

    Two at once would deliver each other's mail, each into a mailbox that only it shows.
    """
    lock = os.open(settings.data_dir / "up-lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(
                f"Another `reach up` uses the data directory {settings.data_dir}. Stop it, or "
                "give this one its own: --data-dir … (make run DATA_DIR=…)"
            ) from None
        yield
    finally:
        os.close(lock)


async def _require_schema(settings: Settings) -> None:
    """Refuse a schema that is too old; a database that is away may come later."""
    async with _open(settings) as database:
        try:
            if not await database.read(is_current):
                raise BadSettings("The database's schema is too old: run `reach migrate` first")
        except DatabaseAway as away:
            log.warning("starting without the database", reason=away.detail)


async def _wait_for_schema(database: Database, stop: anyio.Event) -> bool:
    """Wait for the database; False if told to stop first. Raises BadSettings if it is too old."""
    while not stop.is_set():
        try:
            if await database.read(is_current):
                return True
        except DatabaseAway as away:
            log.warning("waiting for the database", reason=away.detail)
        else:
            raise BadSettings("The database's schema is too old: run `reach migrate` first")
        with anyio.move_on_after(CHECK_AGAIN_SECONDS):
            await stop.wait()
    return False


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[Database]:
    database = open_database(settings)
    try:
        yield database
    finally:
        await database.close()


class _signals:  # noqa: N801 - used as a function
    """Call ``stop`` on SIGINT and SIGTERM, for as long as the block lasts."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._stop)

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


def run(coroutine_function: Callable[..., object], *arguments: object) -> None:
    """Run an ``async`` function on the fastest event loop there is."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(coroutine_function(*arguments))  # type: ignore[arg-type]


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
