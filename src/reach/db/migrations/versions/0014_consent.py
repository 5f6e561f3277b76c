"""Consent evidence: what people agreed to, and when; and cheaper counts of many who are added.

On Postgres a row trigger counted each person whom an operator added, and another each who was
confirmed from the start: one row of counters a person, where a list of a million is imported. The
trigger of the statement, which counts everybody already, counts these as well.
"""

import sqlalchemy as sa
from alembic import op

from reach.db.migrations import steps
from reach.db.types import Document, Instant

revision = "0014"
down_revision = "0013"

#: One look at the new rows; what there was none of adds no row.
COUNTED = """
    SELECT counted.name, counted.hour, counted.n FROM (
        SELECT date_trunc('hour', created_at, 'UTC') AS hour, count(*) AS n,
            count(*) FILTER (WHERE typed_version IS NULL) AS added, count(confirmed_at) AS confirmed
        FROM added WHERE email <> '' GROUP BY 1
    ) AS those,
    LATERAL (VALUES
        ('people', 'epoch'::timestamptz, those.n),
        ('sign_ups', those.hour, those.n),
        ('added', those.hour, those.added),
        ('confirmed', 'epoch'::timestamptz, those.confirmed)
    ) AS counted (name, hour, n)
    WHERE counted.n > 0
"""
#: Those that went row by row. They stay, and do nothing: to drop them would need a stronger lock.
NOT_NEEDED = ("count_confirmed_added", "count_people_added_only")


def upgrade() -> None:
    """Add; the lock on people is held for a moment."""
    op.add_column("people", sa.Column("consent", Document))
    op.add_column("people", sa.Column("consented_at", Instant))
    op.create_table(
        "consent_wordings",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_consent_wordings"),
    )
    if not steps.is_sqlite():
        _count_together()


def _count_together() -> None:
    """The function names the schema, and has the migrating role's rights: as those of 0008."""
    bind = op.get_bind()
    schema = bind.dialect.identifier_preparer.quote(bind.scalar(sa.text("SELECT current_schema()")))
    bind.exec_driver_sql(
        f"CREATE OR REPLACE FUNCTION {schema}.count_people_added() RETURNS trigger "
        "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ BEGIN "
        f"INSERT INTO {schema}.counters (name, hour, count) {COUNTED}; RETURN NULL; END $$"
    )
    for name in NOT_NEEDED:
        op.execute(f"ALTER TABLE people DISABLE TRIGGER {name}")
