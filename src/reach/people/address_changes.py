"""Changes of address that are under way: every statement about them.

A person has one at a time. It waits for somebody to open the link that is sent to the new address,
and ends after ``REACH_LINK_DAYS``. What is done with it is in ``people.move``.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    Executable,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    bindparam,
    delete,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from reach.db.transaction import Transaction
from reach.db.types import Instant, Key, OrderedText, among, metadata, now
from reach.messages.model import CONFIRM_ADDRESS

#: Templates: to the new address, and to the one that it is to replace; to that one, once it is.
CONFIRM, TELL, TOLD = CONFIRM_ADDRESS, "address-change", "address-changed"
SWEEP_ROWS = 1000
#: A number fits into a link's token, in the place of the version of a person's links.
NUMBER_BITS = 31

address_changes = Table(
    "address_changes",
    metadata,
    Column("person_id", Key, ForeignKey("people.id", ondelete="CASCADE"), primary_key=True),
    Column("email", Text, nullable=False),
    Column("email_key", OrderedText, nullable=False),
    Column("number", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("ends_at", Instant, nullable=False),
)
Index("ix_address_changes_ends_at", address_changes.c.ends_at)

_columns = address_changes.c
_IS_THEIRS = _columns.person_id == bindparam("person_id", type_=Key)
_FIND = select(_columns.email, _columns.email_key, _columns.number).where(
    _IS_THEIRS, _columns.ends_at > now()
)


@dataclass(frozen=True, slots=True)
class AddressChange:
    """A change of somebody's address that is under way.

    ``number`` is the one that its links must have: a link that was sent for an earlier change, to
    another address, does nothing for this one.
    """

    email: str = field(repr=False)
    email_key: str = field(repr=False)
    number: int


def find(tx: Transaction, person_id: UUID) -> AddressChange | None:
    """Find a person's change that has not ended; None if there is none."""
    row = tx.execute(_FIND, {"person_id": person_id}).one_or_none()
    return None if row is None else AddressChange(*row)


def new_number() -> int:
    """Draw a number. Of two changes one number is as likely as one in two thousand million."""
    return secrets.randbits(NUMBER_BITS)


@cache
def _put(dialect: str) -> Executable:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    given = {name: bindparam(name, type_=_columns[name].type) for name in _GIVEN}
    times = {"created_at": now(), "ends_at": now(bindparam("seconds", type_=Float))}
    made = insert(address_changes).values(**given, **times)
    changed = {name: made.excluded[name] for name in (*_GIVEN[1:], *times)}
    return made.on_conflict_do_update(index_elements=["person_id"], set_=changed)


_GIVEN = ("person_id", "email", "email_key", "number")


def put(tx: Transaction, person_id: UUID, change: AddressChange, *, seconds: float) -> None:
    """Write down the change of a person who is locked, for so long; it replaces an earlier one."""
    given = {"email": change.email, "email_key": change.email_key, "number": change.number}
    tx.execute(_put(tx.dialect.name), {"person_id": person_id, "seconds": seconds, **given})


def remove(tx: Transaction, person_id: UUID) -> None:
    """Delete the change of a person who is locked, if there is one."""
    tx.execute(delete(address_changes).where(_IS_THEIRS), {"person_id": person_id})


def export(tx: Transaction, person_id: UUID) -> Sequence[Mapping[str, Any]]:
    """The change of a person, ended or not: all that is stored of it."""
    shown = [column for column in _columns if column.name not in ("person_id", "number")]
    found = tx.execute(select(*shown).where(_IS_THEIRS), {"person_id": person_id})
    return [dict(row) for row in found.mappings()]


def sweep(tx: Transaction) -> int:
    """Delete up to 1,000 changes that have ended; returns how many.

    The address may be somebody's who never heard of us. What is being changed is passed over.
    """
    ended = select(_columns.person_id).where(_columns.ends_at <= now()).limit(SWEEP_ROWS)
    chosen = ended.with_for_update(skip_locked=True)
    return tx.execute(delete(address_changes).where(among(_columns.person_id, chosen))).rowcount
