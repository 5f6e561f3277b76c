"""The answers that repeated requests get again; and their SQLite statistics (see 0002)."""

import sqlalchemy as sa
from alembic import op

from reach.db.types import Document, Instant, Key

revision = "0003"
down_revision = "0002"

STATISTICS = (
    ("idempotency_keys", "sqlite_autoindex_idempotency_keys_1", "100000 1000 1000 1"),
    ("idempotency_keys", "ix_idempotency_keys_person_id", "100000 2"),
    ("idempotency_keys", "ix_idempotency_keys_created_at", "100000 2"),
)


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("route", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("person_id", Key),
        sa.Column("status", sa.SmallInteger),
        sa.Column("headers", Document),
        sa.Column("body", sa.Text),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("caller", "route", "key", name="pk_idempotency_keys"),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["people.id"],
            name="fk_idempotency_keys_person_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_idempotency_keys_person_id", "idempotency_keys", ["person_id"])
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    if op.get_bind().dialect.name == "sqlite":
        kept = sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat")))
        op.execute(sa.insert(kept).values(STATISTICS))
