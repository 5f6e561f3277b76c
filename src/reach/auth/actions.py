"""What operators do with keys, by whatever way: each is noted in the audit trail with it."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from reach.auth import audit, keys
from reach.auth.audit import Actor
from reach.auth.keys import ApiKey
from reach.db.transaction import Transaction


def create_key(  # noqa: PLR0913 - what a key is made of
    tx: Transaction,
    actor: Actor,
    text: str,
    name: str,
    scopes: Collection[str],
    *,
    expires_at: datetime | None = None,
) -> ApiKey:
    """Store a key made by ``keys.generate``. Raises ValueError for an unknown scope."""
    key = keys.add(tx, text, name, scopes, expires_at)
    audit.note(tx, actor, "key.create", key.id, scopes=sorted(scopes))
    return key


def revoke_key(tx: Transaction, actor: Actor, key_id: UUID) -> ApiKey:
    """Revoke a key. Raises NoSuchKey: also if it was revoked before."""
    key = keys.revoke_by_id(tx, key_id)
    audit.note(tx, actor, "key.revoke", key.id)
    return key


def revoke_key_meant(tx: Transaction, actor: Actor, text: str) -> ApiKey:
    """Revoke the one key that ``text`` means. Raises NoSuchKey; AmbiguousKey."""
    key = keys.revoke(tx, text)
    audit.note(tx, actor, "key.revoke", key.id)
    return key
