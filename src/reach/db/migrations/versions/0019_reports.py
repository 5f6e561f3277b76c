"""What is reported of messages after they were sent, and addresses that nothing is sent to.

A report is counted by the hour when it comes, so that the share that bounced can be told without
counting. An address has no foreign key to a person: operators may add one of nobody.
"""

import sqlalchemy as sa
from alembic import op

from reach.db.migrations import steps
from reach.db.types import Instant, Key, OrderedText

revision = "0019"
down_revision = "0018"

#: By kind of a report, how its hourly count is called.
COUNTED = {"bounced": "bounces", "complained": "complaints"}
HOUR = "NEW.reported_at / 3600000000 * 3600000000"
#: See 0008.
STATISTICS = (
    ("reports", "sqlite_autoindex_reports_1", "20000 2 1"),
    ("suppressions", "sqlite_autoindex_suppressions_1", "10000 1"),
    ("suppressions", "uq_suppressions_email_key", "10000 1"),
    ("suppressions", "ix_suppressions_cause", "10000 3000 1"),
)


def upgrade() -> None:
    """Add."""
    op.create_table(
        "reports",
        sa.Column("message_id", Key, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("category", sa.Text),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("smtp_code", sa.SmallInteger),
        sa.Column("enhanced_code", sa.Text),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("reported_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("message_id", "kind", name="pk_reports"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name="fk_reports_message_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "suppressions",
        sa.Column("id", Key, nullable=False),
        sa.Column("email_key", OrderedText, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("message_id", Key),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_suppressions"),
    )
    op.create_index("uq_suppressions_email_key", "suppressions", ["email_key"], unique=True)
    op.create_index("ix_suppressions_cause", "suppressions", ["cause", "id"])
    if steps.is_sqlite():
        kept = sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat")))
        op.execute(sa.insert(kept).values(STATISTICS))
    for kind, name in COUNTED.items():
        (_count_on_sqlite if steps.is_sqlite() else _count_on_postgres)(kind, name)


def _count_on_sqlite(kind: str, name: str) -> None:
    op.execute(f"""
        CREATE TRIGGER count_{name} AFTER INSERT ON reports WHEN NEW.kind = '{kind}' BEGIN
            INSERT INTO counters (name, hour, count) SELECT '{name}', {HOUR}, 0
            WHERE NOT EXISTS (SELECT 1 FROM counters WHERE name = '{name}' AND hour = {HOUR});
            UPDATE counters SET count = count + 1 WHERE name = '{name}' AND hour = {HOUR};
        END
    """)


def _count_on_postgres(kind: str, name: str) -> None:
    """Make a trigger and its function: with the migrating role's rights, as those of 0008."""
    bind = op.get_bind()
    schema = bind.dialect.identifier_preparer.quote(bind.scalar(sa.text("SELECT current_schema()")))
    op.execute(
        f"CREATE FUNCTION {schema}.count_{name}() RETURNS trigger LANGUAGE plpgsql "
        "SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ BEGIN "
        f"INSERT INTO {schema}.counters (name, hour, count) "
        f"VALUES ('{name}', date_trunc('hour', NEW.reported_at, 'UTC'), 1); RETURN NULL; END $$"
    )
    op.execute(
        f"CREATE TRIGGER count_{name} AFTER INSERT ON reports FOR EACH ROW "
        f"WHEN (NEW.kind = '{kind}') EXECUTE FUNCTION {schema}.count_{name}()"
    )
