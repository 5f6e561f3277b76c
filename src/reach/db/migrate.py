"""Bring a database to this version's schema.

docs/guides/writing-a-migration.md says what a migration may do.

SQLite's is changed in one transaction, while nobody else writes; Postgres's while it is in use: see
``migrate_postgres``.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from reach.db import sqlite_connection, sqlite_errors
from reach.db.errors import NO_FOLDER, DatabaseUnavailable, NoDatabase
from reach.db.schema import VERSIONS, is_current, names, revision
from reach.db.sqlite_files import Place, take_turn
from reach.settings.database_url import DatabaseUrl

Say = Callable[[str], None]

#: SQLite: how long others' transactions are waited for.
BUSY_SECONDS = 10


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


class CannotMigrate(Exception):
    """Something is in the way; ``args[0]`` says what, and what to do about it."""


def _say_nothing(_: str) -> None:
    pass


def migrate(database: DatabaseUrl, *, say: Say = _say_nothing, patience: Patience = DEFAULT) -> str:
    """Migrate, one process at a time; repeating it changes nothing. Returns the revision.

    ``say`` is told what is waited for and what was done. Raises DatabaseUnavailable, CannotMigrate.
    Blocks; within an event loop, see ``migrate_beside``.
    """
    return asyncio.run(migrate_beside(database, say=say, patience=patience))


async def migrate_beside(database: DatabaseUrl, *, say: Say, patience: Patience = DEFAULT) -> str:
    """Do what ``migrate`` does, within an event loop: cancelled, it ends soon.

    Unless it is SQLite that is waited for, which is a matter of moments.
    """
    if database.is_sqlite:
        return await asyncio.to_thread(_migrate_sqlite, database)
    from reach.db.migrate_postgres import migrate_postgres

    return await migrate_postgres(database, say, patience)


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
    from alembic import command, config

    given = config.Config()
    given.set_main_option("script_location", str(folder).replace("%", "%%"))
    given.attributes["connection"] = connection
    given.attributes["on_version_apply"] = on_version_apply or ()
    command.upgrade(given, to)


def _migrate_sqlite(database: DatabaseUrl) -> str:
    file = Path(database.url.database or "")
    if not file.parent.is_dir():
        raise NoDatabase(NO_FOLDER)
    sqlite_connection.require_ours(file)
    engine = sqlite_connection.create(
        Place(file), busy_seconds=BUSY_SECONDS, writes=True, make=True
    )
    try:
        with take_turn(file), engine.connect() as connection, connection.begin():
            if not is_current(connection):
                require_known(revision(connection))
                upgrade(connection, "head")
            return revision(connection) or ""
    except (DBAPIError, OSError) as error:
        if (why := sqlite_errors.no_database(error, file)) is not None:
            raise NoDatabase(why) from error
        reason = sqlite_errors.unavailable_reason(error, file)
        if reason is None:
            raise
        raise DatabaseUnavailable(reason) from error


def require_known(at: str | None) -> str | None:
    """Refuse a schema that was made before the oldest one we know. Raises CannotMigrate."""
    if at is not None and at < (oldest := names()[0][:4]):
        raise CannotMigrate(
            f"The schema is at {at}, older than any release: the oldest known is {oldest}. "
            "Migrate it with an earlier commit of Reach first, or begin with an empty database."
        )
    return at
