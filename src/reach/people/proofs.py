"""Proofs of work that were used: each works once, over all processes."""

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

from pydantic import BaseModel
from sqlalchemy import Column, Executable, Index, Table, Text, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from reach.db.transaction import Transaction
from reach.db.types import Instant, encode, metadata, now, rows
from reach.people.antispam import nonce_of

F = TypeVar("F", bound=BaseModel)

#: Longer than a challenge can be answered, whatever the clocks of two machines say.
KEPT_SECONDS = 3600
#: More than come in one transaction, so that old ones go faster than new ones come.
SWEPT_ROWS = 1000

proofs = Table(
    "proofs",
    metadata,
    Column("nonce", Text, primary_key=True),
    Column("used_at", Instant, nullable=False),
)
Index("ix_proofs_used_at", proofs.c.used_at)

_OLD = (
    select(proofs.c.nonce)
    .where(proofs.c.used_at < now(-float(KEPT_SECONDS)))
    .limit(SWEPT_ROWS)
    # Two processes sweep at once: neither waits for the other.
    .with_for_update(skip_locked=True)
)


@cache
def _use(dialect: str) -> Executable:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    given = rows(dialect, proofs.c.nonce)
    # Without a WHERE, SQLite takes ON CONFLICT for a join's ON.
    source = select(given.c.nonce, now()).where(given.c.nonce.is_not(None)).order_by(given.c.nonce)
    return (
        insert(proofs)
        .from_select(["nonce", "used_at"], source)
        .on_conflict_do_nothing(index_elements=["nonce"])
        .returning(proofs.c.nonce)
    )


def use(tx: Transaction, forms: Sequence[F]) -> Sequence[F]:
    """Use the proofs of ``forms`` up; returns those whose proof nobody used before, in order.

    It is for forms whose proof was found good. If the transaction is rolled back, nothing was
    used: who gets a 503 can send the same form again.
    """
    first: dict[str | None, F] = {}
    for form in forms:
        first.setdefault(nonce_of(form), form)
    given = encode(tx.dialect.name, ({"nonce": nonce} for nonce in first))
    used = set(tx.execute(_use(tx.dialect.name), {"rows": given}).scalars())
    tx.execute(delete(proofs).where(proofs.c.nonce.in_(_OLD)))
    return [form for nonce, form in first.items() if nonce in used]
