"""Indexes for one template's messages and for the sweep; and what SQLite's planner must know.

SQLite guesses that any index narrows a search to ten rows, unless it has statistics: so it would
go through all queued messages by their state to find the one with an id. These are the
statistics of a large outbox, fixed, so that every installation of any size has the same plans.
"""

import sqlalchemy as sa
from alembic import op

from reach.db.migrations import steps

revision = "0002"
down_revision = "0001"

#: Table, index, and https://sqlite.org/fileformat2.html#stat1tab: how many rows there are, then
#: how many share a value of the index's first column, then of its first two.
STATISTICS = (
    ("people", "sqlite_autoindex_people_1", "1000000 1"),
    ("people", "uq_people_email_key", "1000000 1"),
    ("messages", "sqlite_autoindex_messages_1", "2000000 1"),
    ("messages", "ix_messages_due", "10000 2"),
    ("messages", "ix_messages_person_id", "2000000 2 1"),
    ("messages", "ix_messages_state", "2000000 500000 1"),
    ("messages", "ix_messages_template", "2000000 500000 1"),
    ("messages", "ix_messages_sweep", "10000 2"),
    ("attempts", "sqlite_autoindex_attempts_1", "2000000 1"),
    ("attempts", "ix_attempts_message_id", "2000000 2 1"),
)


def upgrade() -> None:
    """Add them."""
    steps.add_index("ix_messages_template", "messages", ["template", "id"])
    steps.add_index("ix_messages_sweep", "messages", ["settled_at"], where="template <> 'welcome'")
    steps.drop_index("ix_messages_settled_at", "messages")
    if op.get_bind().dialect.name == "sqlite":
        op.execute("ANALYZE sqlite_schema")  # it makes the table, and reads nothing else
        op.execute("DELETE FROM sqlite_stat1")
        kept = sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat")))
        op.execute(sa.insert(kept).values(STATISTICS))
