"""Answers that repeated requests get again: the ``Idempotency-Key`` header."""

from sqlalchemy import Column, ForeignKey, Index, PrimaryKeyConstraint, SmallInteger, Table, Text

from reach.db.columns import Document, Instant, Key, metadata

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("caller", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("person_id", Key, ForeignKey("people.id", ondelete="CASCADE")),
    Column("status", SmallInteger),
    Column("headers", Document),
    Column("body", Text),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("caller", "route", "key", name="pk_idempotency_keys"),
)
Index("ix_idempotency_keys_person_id", idempotency_keys.c.person_id)
Index("ix_idempotency_keys_created_at", idempotency_keys.c.created_at)
