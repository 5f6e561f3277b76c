"""Whose circuit breaker is open, so that operators see it in the console."""

import sqlalchemy as sa
from alembic import op

from reach.db.types import Instant

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add."""
    op.create_table(
        "open_breakers",
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("opened_at", Instant, nullable=False),
        sa.Column("fresh_until", Instant, nullable=False),
        sa.Column("smtp_code", sa.Integer),
        sa.Column("enhanced_code", sa.Text),
        sa.PrimaryKeyConstraint("worker", name="pk_open_breakers"),
    )
