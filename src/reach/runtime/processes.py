"""What runs in a process: all of Reach (`up`), its API, or a worker.

Each runs until SIGINT or SIGTERM, then finishes what it has in hand within the grace time.
"""

import asyncio
import fcntl
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import structlog

from reach.app import create_app
from reach.db.connect import open_database
from reach.db.errors import DatabaseUnavailable, NoDatabase
from reach.db.migrate import CannotMigrate, Patience, migrate_beside
from reach.limits.limiter import require_one_count
from reach.mail.dkim import DkimKey
from reach.mailbox.server import Mailbox
from reach.people.stats import keep_gauges
from reach.runtime.data_dir import operator_key, with_secret_key
from reach.runtime.inbound import bound, take_reports
from reach.runtime.process import (
    OLD_SCHEMA,
    CannotStart,
    Stop,
    counting,
    is_ready,
    keep_what_is_made,
    keeping_gauges,
    loop_factory,
    opened,
)
from reach.runtime.server import Server, listen, supervise
from reach.runtime.worker import make_worker
from reach.settings import BadSettings, Settings, load
from reach.settings.urls import SmtpUrl
from reach.telemetry import logging, traces
from reach.telemetry.logging import frames
from reach.telemetry.metrics_server import note_build
from reach.telemetry.multiprocess import SolidDict

log = structlog.get_logger("reach")


@dataclass(frozen=True, slots=True)
class Started:
    """What ``up`` has to say once it is ready."""

    settings: Settings
    operator_key: str
    has_mailbox: bool


async def up(
    settings: Settings, on_ready: Callable[[Started], None], say: Callable[[str], None]
) -> None:
    """Run API, worker, pages and, without an SMTP server, the mailbox, on one event loop.

    Makes and migrates what is missing; ``say`` is told what that waits for and has done. Raises
    CannotStart, BadSettings, DatabaseUnavailable.
    """
    dkim = DkimKey.of(settings)
    async with AsyncExitStack() as stack:
        stack.enter_context(_alone(settings))
        listener = stack.enter_context(listen(settings))
        inbound = stack.enter_context(bound(settings))
        stack.enter_context(counting(settings))
        port = listener.getsockname()[1]
        settings = with_secret_key(settings).model_copy(update={"port": port})
        servers, mailbox = settings.smtp_servers, None
        if not servers:
            mailbox = Mailbox(settings.data_dir / "mailbox")
            servers = (SmtpUrl.parse(await stack.enter_async_context(mailbox.serve())),)
        await _migrate(settings, say)
        # From here to the very end: a signal must not end it while the database is closed.
        stop = Stop()
        stack.enter_context(stop.on_signals())
        database = await stack.enter_async_context(opened(settings))
        key = await operator_key(settings, database)
        app = create_app(settings, database, mailbox)
        started = Started(settings, key, mailbox is not None)
        server = Server(app, settings, lambda: on_ready(started))
        worker = make_worker(settings, database, servers, dkim)
        keep_what_is_made()
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run, stop.asked, stop.cut_off)
            group.start_soon(take_reports, settings, database, inbound, stop)
            async with keeping_gauges(settings, database):
                await server.serve_until(stop, listener)
            stop.asked.set()


async def _migrate(settings: Settings, say: Callable[[str], None]) -> None:
    """Raises CannotStart, DatabaseUnavailable."""
    patience = Patience.beside(settings.database_seconds)
    try:
        await migrate_beside(settings.direct_database, say=say, patience=patience)
    except CannotMigrate as reason:
        raise CannotStart(*reason.args) from None


def api(settings: Settings) -> None:
    """Run the API in ``settings.processes`` processes. Raises CannotStart, BadSettings."""
    require_one_count(settings)
    traces.configure()
    if settings.processes > 1:
        traces.stop()  # what each of them would meet has shown; they have their own
    with listen(settings) as listener:
        port = listener.getsockname()[1]
        settings = with_secret_key(settings).model_copy(update={"port": port})
        asyncio.run(_try_out(settings))
        if settings.processes == 1:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(_api(settings, listener))
            return
        supervise(
            "reach.runtime.processes:app_of_environment",
            settings,
            listener,
            partial(_gauges, settings),
        )


def app_of_environment() -> Any:
    """Make the application of one API process out of several, which all read the environment.

    Whatever fails is a line of the log: uvicorn would write a traceback, messages and all.
    """
    try:
        return _app_of_environment()
    except Exception as error:  # noqa: BLE001 - its message may hold an address
        if not structlog.is_configured():
            logging.configure("info", sys.stdout)
        log.critical("crashed", **frames(error))
        logging.flush()
        sys.exit(1)


def _app_of_environment() -> Any:
    settings = load()
    logging.configure(settings.log_level, sys.stdout)
    settings = with_secret_key(settings)
    traces.configure()
    for path in SolidDict.unkept[:1]:
        log.warning("no room for what is counted", path=path)
    note_build(settings.database.url.get_backend_name())
    app = create_app(settings, open_database(settings), is_one_of_several=True)
    keep_what_is_made()
    return app


async def _api(settings: Settings, listener: socket.socket) -> None:
    stop = Stop()
    with stop.on_signals(), counting(settings):
        async with opened(settings) as database:
            app = create_app(settings, database)
            server = Server(app, settings, lambda: log.info("api started", port=settings.port))
            keep_what_is_made()
            async with keeping_gauges(settings, database):
                await server.serve_until(stop, listener)
    log.info("api stopped")


async def _gauges(settings: Settings) -> None:
    """Do so in a thread, with a database of its own."""
    async with opened(settings) as database:
        await keep_gauges(database, settings)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Have the data directory to ourselves. Raises CannotStart.

    Two at once would deliver each other's mail, each into a mailbox that only it shows.
    """
    try:
        lock = os.open(settings.data_dir / "up-lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(
            f"Cannot write to the data directory {settings.data_dir}: {error.strerror}. "
            "Choose another: --data-dir … (make run DATA_DIR=…)"
        ) from None
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


async def _try_out(settings: Settings) -> None:
    """Refuse here what every process would: they are started again for ever. Raises BadSettings.

    A database that is unavailable may come later; a schema that is too old will not do, nor will a
    database that is not Reach's: NoDatabase.
    """
    async with opened(settings) as database:
        if settings.processes > 1:
            create_app(settings, database)
        try:
            if not await database.read(is_ready):
                raise BadSettings(OLD_SCHEMA)
        except NoDatabase:
            raise
        except DatabaseUnavailable as away:
            log.warning("starting without the database", reason=away.detail)
