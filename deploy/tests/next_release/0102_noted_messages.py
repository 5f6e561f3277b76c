"""A reference from a table in use: of a transaction of its own, so that one table is locked."""

import sqlalchemy as sa
from alembic import op

from reach.db.types import Key

revision = "0102"
down_revision = "0101"


def upgrade() -> None:
    """Expand."""
    op.add_column("messages", sa.Column("note_id", Key))
    op.execute(
        "ALTER TABLE messages ADD CONSTRAINT fk_messages_note_id "
        "FOREIGN KEY (note_id) REFERENCES notes (id) ON DELETE SET NULL NOT VALID"
    )
