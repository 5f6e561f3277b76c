"""Whether a database takes writes: it may be a standby, set to be read-only, or full."""

import secrets

from sqlalchemy import Connection, Text, column, delete, false, insert, table

from reach.db.types import Instant, now

#: A small table that no trigger watches.
_PROOFS = table("proofs", column("nonce", Text), column("used_at", Instant))
_NOTHING = delete(_PROOFS).where(false())


def ask(tx: Connection) -> None:
    """Change nothing, by a statement that is refused where nothing may be changed.

    It costs no disk, so a full one takes it: see ``try_out``.
    """
    tx.execute(_NOTHING)


def try_out(tx: Connection) -> None:
    """Write a row and remove it: something for the disk to keep."""
    nonce = f"try-out {secrets.token_hex(16)}"
    tx.execute(insert(_PROOFS).values(nonce=nonce, used_at=now()))
    tx.execute(delete(_PROOFS).where(_PROOFS.c.nonce == nonce))
