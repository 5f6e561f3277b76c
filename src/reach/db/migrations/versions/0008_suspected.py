"""Since when a message is refused for what may be our fault."""

import sqlalchemy as sa
from alembic import op

from reach.db.types import Instant

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column, empty: nothing was suspected before."""
    op.add_column("messages", sa.Column("suspected_at", Instant))
