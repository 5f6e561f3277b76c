"""The words of docs/architecture.md, in the schema as well. Stop older versions of Reach first.

No release has been made before this one. So it renames at once what a later migration would have
to expand and contract: ``tallies`` is ``counters``; ``settled_at`` and ``settled_lease`` are
``finished_at`` and ``recorded_lease``; the outcomes of attempts have their new names; and the
caller of a stored response who had no key is ``public``, no longer ``door``.
"""

import sqlalchemy as sa
from alembic import op

from reach.db.migrations import steps

revision = "0009"
down_revision = "0008"

OUTCOMES = {"later": "deferred", "refused": "rejected", "unsure": "unknown"}
COLUMNS = {"settled_at": "finished_at", "settled_lease": "recorded_lease"}

_TRIGGERS = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'tally%'"
_FUNCTIONS = """
    SELECT oid, proname AS name FROM pg_proc
    WHERE pronamespace = current_schema()::regnamespace AND proname LIKE 'tally%'
"""


def upgrade() -> None:
    """Rename; each attempt keeps what became of it."""
    words = " ".join(f"WHEN '{old}' THEN '{new}'" for old, new in OUTCOMES.items())
    steps.fill(
        "attempts",
        {"outcome": f"CASE outcome {words} END"},
        f"outcome IN ({', '.join(map(repr, OUTCOMES))})",
    )
    op.execute("UPDATE idempotency_keys SET caller = 'public' WHERE caller = 'door'")
    for old, new in COLUMNS.items():
        op.alter_column("messages", old, new_column_name=new)
    op.rename_table("tallies", "counters")
    if steps.is_sqlite():
        _rename_on_sqlite()
    else:
        _rename_on_postgres()


def _rename_on_sqlite() -> None:
    """SQLite has put the new names into the triggers itself; their own names are old."""
    op.drop_index("ix_tallies_hour", "counters")
    op.create_index("ix_counters_hour", "counters", ["hour", "name"])
    statistics = sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx")))
    op.execute(
        sa.update(statistics)
        .where(statistics.c.idx == "ix_tallies_hour")
        .values(tbl="counters", idx="ix_counters_hour")
    )
    for name, sql in op.get_bind().execute(sa.text(_TRIGGERS)).all():
        op.execute(f"DROP TRIGGER {name}")
        op.execute(sql.replace("tally_", "count_", 1))


def _rename_on_postgres() -> None:
    """A function is text to Postgres, in which each old name is written."""
    bind = op.get_bind()
    op.execute("ALTER INDEX ix_tallies_hour RENAME TO ix_counters_hour")
    op.execute("ALTER TABLE counters RENAME CONSTRAINT pk_tallies TO pk_counters")
    op.execute("ALTER SEQUENCE tallies_id_seq RENAME TO counters_id_seq")
    for oid, name in bind.execute(sa.text(_FUNCTIONS)).all():
        new = name.replace("tally_", "count_", 1)
        table = bind.scalar(
            sa.text("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgfoid = :oid"),
            {"oid": oid},
        )
        op.execute(f"ALTER TRIGGER {name} ON {table} RENAME TO {new}")
        op.execute(f"ALTER FUNCTION {name} RENAME TO {new}")
        body = bind.scalar(sa.text("SELECT pg_get_functiondef(:oid)"), {"oid": oid})
        for old, word in {"tallies": "counters", "tally": "counter", **COLUMNS}.items():
            body = body.replace(old, word)
        bind.exec_driver_sql(body)
