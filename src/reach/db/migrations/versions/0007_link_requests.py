"""Requests for a link, looked up by a worker; and who typed what people's records say.

``people.typed_version`` is the version of a record that a stranger's sign-up made. Whoever else
changes the record counts ``version`` up, and so takes it out of strangers' hands, whichever version
of Reach they use. Of older records it is not known who typed them: they stay as they are.

And the new table's SQLite statistics (see 0002).
"""

import sqlalchemy as sa
from alembic import op

from reach.db.types import Instant, Key, OrderedText

revision = "0007"
down_revision = "0006"

STATISTICS = (
    ("link_requests", "sqlite_autoindex_link_requests_1", "10000 1"),
    ("link_requests", "ix_link_requests_email_key", "10000 2"),
)


def upgrade() -> None:
    """Make the table, and the column, empty."""
    op.create_table(
        "link_requests",
        sa.Column("id", Key, nullable=False),
        sa.Column("email_key", OrderedText, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("trace_context", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_link_requests"),
    )
    op.create_index("ix_link_requests_email_key", "link_requests", ["email_key"])
    op.add_column("people", sa.Column("typed_version", sa.Integer))
    if op.get_bind().dialect.name == "sqlite":
        kept = sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat")))
        op.execute(sa.insert(kept).values(STATISTICS))
