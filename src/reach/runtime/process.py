"""What every process of Reach has: an event loop, one way to stop, a database, and its metrics.

It imports nothing of the web, which a worker has no use for.
"""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

import anyio
import structlog
from prometheus_client import REGISTRY, CollectorRegistry

from reach.db.connect import open_database
from reach.db.database import Database
from reach.db.errors import DatabaseUnavailable, NoDatabase
from reach.db.schema import is_current, require_database
from reach.db.transaction import Transaction
from reach.people.stats import keep_gauges
from reach.settings import BadSettings, Settings
from reach.telemetry import metrics_server, traces
from reach.telemetry.metrics_server import Heart, beating, note_build

log = structlog.get_logger("reach")

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
CHECK_AGAIN_SECONDS = 1.0
OLD_SCHEMA = "The database's schema is too old: run `reach migrate` first"


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


def keep_what_is_made() -> None:
    """Leave what a process is made of out of every later garbage collection.

    It is some 150,000 objects, none of which ever becomes garbage. To go through them again and
    again took a quarter of the processor's time, and a request that met it waited for 0.1 s.
    """
    gc.freeze()


@contextmanager
def counting(settings: Settings) -> Iterator[None]:
    """Serve what this process counts, and whether it lives, if metrics are asked for.

    Raises CannotStart.
    """
    note_build(settings.database.url.get_backend_name())
    with beating() as heart, metrics_served(settings, heart):
        yield


@asynccontextmanager
async def keeping_gauges(settings: Settings, database: Database) -> AsyncIterator[None]:
    """Keep the gauges that come from the database fresh, if anybody can see them."""
    async with anyio.create_task_group() as group:
        if settings.metrics_port is not None:
            group.start_soon(keep_gauges, database, settings)
        yield
        group.cancel_scope.cancel()


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """Open the database of ``settings`` for as long as the block lasts."""
    database = open_database(settings)
    try:
        yield database
    finally:
        await database.close()


def is_ready(tx: Transaction) -> bool:
    """Whether a database has the schema of this version. Raises NoDatabase."""
    require_database(tx)
    return is_current(tx)


async def wait_for_schema(database: Database, stop: anyio.Event) -> bool:
    """Wait for the database; False if told to stop first.

    Raises BadSettings if it is too old, and NoDatabase.
    """
    while not stop.is_set():
        try:
            if await database.read(is_ready):
                return True
        except NoDatabase:
            raise
        except DatabaseUnavailable as away:
            log.warning("waiting for the database", reason=away.detail)
        else:
            raise BadSettings(OLD_SCHEMA)
        with anyio.move_on_after(CHECK_AGAIN_SECONDS):
            await stop.wait()
    return False


def run(coroutine_function: Callable[..., object], *arguments: object) -> None:
    """Run an ``async`` function on the fastest event loop there is. Raises BadSettings."""
    traces.configure()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(coroutine_function(*arguments))  # type: ignore[arg-type]
    finally:
        traces.stop()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Say what makes the fastest event loop there is; None for Python's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
