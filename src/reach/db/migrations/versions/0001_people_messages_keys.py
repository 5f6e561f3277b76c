"""People, what we owe them, and operators' keys."""

import sqlalchemy as sa
from alembic import op

from reach.db.types import Document, Instant, Key, OrderedText

revision = "0001"
down_revision = None

STATES = ("queued", "sent", "failed", "cancelled")


def upgrade() -> None:
    """Make the first tables."""
    _people()
    _messages()
    _attempts()
    _api_keys()


def _people() -> None:
    op.create_table(
        "people",
        sa.Column("id", Key, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_key", OrderedText, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("confirmed_at", Instant),
        sa.Column("links_version", sa.Integer, nullable=False),
        sa.Column("language", sa.Text),
        sa.Column("greeted_at", Instant),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_people"),
    )
    op.create_index("uq_people_email_key", "people", ["email_key"], unique=True)


def _messages() -> None:
    op.create_table(
        "messages",
        sa.Column("id", Key, nullable=False),
        sa.Column("person_id", Key, nullable=False),
        sa.Column("template", sa.Text, nullable=False),
        sa.Column("data", Document, nullable=False),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("due_at", Instant, nullable=False),
        sa.Column("lease", sa.Integer, nullable=False),
        sa.Column("settled_lease", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("first_failed_at", Instant),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("settled_at", Instant),
        sa.Column("last_error", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name="fk_messages_person_id", ondelete="CASCADE"
        ),
        sa.CheckConstraint(f"state IN {STATES}", name="ck_messages_state"),
    )
    queued = sa.text("state = 'queued'")
    op.create_index(
        "ix_messages_due", "messages", ["due_at"], postgresql_where=queued, sqlite_where=queued
    )
    op.create_index("ix_messages_person_id", "messages", ["person_id", "id"])
    op.create_index("ix_messages_state", "messages", ["state", "id"])
    op.create_index("ix_messages_settled_at", "messages", ["settled_at"])


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", Key, nullable=False),
        sa.Column("message_id", Key, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("finished_at", Instant, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("smtp_code", sa.SmallInteger),
        sa.Column("enhanced_code", sa.Text),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name="fk_attempts_message_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_attempts_message_id", "attempts", ["message_id", "id"])


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", Key, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("scopes", Document, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("expires_at", Instant),
        sa.Column("revoked_at", Instant),
        sa.Column("last_used_at", Instant),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("prefix", name="uq_api_keys_prefix"),
    )
