"""Which request a message comes of."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column, empty: it is not known of what there is."""
    op.add_column("messages", sa.Column("trace_context", sa.Text))
