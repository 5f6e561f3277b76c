"""Proofs of work that were used; and their SQLite statistics (see 0002)."""

import sqlalchemy as sa
from alembic import op

from reach.db.types import Instant

revision = "0004"
down_revision = "0003"

STATISTICS = (
    ("proofs", "sqlite_autoindex_proofs_1", "100000 1"),
    ("proofs", "ix_proofs_used_at", "100000 2"),
)


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "proofs",
        sa.Column("nonce", sa.Text, nullable=False),
        sa.Column("used_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("nonce", name="pk_proofs"),
    )
    op.create_index("ix_proofs_used_at", "proofs", ["used_at"])
    if op.get_bind().dialect.name == "sqlite":
        kept = sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat")))
        op.execute(sa.insert(kept).values(STATISTICS))
