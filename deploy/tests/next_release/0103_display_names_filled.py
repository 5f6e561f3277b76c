"""What takes long, outside of a transaction: filling, validating, indexing."""

from reach.db.migrations import steps

revision = "0103"
down_revision = "0102"


def upgrade() -> None:
    """Each can be done again."""
    steps.fill("people", {"display_name": "name"}, "display_name IS NULL")
    steps.validate("ck_people_display_name", "people")
    steps.validate("fk_messages_note_id", "messages")
    steps.add_index("ix_people_display_name", "people", ["display_name", "id"])
    steps.add_index("ix_messages_note_id", "messages", ["note_id"], where="note_id IS NOT NULL")
