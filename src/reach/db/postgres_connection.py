"""One connection to Postgres: to which server, and what it keeps between two transactions.

A pooler (PgBouncer) in between may refuse what a client sends as it connects, and may run each
transaction in another server process. So nothing but the application's name is sent at the start.
Then one question finds out whether what answers is the very process that was connected to. If so,
the session's parameters are set once, and statements stay prepared. If not, each transaction sets
the parameters for itself, no statement has a name, and there is no LISTEN.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import asyncpg
from sqlalchemy import ExceptionContext, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_

from reach.db.errors import READ_ONLY_DATABASE, ReadOnlyDatabase
from reach.network.sockets import open_socket
from reach.settings.database_url import DatabaseUrl

if TYPE_CHECKING:
    import ssl

    from asyncpg import Connection as _Connection

    Connection = _Connection[asyncpg.Record]
else:
    from asyncpg import Connection

#: How long one of several servers has before the next is tried beside it (RFC 8305 §8).
NEXT_SECONDS = 0.25
#: How much longer one that was silent the last time has, once another can be read.
SILENT_SECONDS = 1.0
#: How much of a host's time the network may take: what it says of each address comes in time then.
NETWORK_SHARE = 0.9
#: What asyncpg says of a connection that has ended. The last, of one that the server has only said
#: that it ends: it is not closed yet, and there is nothing that it may do.
LOST = (asyncpg.ConnectionDoesNotExistError, asyncpg.InterfaceError, asyncpg.InternalClientError)
#: What connecting, and a connection, can fail with.
FAILURES = (asyncpg.PostgresError, *LOST, OSError, TimeoutError)

#: Statements that asyncpg and SQLAlchemy keep prepared, on a connection of our own.
CACHED_STATEMENTS = 100

#: In recovery the second is "on" as well; the last is of this session, not of a transaction.
_ASK = (
    "SELECT pg_backend_pid(), pg_is_in_recovery(), "
    "current_setting('transaction_read_only')::boolean"
)


@dataclass(frozen=True, slots=True)
class Session:
    """What a connection calls itself, and the server parameters that hold for it."""

    name: str
    parameters: Mapping[str, str]
    #: Whether the URL may give it another name.
    may_be_renamed: bool = False


class PostgresConnection(Connection):
    """A connection, and what was found out when it was opened."""

    #: Whether a pooler is in between.
    is_shared = False
    #: Whether it was a standby.
    in_recovery = False
    #: Whether it took writes: no standby, and not set to be read-only.
    took_writes = True
    #: When that was, by ``time.monotonic()``; 0 before.
    opened_at = 0.0
    #: The session's, in force all the time unless the connection is shared.
    parameters: Mapping[str, str] = MappingProxyType({})
    #: What is sent behind BEGIN.
    _settings = ""
    #: What is sent before COMMIT.
    _last_words = ""

    async def begin_session(self, session: Session) -> None:
        """Ask what is at the other end, and have ``session`` hold. Raises FAILURES."""
        # In a transaction and without a name, a statement is prepared and run by one process. The
        # parameters outlast the transaction only where the process is ours: a pooler would hand
        # them on.
        own = self.get_server_pid()
        arguments = [text for pair in session.parameters.items() for text in pair]
        sets = "".join(
            f", set_config(${n}, ${n + 1}, pg_backend_pid() <> {own})"
            for n in range(1, len(arguments), 2)
        )
        async with self.transaction():
            statement = await self.prepare(_ASK + sets, name="")
            row = await statement.fetchrow(*arguments)
        assert row is not None
        self.opened_at = time.monotonic()
        pid, self.in_recovery, is_read_only = row[:3]
        self.took_writes = not is_read_only
        self.is_shared = pid != own
        self.parameters = session.parameters
        if self.is_shared:
            self._settings = "".join(
                f"SET LOCAL {name} = '{value}';" for name, value in session.parameters.items()
            )

    def announce_at_commit(self, channels: Iterable[str]) -> None:
        """NOTIFY with the COMMIT that comes next. Channels are names of ours, in plain letters."""
        self._last_words = "".join(f"NOTIFY {channel};" for channel in channels)

    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        """Run a statement; what goes with BEGIN or COMMIT takes no trip of its own."""
        if query.startswith("BEGIN"):
            query += self._settings
            self._last_words = ""  # of a transaction that never came to its end
        elif query.startswith("COMMIT"):
            query = self._last_words + query
            self._last_words = ""
        try:
            return await super().execute(query, *args, **options)
        except asyncpg.PostgresError:
            if query.endswith("COMMIT;") and self.is_in_transaction():
                await super().execute("ROLLBACK")  # it got no further than what came before COMMIT
            raise


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server is, as asyncpg takes it; empty is libpq's default."""

    host: str | None = None
    port: int | None = None


