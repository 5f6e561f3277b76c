"""A SQLite database of the version before notices: messages need a person no longer, at once."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from reach.db import sqlite_connection
from reach.db.migrate import upgrade
from reach.db.sqlite_files import Place

BEFORE, AFTER = "0010", "0012"
PEOPLE = 2000
FILL_PEOPLE = (
    "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?) "
    "INSERT INTO people (id, email, email_key, name, links_version, created_at, updated_at, "
    "version) SELECT 'p' || n, n, n, 'Ada', 0, 0, 0, 1 FROM n"
)
FILL_MESSAGES = (
    "INSERT INTO messages (id, person_id, template, data, recipient, state, due_at, lease, "
    "recorded_lease, attempts, failures, message_id, created_at) SELECT 'm' || id, id, 'welcome', "
    "'{}', email, 'queued', 0, 0, 0, 0, 0, id, 0 FROM people"
)
ADD = (
    "INSERT INTO messages (id, person_id, template, data, recipient, state, due_at, lease, "
    "recorded_lease, attempts, failures, message_id, created_at) VALUES "
    "('new', {}, 'notice', '{{}}', 'm@example.org', 'queued', 0, 0, 0, 0, 0, 'm', 0)"
)
MESSAGES = "SELECT * FROM messages ORDER BY id"
QUEUED = "SELECT sum(count) FROM counters WHERE name = 'queued'"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A filled database of the version before."""
    file = tmp_path / "reach.sqlite3"
    migrate(file, BEFORE)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(FILL_PEOPLE, (PEOPLE,))
        connection.execute(FILL_MESSAGES)
        connection.commit()
    return file


def migrate(file: Path, to: str) -> None:
    """Migrate as Reach does: one transaction of a connection like its own."""
    engine = sqlite_connection.create(Place(file), busy_seconds=5, writes=True, make=True)
    with engine.begin() as connection:
        upgrade(connection, to)
    engine.dispose()


def test_every_row_is_as_it_was(file: Path) -> None:
    """No byte of a row is written, so it takes as long with ten million."""
    with closing(sqlite3.connect(file)) as before:
        rows = before.execute(MESSAGES).fetchall()
        (pages,) = before.execute("PRAGMA page_count").fetchone()
        with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
            before.execute(ADD.format("NULL"))
        before.rollback()
        migrate(file, AFTER)
        assert before.execute(MESSAGES).fetchall() == rows
        before.execute(ADD.format("NULL"))  # who was connected knows, too
        before.commit()
    with closing(sqlite3.connect(file)) as after:
        assert after.execute("PRAGMA page_count").fetchone()[0] < pages + 20
        assert after.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert after.execute("PRAGMA foreign_key_check").fetchall() == []
        assert after.execute(QUEUED).fetchone() == (PEOPLE + 1,)


def test_whose_it_is_still_counts(file: Path) -> None:
    """A person who is not there can have none, and one who goes takes theirs along."""
    migrate(file, AFTER)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA foreign_keys=ON")
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
            connection.execute(ADD.format("'nobody'"))
        connection.execute(ADD.format("'p7'"))
        connection.execute("DELETE FROM people WHERE id = 'p7'")
        left = "SELECT count(*) FROM messages WHERE person_id = 'p7'"
        assert connection.execute(left).fetchone() == (0,)
        assert connection.execute(QUEUED).fetchone() == (PEOPLE - 1,)


def test_a_table_that_is_not_ours_is_left(file: Path) -> None:
    """Nothing is written over that Reach has not made: all of it is undone."""
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(
            "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql = replace(sql, "
            "'person_id TEXT NOT NULL', 'person_id TEXT  NOT NULL') WHERE name = 'messages';"
        )
    with pytest.raises(RuntimeError, match="not as Reach has made it"):
        migrate(file, AFTER)
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        assert found == BEFORE
        tables = connection.exec_driver_sql("SELECT name FROM sqlite_schema").scalars().all()
        assert "notices" not in tables
    engine.dispose()
