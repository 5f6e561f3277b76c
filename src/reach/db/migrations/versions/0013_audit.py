"""The audit trail; and the scope to read it, for keys that had every scope there was."""

import sqlalchemy as sa
from alembic import op

from reach.db.types import Document, Instant, Key

revision = "0013"
down_revision = "0012"

WERE = ["keys:write", "messages:read", "messages:write", "people:read", "people:write"]
ARE = ["audit:read", *WERE]
INDEXES = {
    "ix_audit_actor": ["actor", "id"],
    "ix_audit_action": ["action", "id"],
    "ix_audit_subject": ["subject", "id"],
    "ix_audit_at": ["at"],
}


def upgrade() -> None:
    """Add. A key that could do everything still can."""
    op.create_table(
        "audit",
        sa.Column("id", Key, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("actor_kind", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("via", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", Key),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("details", Document, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    for name, columns in INDEXES.items():
        op.create_index(name, "audit", columns)
    keys = sa.table("api_keys", sa.column("scopes", Document))
    bind = op.get_bind()
    for scopes in bind.scalars(sa.select(keys.c.scopes).distinct()).all():
        if set(scopes) == set(WERE):
            bind.execute(sa.update(keys).where(keys.c.scopes == scopes).values(scopes=ARE))
