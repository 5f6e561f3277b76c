"""Webhooks: where to, what happened, each try; scopes for keys that had every scope there was."""

import sqlalchemy as sa
from alembic import op

from reach.db.types import Document, Instant, Key

revision = "0021"
down_revision = "0020"

WERE = ["audit:read", "keys:write", "messages:read", "messages:write", "people:read"]
WERE += ["people:write"]
ARE = [*WERE, "webhooks:read", "webhooks:write"]
WAITING, FINISHED = sa.text("state = 'waiting'"), sa.text("finished_at IS NOT NULL")


def upgrade() -> None:
    """Add. A key that could do everything still can."""
    op.create_table(
        "webhooks",
        sa.Column("id", Key, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("types", sa.Text, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("old_secret", sa.Text),
        sa.Column("old_secret_until", Instant),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("disabled_at", Instant),
        sa.Column("disabled_reason", sa.Text),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failing_since", Instant),
        sa.Column("paused_until", Instant),
        sa.Column("delivered_at", Instant),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
    )
    _add_events()
    _add_attempts()
    keys = sa.table("api_keys", sa.column("scopes", Document))
    bind = op.get_bind()
    for scopes in bind.scalars(sa.select(keys.c.scopes).distinct()).all():
        if set(scopes) == set(WERE):
            bind.execute(sa.update(keys).where(keys.c.scopes == scopes).values(scopes=ARE))


def _add_events() -> None:
    op.create_table(
        "webhook_events",
        sa.Column("webhook_id", Key, nullable=False),
        sa.Column("id", Key, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("person_id", Key),
        sa.Column("message_id", Key),
        sa.Column("details", Document, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("due_at", Instant, nullable=False),
        sa.Column("lease", sa.Integer, nullable=False),
        sa.Column("recorded_lease", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("first_failed_at", Instant),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("finished_at", Instant),
        sa.PrimaryKeyConstraint("webhook_id", "id", name="pk_webhook_events"),
        sa.CheckConstraint(
            "state IN ('waiting', 'delivered', 'failed')",
            name=op.f("ck_webhook_events_state"),
        ),
    )
    _add_index("ix_webhook_events_due", ["webhook_id", "due_at"], WAITING)
    of_person = ["person_id", "webhook_id", "created_at", "id"]
    op.create_index("ix_webhook_events_person", "webhook_events", of_person)
    _add_index("ix_webhook_events_sweep", ["finished_at"], FINISHED)


def _add_index(name: str, columns: list[str], where: sa.TextClause) -> None:
    op.create_index(name, "webhook_events", columns, postgresql_where=where, sqlite_where=where)


def _add_attempts() -> None:
    op.create_table(
        "webhook_attempts",
        sa.Column("id", Key, nullable=False),
        sa.Column("webhook_id", Key, nullable=False),
        sa.Column("event_id", Key, nullable=False),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("milliseconds", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("status", sa.SmallInteger),
        sa.Column("answer", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_attempts"),
        sa.ForeignKeyConstraint(
            ["webhook_id", "event_id"],
            ["webhook_events.webhook_id", "webhook_events.id"],
            ondelete="CASCADE",
            name="fk_webhook_attempts_event",
        ),
    )
    of_event = ["webhook_id", "event_id", "id"]
    op.create_index("ix_webhook_attempts_event", "webhook_attempts", of_event)
