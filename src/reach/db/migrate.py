"""Bring a database to this version's schema."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, NullPool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from reach.db import sqlite_file
from reach.db.away import COPYING, DatabaseAway, HalfCopied
from reach.db.engine import Transaction
from reach.db.turns import take_turn
from reach.urls import DatabaseUrl

if TYPE_CHECKING:
    from alembic.config import Config

VERSIONS = Path(__file__).parent / "migrations" / "versions"
#: Any fixed number will do; it keeps two `reach migrate` from running at once.
LOCK = 0x5265616368
BUSY_SECONDS = 10
CONNECT_SECONDS = 10


def newest() -> str:
    """The revision that this version of Reach needs: migrations are numbered, ``0001_…``."""
    return max(path.name for path in VERSIONS.glob("[0-9]*.py"))[:4]


def revision(tx: Transaction) -> str | None:
    """The revision a database is at; None if it was never migrated. Raises HalfCopied."""
    table = (
        "to_regclass('alembic_version')"
        if tx.dialect.name == "postgresql"
        else ("(SELECT name FROM sqlite_master WHERE name = 'alembic_version')")
    )
    if tx.execute(text(f"SELECT {table}")).scalar() is None:
        return None
    found: str | None = tx.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found == COPYING:
        raise HalfCopied
    return found


def is_current(tx: Transaction) -> bool:
    """Whether the schema is this version's, or a newer one: those only add to it."""
    return (revision(tx) or "") >= newest()


def migrate(database: DatabaseUrl) -> str:
    """Migrate, one process at a time; repeating it changes nothing. Returns the revision.

    Raises DatabaseAway. Blocks; call it outside an event loop, or in a thread.
    """
    if database.is_sqlite:
        return _migrate_sqlite(database)
    from reach.db import postgres  # noqa: PLC0415 - one driver is enough

    try:
        return asyncio.run(_migrate_postgres(database))
    except postgres.FAILURES as error:
        if not postgres.is_away(error):
            raise
        raise DatabaseAway(postgres.away_reason(error)) from error


def _migrate_sqlite(database: DatabaseUrl) -> str:
    file = Path(database.url.database or "")
    if not file.parent.is_dir():
        raise DatabaseAway("The folder of its file does not exist.")
    engine = sqlite_file.create(database, busy_seconds=BUSY_SECONDS, writes=True, make=True)
    try:
        with take_turn(file), engine.connect() as connection, connection.begin():
            return _upgrade(connection)
    except (DBAPIError, OSError) as error:
        reason = sqlite_file.away_reason(error)
        if reason is None:
            raise
        raise DatabaseAway(reason) from error


async def _migrate_postgres(database: DatabaseUrl) -> str:
    engine = create_async_engine(
        database.url,
        poolclass=NullPool,
        connect_args=database.connect_args | {"timeout": CONNECT_SECONDS},
        hide_parameters=True,
    )
    async with engine.begin() as connection:
        # Held until the transaction ends.
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        return await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> str:
    if not is_current(connection):
        from alembic import command  # noqa: PLC0415 - half a second that most starts spare

        command.upgrade(_config(connection), "head")
    return revision(connection) or ""


def _config(connection: Connection) -> "Config":
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(VERSIONS.parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
