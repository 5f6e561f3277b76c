"""Which version of the schema a database has, and which one this version of Reach needs."""

from pathlib import Path

from sqlalchemy import text

from reach.db.errors import EMPTY, OTHERS, REVISION, NoDatabase
from reach.db.transaction import Transaction

VERSIONS = Path(__file__).parent / "migrations" / "versions"
#: Alembic's, in which a database says which version it has.
VERSION_TABLE = "alembic_version"
_HAS_VERSION = {
    "sqlite": "SELECT name FROM sqlite_schema WHERE name = 'alembic_version'",
    "postgresql": "SELECT to_regclass('alembic_version')",
}
_TABLES = {
    "sqlite": "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
    "postgresql": "SELECT 1 FROM pg_tables WHERE schemaname = ANY(current_schemas(false))",
}


def names() -> list[str]:
    """Every migration that this version of Reach knows, in order: ``0001_…``."""
    return sorted(path.stem for path in VERSIONS.glob("[0-9]*.py"))


def newest() -> str:
    """The revision that this version of Reach needs: the number of its last migration."""
    return names()[-1][:4]


def revision(tx: Transaction) -> str | None:
    """The revision a database is at; None if it was never migrated.

    Raises NoDatabase if another program keeps its own revision there.
    """
    if tx.execute(text(_HAS_VERSION[tx.dialect.name])).scalar() is None:
        return None
    found: str | None = tx.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found is not None and not REVISION.fullmatch(found):
        raise NoDatabase(OTHERS)
    return found


def require_database(tx: Transaction) -> None:
    """Refuse a database that holds nothing of Reach's. Raises NoDatabase."""
    if revision(tx) is None:
        is_empty = tx.execute(text(_TABLES[tx.dialect.name])).first() is None
        raise NoDatabase(EMPTY if is_empty else OTHERS)


def is_current(tx: Transaction) -> bool:
    """Whether the schema is this version's, or a newer one: those only add to it."""
    return (revision(tx) or "") >= newest()
