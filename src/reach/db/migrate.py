"""Bring a database to this version's schema.

SQLite's is changed in one transaction, while nobody else writes. Postgres's is changed while it
is in use: see ``db.migrating``, and docs/guides/writing-a-migration.md for what a migration may do.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from reach.db import sqlite_connection, sqlite_errors
from reach.db.errors import (
    COPYING,
    EMPTY,
    NO_FOLDER,
    OTHERS,
    REVISION,
    DatabaseUnavailable,
    HalfCopied,
    NoDatabase,
)
from reach.db.sqlite_files import Place, take_turn
from reach.db.transaction import Transaction
from reach.settings.urls import DatabaseUrl

if TYPE_CHECKING:
    from alembic.config import Config

VERSIONS = Path(__file__).parent / "migrations" / "versions"
BUSY_SECONDS = 10
_TABLES = {
    "sqlite": "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
    "postgresql": "SELECT 1 FROM pg_tables WHERE schemaname = ANY(current_schemas(false))",
}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long `reach migrate` waits on Postgres.

    ``lock_seconds``, for a lock on a table: later requests queue up behind. One that meets such
    waits at two statements, and its predecessor too, still has REACH_DATABASE_SECONDS.
    ``migration_seconds``: how long one migration is tried again, while others hold what it needs.
    ``turn_seconds``: how long another `reach migrate` may be at work.
    """

    lock_seconds: float = 1
    migration_seconds: float = 120
    turn_seconds: float = 600

    @classmethod
    def beside(cls, request_seconds: float) -> "Patience":
        """Be no more patient than requests are which may take so long."""
        return cls(lock_seconds=min(cls().lock_seconds, request_seconds / 4))


DEFAULT = Patience()


class CannotMigrate(Exception):  # noqa: N818 - an expected failure
    """Something is in the way; ``args[0]`` says what, and what to do about it."""


def names() -> list[str]:
    """Every migration that this version of Reach knows, in order: ``0001_…``."""
    return sorted(path.stem for path in VERSIONS.glob("[0-9]*.py"))


def newest() -> str:
    """The revision that this version of Reach needs: the number of its last migration."""
    return names()[-1][:4]


def revision(tx: Transaction) -> str | None:
    """The revision a database is at; None if it was never migrated.

    Raises HalfCopied; NoDatabase if another program keeps its own revision there.
    """
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
    if found is not None and not REVISION.fullmatch(found):
        raise NoDatabase(OTHERS)
    return found


def require_database(tx: Transaction) -> None:
    """Refuse a database that holds nothing of Reach's. Raises NoDatabase; HalfCopied."""
    if revision(tx) is None:
        is_empty = tx.execute(text(_TABLES[tx.dialect.name])).first() is None
        raise NoDatabase(EMPTY if is_empty else OTHERS)


def is_current(tx: Transaction) -> bool:
    """Whether the schema is this version's, or a newer one: those only add to it."""
    return (revision(tx) or "") >= newest()


def _say_nothing(_: str) -> None:
    pass


def migrate(
    database: DatabaseUrl,
    *,
    say: Callable[[str], None] = _say_nothing,
    patience: Patience = DEFAULT,
) -> str:
    """Migrate, one process at a time; repeating it changes nothing. Returns the revision.

    ``say`` is told what is waited for and what was done. Raises DatabaseUnavailable, CannotMigrate.
    Blocks; within an event loop, see ``migrate_beside``.
    """
    if database.is_sqlite:
        return _migrate_sqlite(database)
    return asyncio.run(_migrate_postgres(database, say, patience))


async def migrate_beside(
    database: DatabaseUrl, *, say: Callable[[str], None], patience: Patience = DEFAULT
) -> str:
    """Do what ``migrate`` does, within an event loop: cancelled, it ends soon.

    Unless it is SQLite that is waited for, which is a matter of moments.
    """
    if database.is_sqlite:
        return await asyncio.to_thread(_migrate_sqlite, database)
    return await _migrate_postgres(database, say, patience)


async def _migrate_postgres(
    database: DatabaseUrl, say: Callable[[str], None], patience: Patience
) -> str:
    from reach.db import migrating, postgres  # noqa: PLC0415 - one driver is enough

    try:
        return await migrating.migrate(database, say, patience)
    except postgres.FAILURES as error:
        if isinstance(error, DBAPIError) and postgres.sqlstate(error) in postgres.REFUSED_CODES:
            raise CannotMigrate(postgres.MAY_NOT_CREATE) from error
        if (why := postgres.no_database(error)) is not None:
            raise NoDatabase(why) from error
        if not postgres.is_unavailable(error):
            raise
        raise DatabaseUnavailable(postgres.unavailable_reason(error)) from error


def _migrate_sqlite(database: DatabaseUrl) -> str:
    file = Path(database.url.database or "")
    if not file.parent.is_dir():
        raise NoDatabase(NO_FOLDER)
    sqlite_connection.require_ours(file)
    place = Place(file)
    engine = sqlite_connection.create(place, busy_seconds=BUSY_SECONDS, writes=True, make=True)
    try:
        with take_turn(file), engine.connect() as connection, connection.begin():
            return _upgrade(connection)
    except (DBAPIError, OSError) as error:
        if (why := sqlite_errors.no_database(error, file)) is not None:
            raise NoDatabase(why) from error
        reason = sqlite_errors.unavailable_reason(error, file)
        if reason is None:
            raise
        raise DatabaseUnavailable(reason) from error


def _upgrade(connection: Connection) -> str:
    if not is_current(connection):
        upgrade(connection, "head")
    return revision(connection) or ""


def upgrade(
    connection: Connection,
    to: str,
    *,
    folder: Path = VERSIONS.parent,
    on_version_apply: Callable[..., None] | None = None,
) -> None:
    """Have Alembic migrate up to revision ``to``: in a transaction of each migration's own.

    Unless ``connection`` has begun one: then all happens in that. ``on_version_apply`` is called
    at the end of each migration, in its transaction.
    """
    from alembic import command  # noqa: PLC0415 - half a second that most starts spare

    command.upgrade(_config(connection, folder, on_version_apply), to)


def _config(connection: Connection, folder: Path, on_version_apply: Any) -> "Config":
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["on_version_apply"] = on_version_apply or ()
    return config