class Opener:
    """Opens connections to the one of several servers that is wanted (``target_session_attrs``).

    What the URL does not say, or ``any``: the first that takes writes; if none does, the first that
    answers, which can be read. So a list heals by itself, whatever its order.
    """

    def __init__(self, url: DatabaseUrl, session: Session, *, seconds: float) -> None:
        """Connect to nothing yet. ``seconds`` is what one server may take."""
        # The dialect makes lists of hosts and ports where there are several.
        arguments: dict[str, Any] = dict(url.url.get_dialect()().create_connect_args(url.url)[1])
        arguments |= url.connect_args
        self._target = arguments.pop("target_session_attrs", "any")
        self._places = _places(arguments.pop("host", None), arguments.pop("port", None))
        given = {"application_name": session.name, **arguments.get("server_settings", {})}
        if not session.may_be_renamed:
            given["application_name"] = session.name
        self._arguments = {
            **arguments,
            "timeout": seconds,
            # asyncpg would have PGTARGETSESSIONATTRS count.
            "target_session_attrs": "any",
            "server_settings": given,
        }
        self._session = session
        self._seconds = seconds
        self._has_pooler = False
        #: Those that did not answer at all the last time.
        self._silent: set[Place] = set()

    async def open(self) -> PostgresConnection:
        """Connect, and find out what is there. Raises FAILURES, ReadOnlyDatabase."""
        attempts: list[asyncio.Task[PostgresConnection]] = []
        chosen: asyncio.Task[PostgresConnection] | None = None
        try:
            chosen = await self._choose(attempts)
            chosen.result().opened_at = time.monotonic()  # others may have been waited for
            return chosen.result()
        finally:
            for attempt in attempts:
                if attempt is not chosen:
                    _drop(attempt)

    async def _choose(
        self, attempts: list[asyncio.Task[PostgresConnection]]
    ) -> asyncio.Task[PostgresConnection]:
        """Begin an attempt for each place in turn, until one is what is wanted."""
        waiting = list(self._places)
        running: dict[asyncio.Task[PostgresConnection], Place] = {}
        began: dict[asyncio.Task[PostgresConnection], float] = {}
        spare: asyncio.Task[PostgresConnection] | None = None
        failure: BaseException | None = None
        while waiting or running:
            if waiting:
                place = waiting.pop(0)
                attempt = asyncio.create_task(self._open(place))
                began[attempt] = time.monotonic()
                attempts.append(attempt)
                running[attempt] = place
            seconds = NEXT_SECONDS if waiting else None
            if spare and not waiting and self._silent.issuperset(running.values()):
                seconds = SILENT_SECONDS
            done, _ = await asyncio.wait(
                running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if spare and not waiting and not done:
                break
            for attempt in done:
                place = running.pop(attempt)
                failure = attempt.exception() or failure
                self._note(place, attempt.exception(), time.monotonic() - began[attempt])
                if attempt.exception() is None:
                    if self._is_wanted(attempt.result()):
                        self._prefer(place)
                        return attempt
                    spare = spare or attempt
        if spare is None:
            assert failure is not None
            raise failure
        if self._target != "any":
            raise ReadOnlyDatabase(READ_ONLY_DATABASE)
        return spare

    async def _open(self, place: Place) -> PostgresConnection:
        """Connect to one server."""
        connection = await self._connect(place)
        try:
            async with asyncio.timeout(self._seconds):
                await connection.begin_session(self._session)
        except Exception as error:
            if connection.is_closed():  # asyncpg has several errors for it, some meant for itself
                raise ConnectionResetError from error
            raise
        finally:
            if not connection.opened_at:
                connection.terminate()
        if connection.is_shared and not self._has_pooler:
            # asyncpg can keep no statements from the start only.
            self._has_pooler = True
            connection.terminate()
            return await self._open(place)
        return connection

    async def _connect(self, place: Place) -> PostgresConnection:
        named = {"host": place.host, "port": place.port}
        arguments = {
            **self._arguments,
            **{name: value for name, value in named.items() if value is not None},
            "statement_cache_size": 0 if self._has_pooler else CACHED_STATEMENTS,
        }
        return await connect(**arguments)

    def _is_wanted(self, connection: PostgresConnection) -> bool:
        if self._target == "primary":
            return not connection.in_recovery
        return connection.took_writes

    def _note(self, place: Place, failure: BaseException | None, seconds: float) -> None:
        """Remember who is silent: by the time it took, for the errors of that are many."""
        if failure is not None and seconds > SILENT_SECONDS:
            self._silent.add(place)
        else:
            self._silent.discard(place)

    def _prefer(self, place: Place) -> None:
        """Begin with it the next time."""
        self._places.remove(place)
        self._places.insert(0, place)


def _places(hosts: object, ports: object) -> list[Place]:
    """Pair hosts with their ports, of which each may be a list, a single one or none."""
    if not isinstance(hosts, list | tuple):
        return [Place(hosts, ports)]  # type: ignore[arg-type]  # as the dialect gives them
    each = ports if isinstance(ports, list | tuple) else [ports] * len(hosts)
    return [Place(host, port) for host, port in zip(hosts, each, strict=True)]


def _drop(attempt: asyncio.Task[PostgresConnection]) -> None:
    """Close what an attempt has come to, or comes to yet."""
    if not attempt.done():
        attempt.cancel()
        attempt.add_done_callback(_drop)
    elif not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()


async def connect(**arguments: Any) -> PostgresConnection:
    """Connect as ``asyncpg.connect`` does, to one host, within ``timeout`` (seconds).

    At the first address of its name that answers. Raises what asyncpg raises; of its OSErrors,
    CannotConnect.
    """
    seconds = arguments["timeout"] * NETWORK_SHARE
    loop = _EveryAddress(asyncio.get_running_loop(), seconds)
    connection: PostgresConnection = await asyncpg.connect(
        loop=cast("asyncio.AbstractEventLoop", loop),
        connection_class=PostgresConnection,
        **arguments,
    )
    return connection


class _EveryAddress:
    """The running event loop, but for the way in which it connects to a name.

    asyncpg takes no socket that is connected already, nor an address and the name of its
    certificate; but it connects by the loop that it is given, with the name that TLS needs.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str,
        port: int,
        *,
        ssl: "ssl.SSLContext | None" = None,
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        connected = await open_socket(host, port, seconds=self._seconds)
        try:
            return await self._loop.create_connection(
                protocol_factory,
                sock=connected,
                ssl=ssl,
                server_hostname=None if ssl is None else host,
            )
        except BaseException:
            connected.close()
            raise


#: A transaction that may only read, or a server that lets nobody write.
READ_ONLY = "25006"
#: The server has ended the connection, or is about to; its last word may come before its end:
#: of an operator's wish, a crash, a start, a dropped database; of idleness, of a long transaction.
ENDED_CODES = ("57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04")
#: Of the connection itself; of PgBouncer, that it lost the server, or has none to spare.
ENDED_CLASS = "08"
#: How old a connection to a server that takes no writes may get: then one that does is looked for.
READ_ONLY_SECONDS = 0.5


def create_engine(database: DatabaseUrl, opener: Opener, **options: Any) -> AsyncEngine:
    """Build an engine whose connections ``opener`` opens. ``options`` are SQLAlchemy's."""
    engine = create_async_engine(database.url, hide_parameters=True, **options)
    sync_engine = engine.sync_engine

    @event.listens_for(sync_engine, "do_connect")
    def connect(dialect: Any, _record: Any, _arguments: Any, _named: Any) -> Any:
        return _adapted(dialect, await_(opener.open()))

    event.listen(sync_engine, "checkout", _renew)
    event.listen(sync_engine, "handle_error", _judge)
    return engine


def _adapted(dialect: Any, connection: PostgresConnection) -> Any:
    """Make it one that SQLAlchemy can use. Behind a pooler no statement is named or kept."""

    async def opened(**_: Any) -> PostgresConnection:
        return connection

    return dialect.loaded_dbapi.connect(
        async_creator_fn=opened,
        prepared_statement_cache_size=0 if connection.is_shared else CACHED_STATEMENTS,
        prepared_statement_name_func=str if connection.is_shared else None,
    )


def _renew(driver: Any, _record: Any, _proxy: Any) -> None:
    """Have another opened in place of one that soon after it was opened still took no writes."""
    connection: PostgresConnection = driver.driver_connection
    age_seconds = time.monotonic() - connection.opened_at
    if not connection.took_writes and age_seconds > READ_ONLY_SECONDS:
        raise DisconnectionError("another server may take writes by now")


def _judge(failure: ExceptionContext) -> None:
    """Have the whole pool renewed if what is at the other end is no longer what it was."""
    state: str = getattr(failure.original_exception, "sqlstate", None) or ""
    if state in ENDED_CODES or state.startswith(ENDED_CLASS):
        failure.is_disconnect = True
    if state == READ_ONLY and failure.connection is not None:
        connection = failure.connection
        may_write = not connection.get_execution_options().get("postgresql_readonly")
        opened: PostgresConnection | Any = connection.connection.driver_connection
        # Once a new connection is no better, there is no other server to be had now.
        failure.is_disconnect = may_write and opened.took_writes
