"""The mail budget of an address: how many emails people can have sent to one that is not theirs.

Who changes their address has an email sent to the new one, which may be anybody's. So that one is
counted by address, over all people: many records together send it no more than one does. The row
of an address has a signature in its place, for it outlives whose record it was asked for from.
See docs/decisions/0062-change-of-address.md.
"""

from functools import cache
from typing import Any

from sqlalchemy import Column, Executable, Index, Table, Text, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from reach.auth.signing import Signer
from reach.db.transaction import Transaction
from reach.db.types import CLOCKS_SECONDS, Document, Instant, among, metadata, now
from reach.settings import Settings

SWEEP_ROWS = 1000

recipient_budgets = Table(
    "recipient_budgets",
    metadata,
    Column("recipient", Text, primary_key=True),
    Column("sent", Document, nullable=False),
    Column("last_at", Instant, nullable=False),
)
Index("ix_recipient_budgets_last_at", recipient_budgets.c.last_at)
_columns = recipient_budgets.c


@cache
def _lock(dialect: str) -> Executable:
    """Find an address's row and lock it, or make it: one statement, so that two never both do."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    given = {"recipient": bindparam("recipient", type_=Text), "sent": [], "last_at": now()}
    made = insert(recipient_budgets).values(given)
    return made.on_conflict_do_update(
        index_elements=["recipient"], set_={"last_at": now()}
    ).returning(_columns.sent, _columns.last_at)


def take(tx: Transaction, email_key: str, settings: Settings) -> bool:
    """Take one email to an address from its budget, by the address's key; False if none is left.

    Nobody else takes one until the transaction ends.
    """
    windows = settings.policies["mail_per_address"].windows
    if not windows:
        return True
    recipient = Signer(settings, "recipients").signature(email_key)
    found: Any = tx.execute(_lock(tx.dialect.name), {"recipient": recipient}).one()
    at = found.last_at.timestamp()
    # What lies ahead, a clock that was ahead for a moment has written: see ``budget``.
    sent = [one for one in found.sent if at - windows[-1].seconds < one <= at + CLOCKS_SECONDS]
    is_within = all(sum(one > at - w.seconds for one in sent) < w.quota for w in windows)
    if is_within:
        sent.append(at)
    tx.execute(update(recipient_budgets).where(_columns.recipient == recipient).values(sent=sent))
    return is_within


def sweep(tx: Transaction, settings: Settings) -> int:
    """Delete up to 1,000 rows of addresses whose last email no window counts; returns how many."""
    windows = settings.policies["mail_per_address"].windows
    seconds = windows[-1].seconds + CLOCKS_SECONDS if windows else 0.0
    old = select(_columns.recipient).where(_columns.last_at < now(-seconds)).limit(SWEEP_ROWS)
    chosen = old.with_for_update(skip_locked=True)
    return tx.execute(delete(recipient_budgets).where(among(_columns.recipient, chosen))).rowcount
