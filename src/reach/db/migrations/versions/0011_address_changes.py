"""Changes of address that wait for the new mailbox to say yes, and how much each address was sent.

``address_changes`` has one change of a person's at a time; it goes with them. What strangers have
sent to addresses is not counted by person, so ``recipient_budgets`` outlives people: it knows an
address by a signature alone.
"""

import sqlalchemy as sa
from alembic import op

from reach.db.migrations import steps
from reach.db.types import Document, Instant, Key, OrderedText

revision = "0011"
down_revision = "0010"

#: See 0008.
STATISTICS = (
    ("address_changes", "sqlite_autoindex_address_changes_1", "10000 1"),
    ("address_changes", "ix_address_changes_ends_at", "10000 2"),
    ("recipient_budgets", "sqlite_autoindex_recipient_budgets_1", "10000 1"),
    ("recipient_budgets", "ix_recipient_budgets_last_at", "10000 2"),
)


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "address_changes",
        sa.Column("person_id", Key, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_key", OrderedText, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("ends_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("person_id", name="pk_address_changes"),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name="fk_address_changes_person_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_address_changes_ends_at", "address_changes", ["ends_at"])
    op.create_table(
        "recipient_budgets",
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("sent", Document, nullable=False),
        sa.Column("last_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("recipient", name="pk_recipient_budgets"),
    )
    op.create_index("ix_recipient_budgets_last_at", "recipient_budgets", ["last_at"])
    if steps.is_sqlite():
        kept = sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat")))
        op.execute(sa.insert(kept).values(STATISTICS))
