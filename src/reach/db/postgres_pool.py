"""SQLAlchemy's pool of connections to Postgres, kept to the server that takes writes."""

import time
from typing import Any

from sqlalchemy import ExceptionContext, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_

from reach.db.postgres_connection import (
    CACHED_STATEMENTS,
    Opener,
    PostgresConnection,
)
from reach.settings.database_url import DatabaseUrl

#: A transaction that may only read, or a server that lets nobody write.
READ_ONLY = "25006"
#: The server has ended the connection, or is about to; its last word may come before its end:
#: of an operator's wish, a crash, a start, a dropped database; of idleness, of a long transaction.
ENDED_CODES = ("57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04")
#: Of the connection itself; of PgBouncer, that it lost the server, or has none to spare.
ENDED_CLASS = "08"
#: How old a connection to a server that takes no writes may get: then one that does is looked for.
READ_ONLY_SECONDS = 0.5


def create(database: DatabaseUrl, opener: Opener, **options: Any) -> AsyncEngine:
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
