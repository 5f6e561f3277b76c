"""Migrations: one history, on both databases, and the schema they make is the code's."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import text

from reach.db.connect import open_database
from reach.db.migrate import CannotMigrate, migrate
from reach.db.schema import newest, revision
from reach.db.transaction import Transaction
from reach.db.types import metadata
from reach.settings import Settings
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port


async def test_the_migrated_schema_is_the_codes(settings: Settings) -> None:
    """Alembic finds no difference; migrating again changes nothing."""
    database = open_database(settings)

    def differences(tx: Transaction) -> list[object]:
        tx.execute(text("DROP TABLE IF EXISTS numbers"))  # another test's
        found: list[object] = compare_metadata(MigrationContext.configure(tx), metadata)
        return found

    assert await database.write(differences) == []
    await database.close()


def test_two_migrate_at_once(settings: Settings) -> None:
    """Both succeed, and repeating it does too."""
    fresh = settings.model_copy(update={"data_dir": settings.data_dir / "new"})
    url = f"sqlite:///{settings.data_dir / 'fresh.sqlite3'}"
    with (
        ReachProcess("migrate", settings=fresh, database_url=url) as one,
        ReachProcess("migrate", settings=fresh, database_url=url) as other,
    ):
        assert (one.wait(), other.wait()) == (0, 0)
    assert migrate(settings.database) == newest()


async def test_what_is_older_than_any_release_is_refused(settings: Settings) -> None:
    """`reach migrate` says so, and changes nothing: what was to be done to it is not known here."""
    set_revision = text("UPDATE alembic_version SET version_num = :number")
    database = open_database(settings)
    await database.write(lambda tx: tx.execute(set_revision, {"number": "0007"}))
    try:
        with pytest.raises(CannotMigrate, match="is at 0007, older than any release"):
            await asyncio.to_thread(migrate, settings.database)
        assert await database.read(revision) == "0007"
    finally:
        await database.write(lambda tx: tx.execute(set_revision, {"number": newest()}))
        await database.close()


def test_an_old_schema_is_refused(settings: Settings, migrated_file: Path, tmp_path: Path) -> None:
    """`api` and `worker` end with 2 and name the command that helps."""
    file = tmp_path / "old.sqlite3"
    shutil.copy(migrated_file, file)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    old = settings.model_copy(update={"database_url": SecretStr(f"sqlite:///{file}")})
    smtp_url = SecretStr("smtp://127.0.0.1:9")
    for command in ("api", "worker"):
        with ReachProcess(command, settings=old, port=free_port(), smtp_url=smtp_url) as process:
            assert process.wait(60) == 2
            assert "schema is too old: run `reach migrate`" in process.errors
