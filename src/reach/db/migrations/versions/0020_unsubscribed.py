"""When people unsubscribed from emails that they may stop."""

import sqlalchemy as sa
from alembic import op

from reach.db.types import Instant

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add; the lock on people is held for a moment."""
    op.add_column("people", sa.Column("unsubscribed_at", Instant))
