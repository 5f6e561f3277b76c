"""The database that the settings name."""

from reach.db.database import Database
from reach.settings import Settings


def open_database(settings: Settings) -> Database:
    """Choose the database by its URL. Connects to nothing yet."""
    if settings.database.is_sqlite:
        from reach.db.sqlite import SqliteDatabase

        return SqliteDatabase(settings)
    from reach.db.postgres import PostgresDatabase

    return PostgresDatabase(settings)
