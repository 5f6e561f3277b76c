"""Half a copy that an earlier version of Reach has left."""

import pytest
from sqlalchemy import Connection, create_engine

from reach.db.copy.side import CannotCopy
from reach.db.migrate import newest, upgrade
from tests.support.databases import elsewhere
from tests.support.db import rule
from tests.support.moving.copied import Place, copied
from tests.support.moving.filled import counts

NUMBER = "0002"


def migrate_to_it(place: Place) -> None:
    """Have the schema of that version."""

    def work(connection: Connection) -> None:
        upgrade(connection, NUMBER)

    if not place.is_sqlite:
        elsewhere(rule.run(place.url, work))
        return
    engine = create_engine(place.url)
    with engine.begin() as connection:
        work(connection)
    engine.dispose()


def test_it_is_removed_when_told_to_start_over(source: Place, target: Place) -> None:
    """Whatever tables that version lacks, or has not copied."""
    migrate_to_it(target)
    target.run(
        "CREATE TABLE reach_copy (name text PRIMARY KEY, source text, revision text, "
        "last_key text, copied bigint, digest text)",
        f"INSERT INTO reach_copy (name, source, revision) VALUES ('people', 'any', '{NUMBER}')",
        "UPDATE alembic_version SET version_num = '0000-copying'",
    )
    with pytest.raises(CannotCopy, match="--start-over"):
        copied(source, target)
    assert copied(source, target, starts_over=True) == counts(source.file)
    assert target.revision == newest()
