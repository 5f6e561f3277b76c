"""The index that people are searched by, indexes for lists of people, and failures by the hour.

A trigger notes whose name or address changes, and who is deleted, if they are in the index: who is
not, as most who sign up again, costs nothing. On Postgres its function looks itself, for a
trigger's condition cannot; and it locks a note that is there: a worker that took that now would
set right what is not committed yet, and nothing would be noted of it.
"""

import sqlalchemy as sa
from alembic import op

from reach.db.migrations import steps
from reach.db.types import Key, OrderedText

revision = "0015"
down_revision = "0014"

#: See 0008.
STATISTICS = (
    ("people", "ix_people_language", "1000000 200000 1"),
    ("search_blocks", "uq_search_blocks_last_id", "1000 1"),
    ("search_grams", "search_grams", "1000000 200 1"),
    ("search_grams", "ix_search_grams_block", "1000000 4000"),
    ("search_changed", "sqlite_autoindex_search_changed_1", "1000 1"),
)
#: Who is in the index.
IS_INDEXED = "EXISTS (SELECT 1 FROM {schema}search_blocks WHERE last_id >= OLD.id)"
IS_NOTED = "EXISTS (SELECT 1 FROM search_changed WHERE person_id = OLD.id)"
#: SQLite's triggers take no upsert: see 0008.
SQLITE_NOTE = (
    f"BEGIN INSERT INTO search_changed (person_id) SELECT OLD.id WHERE NOT {IS_NOTED}; END"
)
SQLITE_EVENTS = {
    "search_people_changed": "AFTER UPDATE OF name, email ON people "
    "WHEN (OLD.name <> NEW.name OR OLD.email <> NEW.email)",
    "search_people_removed": "AFTER DELETE ON people WHEN OLD.email <> ''",
}
POSTGRES_EVENTS = {
    "search_people_changed": "AFTER UPDATE OF name, email ON people FOR EACH ROW "
    "WHEN (OLD.name <> NEW.name OR OLD.email <> NEW.email)",
    "search_people_removed": "AFTER DELETE ON people FOR EACH ROW WHEN (OLD.email <> '')",
}
FAILED_AT = "NEW.finished_at / 3600000000 * 3600000000"
#: Each time that a message fails counts: it may be tried again, and fail again.
SQLITE_FAILURES = f"""
    CREATE TRIGGER count_failures AFTER UPDATE OF state ON messages
    WHEN NEW.state = 'failed' AND OLD.state <> 'failed' AND NEW.finished_at IS NOT NULL BEGIN
        INSERT INTO counters (name, hour, count) SELECT 'failures', {FAILED_AT}, 0
        WHERE NOT EXISTS (
            SELECT 1 FROM counters WHERE name = 'failures' AND hour = {FAILED_AT}
        );
        UPDATE counters SET count = count + 1 WHERE name = 'failures' AND hour = {FAILED_AT};
    END
"""


def upgrade() -> None:
    """Build the index first: it can be done again. The rest is one transaction."""
    steps.add_index("ix_people_language", "people", ["language", "id"])
    _search()
    _failures()
    if steps.is_sqlite():
        kept = sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat")))
        op.execute(sa.insert(kept).values(STATISTICS))


def _search() -> None:
    op.create_table(
        "search_blocks",
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("last_id", Key, nullable=False),
        sa.Column("ids", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_search_blocks"),
    )
    op.create_index("uq_search_blocks_last_id", "search_blocks", ["last_id"], unique=True)
    op.create_table(
        "search_grams",
        sa.Column("gram", OrderedText, nullable=False),
        sa.Column("block", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("people", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("gram", "block", name="pk_search_grams"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_search_grams_block", "search_grams", ["block"])
    op.create_table(
        "search_changed",
        sa.Column("person_id", Key, nullable=False),
        sa.PrimaryKeyConstraint("person_id", name="pk_search_changed"),
    )
    if steps.is_sqlite():
        for name, event in SQLITE_EVENTS.items():
            op.execute(
                f"CREATE TRIGGER {name} {event} AND {IS_INDEXED.format(schema='')} {SQLITE_NOTE}"
            )
        return
    schema = _schema()
    for name, event in POSTGRES_EVENTS.items():
        note = (
            f"INSERT INTO {schema}.search_changed (person_id) SELECT OLD.id "
            f"WHERE {IS_INDEXED.format(schema=f'{schema}.')} "
            "ON CONFLICT (person_id) DO UPDATE SET person_id = EXCLUDED.person_id"
        )
        _make_function(f"{schema}.{name}", note)
        op.execute(f"CREATE TRIGGER {name} {event} EXECUTE FUNCTION {schema}.{name}()")


def _failures() -> None:
    if steps.is_sqlite():
        op.execute(SQLITE_FAILURES)
        return
    schema = _schema()
    name = f"{schema}.count_failures"
    _make_function(
        name,
        f"INSERT INTO {schema}.counters (name, hour, count) "
        "VALUES ('failures', date_trunc('hour', NEW.finished_at, 'UTC'), 1)",
    )
    op.execute(
        "CREATE TRIGGER count_failures AFTER UPDATE OF state ON messages FOR EACH ROW "
        "WHEN (NEW.state = 'failed' AND OLD.state <> 'failed' AND NEW.finished_at IS NOT NULL) "
        f"EXECUTE FUNCTION {name}()"
    )


def _schema() -> str:
    bind = op.get_bind()
    return str(
        bind.dialect.identifier_preparer.quote(bind.scalar(sa.text("SELECT current_schema()")))
    )


def _make_function(name: str, body: str) -> None:
    """Make a trigger's function: with the migrating role's rights, as those of 0008."""
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql "
        "SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS "
        f"$$ BEGIN {body}; RETURN NULL; END $$"
    )
