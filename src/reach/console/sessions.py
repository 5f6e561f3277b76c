"""Operators' sessions: begun by a sign-in, kept as a digest, over when their key is.

A session's token is in one browser's cookie and nowhere else. What its forms must hold is made of
the token too, so nothing that the database knows lets anybody in.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, ForeignKey, Index, Table, Text, delete, insert, or_, select, update

from reach.auth import audit, keys
from reach.auth.audit import Actor, ActorKind
from reach.auth.keys import api_keys
from reach.db.transaction import Transaction
from reach.db.types import Document, Instant, Key, among, metadata, new_id, now

TOKEN_BYTES = 32
#: How stale ``seen_at`` may be: a write for every page would be too dear.
SEEN_SECONDS = 60
#: So many that are over are deleted by each that begins.
SWEEP_ROWS = 100

sessions = Table(
    "sessions",
    metadata,
    Column("id", Key, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("actor_kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("scopes", Document, nullable=False),
    Column("key_id", Key, ForeignKey("api_keys.id", ondelete="CASCADE")),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Index("ix_sessions_actor", "actor", "id"),
    Index("ix_sessions_key_id", "key_id"),
    Index("ix_sessions_expires_at", "expires_at"),
)


@dataclass(frozen=True, slots=True)
class Session:
    """An operator at the console, until ``expires_at`` at most.

    ``name`` is what the operator's key is called, or who the identity provider says it is.
    ``proof`` is what each of the session's forms holds, and no other page can know.
    """

    id: UUID
    actor: Actor
    name: str
    scopes: frozenset[str]
    expires_at: datetime
    #: When it was last noted that it is used.
    last_used_at: datetime | None
    proof: str = field(repr=False)

    def may(self, *scopes: str) -> bool:
        """Whether it has all of these scopes."""
        return self.scopes.issuperset(scopes)


def start(  # noqa: PLR0913 - what a session is made of
    tx: Transaction,
    *,
    actor_kind: ActorKind,
    actor_id: str,
    scopes: frozenset[str],
    key_id: UUID | None,
    seconds: float,
    mark: str = "",
) -> str:
    """Begin a session that lasts for ``seconds`` at most; returns the value of its cookie.

    That ends with ``mark``, and without it there is no such session.
    """
    old = select(sessions.c.id).where(sessions.c.expires_at < now()).limit(SWEEP_ROWS)
    tx.execute(delete(sessions).where(among(sessions.c.id, old)))
    token, id_ = secrets.token_urlsafe(TOKEN_BYTES) + mark, new_id()
    tx.execute(
        insert(sessions).values(
            id=id_,
            digest=_digest(token),
            actor_kind=actor_kind,
            actor=actor_id,
            scopes=sorted(scopes),
            key_id=key_id,
            created_at=now(),
            expires_at=now(seconds),
            seen_at=now(),
        )
    )
    audit.note(tx, Actor(actor_kind, actor_id, "console"), "session.start", id_)
    return token


def find(tx: Transaction, token: str, *, idle_seconds: float) -> Session | None:
    """Find the session of a cookie, if it goes on now.

    It does not after ``idle_seconds`` in which nobody used it, and not without its key: of one that
    was revoked or has expired every session is over at once.
    """
    statement = (
        select(sessions, api_keys.c.name, api_keys.c.scopes.label("key_scopes"))
        .outerjoin(api_keys, api_keys.c.id == sessions.c.key_id)
        .where(
            sessions.c.digest == _digest(token),
            sessions.c.expires_at > now(),
            sessions.c.seen_at > now(-idle_seconds),
            api_keys.c.revoked_at.is_(None),
            or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now()),
        )
    )
    row = tx.execute(statement).one_or_none()
    if row is None:
        return None
    scopes = frozenset(row.scopes)
    return Session(
        id=row.id,
        actor=Actor(row.actor_kind, row.actor, "console"),
        name=row.name or row.actor,
        scopes=scopes if row.key_id is None else scopes & frozenset(row.key_scopes),
        expires_at=row.expires_at,
        last_used_at=row.seen_at,
        proof=proof_of(token),
    )


def touch(tx: Transaction, session_id: UUID) -> None:
    """Note that a session is used now, and with it its key."""
    seen = update(sessions).where(sessions.c.id == session_id).values(seen_at=now())
    key_id = tx.execute(seen.returning(sessions.c.key_id)).scalar_one_or_none()
    if key_id is not None:
        keys.touch(tx, key_id)


def end(tx: Transaction, session: Session) -> None:
    """End one session."""
    if tx.execute(delete(sessions).where(sessions.c.id == session.id)).rowcount:
        audit.note(tx, session.actor, "session.end", session.id)


def end_all(tx: Transaction, session: Session) -> int:
    """End every session of the same operator, this one too; returns how many there were."""
    theirs = sessions.c.actor == session.actor.id, sessions.c.actor_kind == session.actor.kind
    count = tx.execute(delete(sessions).where(*theirs)).rowcount
    if count:
        audit.note(tx, session.actor, "session.end", count=count)
    return count


def proof_of(token: str) -> str:
    """Make what the forms of a session hold: of its token, which no other page can read."""
    return hmac.new(token.encode(), b"form", hashlib.sha256).hexdigest()


def _digest(token: str) -> str:
    # A plain hash is right here: the token is random, so there is nothing to guess slowly.
    return hashlib.sha256(token.encode()).hexdigest()
