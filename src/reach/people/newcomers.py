"""People of a list from elsewhere, added many at a time: every statement about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Column, Executable, bindparam, case, func, literal, null, select
from sqlalchemy.dialects import postgresql, sqlite

from reach.db.prepared import Prepared
from reach.db.transaction import Transaction
from reach.db.types import Document, encode, new_id, now, rows
from reach.events import noting
from reach.events.noting import Event
from reach.messages import outbox
from reach.messages.budget import BY_OPERATOR
from reach.messages.outbox import Promise
from reach.people.address import EmailAddress
from reach.people.model import people
from reach.settings import Settings


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Somebody of a list, by the rules of a sign-up.

    ``consented_at`` and ``confirmed_at`` are what the list says; without the first it is now.
    ``is_confirmed``: without the second they are confirmed now.
    """

    email: EmailAddress
    name: str = field(repr=False)
    description: str | None = field(default=None, repr=False)
    language: str | None = None
    consented_at: datetime | None = None
    confirmed_at: datetime | None = None
    is_confirmed: bool = False


#: Who signed them up, as others are told.
IMPORTED = {"by": "import"}
#: What is given of each person; what all have in common is given once.
_GIVEN = tuple(
    people.c[name]
    for name in (
        *("id", "email", "email_key", "name", "description", "language"),
        *("consented_at", "confirmed_at"),
    )
)
_IS_CONFIRMED = Column("is_confirmed", Boolean)


@Prepared
def _add(dialect: str) -> Executable:
    """One statement for any number of people; sorted, so that groups lock in one order."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    given = rows(dialect, *_GIVEN, _IS_CONFIRMED)
    values: dict[str, Any] = {c.name: given.c[c.name] for c in _GIVEN}
    confirmed_now = func.coalesce(given.c.confirmed_at, now())
    values["confirmed_at"] = case((given.c.is_confirmed, confirmed_now), else_=null())
    values["consent"] = bindparam("consent", type_=Document)
    values |= {"links_version": literal(0), "created_at": now(), "updated_at": now()}
    values["version"] = literal(1)
    source = select(*values.values()).where(given.c.id.is_not(None)).order_by(given.c.email_key)
    return (
        insert(people)
        .from_select([*values], source)
        .on_conflict_do_nothing(index_elements=["email_key"])
        .returning(people.c.email_key)
    )


def add_all(
    tx: Transaction,
    newcomers: Sequence[Newcomer],
    consent: Mapping[str, str],
    settings: Settings,
    *,
    welcome: bool,
) -> int:
    """Add those whose address nobody has; returns how many. Others stay as they are.

    No two have the same address. A welcome is promised to those who are added alone: so what is
    done twice sends nobody two. ``consent`` is the evidence that all have in common.
    """
    ids = {one.email.key: new_id() for one in newcomers}
    given = [_given(one, ids[one.email.key]) for one in newcomers]
    values = {"rows": encode(tx.dialect.name, given), "consent": dict(consent)}
    keys = {key for (key,) in _add.rows(tx, values)}
    added = {ids[one.email.key]: one for one in newcomers if one.email.key in keys}
    noting.note(tx, [Event("person.signed_up", id_, details=IMPORTED) for id_ in added])
    if welcome and added:
        outbox.promise(tx, [_welcome(one, id_) for id_, one in added.items()], settings)
    return len(added)


def _given(one: Newcomer, person_id: UUID) -> dict[str, object]:
    return {
        "id": person_id,
        "email": one.email.typed,
        "email_key": one.email.key,
        "name": one.name,
        "description": one.description,
        "language": one.language,
        "consented_at": one.consented_at,
        "confirmed_at": one.confirmed_at,
        "is_confirmed": one.is_confirmed,
    }


def _welcome(one: Newcomer, person_id: UUID) -> Promise:
    words = {"name": one.name, **BY_OPERATOR}
    return Promise(person_id, one.email.recipient, "welcome", words, None)
