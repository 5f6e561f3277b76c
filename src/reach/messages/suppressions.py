"""Addresses that nothing is sent to: one that bounced for good, or whose owner complained.

Messages for such an address are promised as ever, so that nobody learns of it from the answer; a
worker ends them as ``suppressed`` when they are due. See docs/decisions/0073-reports.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from typing import Literal, get_args
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Executable,
    Index,
    ScalarSelect,
    Table,
    Text,
    and_,
    column,
    delete,
    exists,
    literal,
    or_,
    select,
    table,
    text,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite

from reach.db import keyset
from reach.db.keyset import MOST_COUNTED, Conditions, Count
from reach.db.transaction import Transaction
from reach.db.types import (
    CLOCKS_SECONDS,
    Instant,
    Key,
    OrderedText,
    among,
    ascii_lower,
    encode,
    metadata,
    new_id,
    now,
    rows,
)
from reach.messages.model import IS_SENT, NOTICE, messages, reports
from reach.problems import NotFound

#: Why nothing is sent to an address. What an operator asked for no bounce changes, and a complaint
#: nothing does.
Cause = Literal["bounced", "complained", "operator"]
CAUSES: tuple[Cause, ...] = get_args(Cause)
#: What operators see as the last error of a message that was not sent.
WHY: Mapping[Cause, str] = {
    "bounced": "Not sent: earlier mail to this address came back.",
    "complained": "Not sent: the owner of this address marked earlier mail as spam.",
    "operator": "Not sent: an operator has this address suppressed.",
}
LIFTED = "Not sent: nothing was sent to this address."
#: After a bounce, a fresh sign-up may try the address again this seldom: how else could its owner,
#: whose mailbox works again, confirm it?
TRIED_AGAIN_SECONDS = 86_400.0

#: Who says that a message was delivered whose link was used.
CONFIRMED = "confirmation"
SWEEP_ROWS = 1000

#: ``text`` is what the mail server said, or the operator; ``message_id`` the message it was about.
suppressions = Table(
    "suppressions",
    metadata,
    Column("id", Key, primary_key=True),
    Column("email_key", OrderedText, nullable=False),
    Column("cause", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("message_id", Key),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
)
Index("uq_suppressions_email_key", suppressions.c.email_key, unique=True)
Index("ix_suppressions_cause", suppressions.c.cause, suppressions.c.id)
_columns = suppressions.c
#: All that is known of people here.
_people = table("people", column("id", Key), column("email_key", OrderedText))


class NoSuchSuppression(NotFound):
    """Nothing is suppressed under this id, or it was lifted."""

    type, title = "no-such-suppression", "There is no such suppression"


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that nothing is sent to, by its key (see ``people.address``), and why."""

    id: UUID
    email_key: str = field(repr=False)
    cause: Cause
    text: str = field(repr=False)
    message_id: UUID | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Suppressed:
    """What is to be noted of an address: see ``Suppression``."""

    email_key: str = field(repr=False)
    cause: Cause
    text: str = field(default="", repr=False)
    message_id: UUID | None = None


# What a worker asks


def cause_of_message() -> ScalarSelect[str]:
    """Why a message is not to be sent, for a statement about messages; NULL if it is.

    What is for the maker, or a test, is sent whatever was noted of its address.
    """
    asked = messages.c.data["by_operator"].as_string().is_(None)
    is_old = or_(
        _columns.updated_at < now(-TRIED_AGAIN_SECONDS),
        _columns.updated_at > now(CLOCKS_SECONDS),  # of a clock that was ahead, and is set right
    )
    is_tried_again = and_(
        _columns.cause == text("'bounced'"), messages.c.template == text("'welcome'"), asked, is_old
    )
    found = select(_columns.cause).where(
        _columns.email_key == ascii_lower(messages.c.recipient),
        messages.c.person_id.is_not(None),
        messages.c.template != NOTICE,
        ~is_tried_again,
    )
    return found.correlate(messages).scalar_subquery()


def has_bounced(email_key: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether nothing is sent to an address since a bounce, for a statement about its owner."""
    found = exists().where(_columns.email_key == email_key, _columns.cause == text("'bounced'"))
    return found.correlate_except(suppressions)


# What a report or an operator notes


_GIVEN = [_columns[name] for name in ("id", "email_key", "cause", "text", "message_id")]


@cache
def _suppress(dialect: str) -> Executable:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    given = rows(dialect, *_GIVEN)
    source = select(*(given.c[c.name] for c in _GIVEN), now(), now())
    source = source.where(given.c.id.is_not(None)).order_by(given.c.email_key)
    made = insert(suppressions).from_select(
        [*(c.name for c in _GIVEN), "created_at", "updated_at"], source
    )
    new = made.excluded
    changes = {name: new[name] for name in ("cause", "text", "message_id", "updated_at")}
    # A bounce says less than the other two, and a complaint the most: it is the owner's own word.
    is_more = or_(
        _columns.cause == text("'bounced'"),
        new.cause == text("'complained'"),
        new.cause == _columns.cause,
    )
    return made.on_conflict_do_update(
        index_elements=["email_key"], set_=changes, where=is_more
    ).returning(_columns.email_key)


def suppress_all(tx: Transaction, given: Iterable[Suppressed]) -> int:
    """Have nothing sent to these addresses from now on; returns for how many that is new or more.

    Of several for one address the last one counts, but for a bounce beside something else.
    """
    by_key: dict[str, Suppressed] = {}
    for one in given:
        known = by_key.get(one.email_key)
        if known is None or one.cause != "bounced":
            by_key[one.email_key] = one
    if not by_key:
        return 0
    values: list[dict[str, object]] = [
        {
            "id": new_id(),
            "email_key": one.email_key,
            "cause": one.cause,
            "text": one.text,
            "message_id": one.message_id,
        }
        for one in by_key.values()
    ]
    found = tx.execute(_suppress(tx.dialect.name), {"rows": encode(tx.dialect.name, values)})
    return len(found.all())


def lift_bounce(tx: Transaction, person_id: UUID) -> bool:
    """Have mail sent again to a person whose address bounced, and who has confirmed it since.

    They have if a welcome was sent to them after it bounced. A complaint stays.
    """
    since = exists().where(
        messages.c.person_id == person_id,
        messages.c.template == text("'welcome'"),
        IS_SENT,
        messages.c.created_at > _columns.updated_at,
    )
    lifted = delete(suppressions).where(
        _columns.email_key == _key_of(person_id), _columns.cause == text("'bounced'"), since
    )
    if tx.execute(lifted).rowcount == 0:
        return False
    # The address takes mail: what bounced before says nothing of it any more.
    newest = select(messages.c.id).where(
        messages.c.person_id == person_id, messages.c.template == text("'welcome'"), IS_SENT
    )
    newest = newest.order_by(messages.c.id.desc()).limit(1)
    source = select(newest.subquery().c.id, *map(literal, ("delivered", CONFIRMED, "")), now())
    add = (postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert)(reports)
    names = ["message_id", "kind", "source", "text", "reported_at"]
    # Without a WHERE, SQLite takes ON CONFLICT for a join's ON.
    tx.execute(add.from_select(names, source.where(true())).on_conflict_do_nothing())
    return True


def forget(tx: Transaction, email_key: str) -> None:
    """Delete what is noted of an address: its person goes, or moves to another one.

    After the person's messages are locked: who records a report locks in that order.
    """
    tx.execute(delete(suppressions).where(_columns.email_key == email_key))


def _key_of(person_id: UUID) -> ScalarSelect[str]:
    return select(_people.c.email_key).where(_people.c.id == person_id).scalar_subquery()


# What operators see and do


@dataclass(frozen=True, slots=True)
class Filter:
    """What suppressions are found by; None finds any. ``email_key`` is an address's key."""

    cause: Cause | None = None
    email_key: str | None = field(default=None, repr=False)

    def conditions(self) -> Conditions:
        """Say so in SQL; one address, or one cause, is found along an index."""
        asked: list[ColumnElement[bool]] = []
        if self.email_key is not None:
            asked.append(_columns.email_key == self.email_key)
        if self.cause is not None:
            asked.append(_columns.cause == self.cause)
        return Conditions(asked[:1], asked[1:])


def sweep(tx: Transaction) -> int:
    """Delete up to 1,000 that are about nobody any more, unless an operator noted them.

    Their person has gone, with the message that they came of: erased by an earlier version, say.
    """
    of_message = exists().where(messages.c.id == _columns.message_id)
    of_person = exists().where(_people.c.email_key == _columns.email_key)
    over = (
        select(_columns.id)
        .where(_columns.cause.in_(["bounced", "complained"]), ~of_message, ~of_person)
        .limit(SWEEP_ROWS)
    )
    return tx.execute(delete(suppressions).where(among(_columns.id, over))).rowcount


def page(
    tx: Transaction, chosen_by: Filter, *, limit: int, before: UUID | None = None
) -> tuple[Sequence[Suppression], UUID | None]:
    """List suppressions, newest first, from after ``before`` (an id) on; and where it goes on."""
    found, on = keyset.page(
        tx, select(suppressions), chosen_by.conditions(), limit=limit, before=before
    )
    return [Suppression(**row) for row in found], on


def count(tx: Transaction, chosen_by: Filter, *, most: int = MOST_COUNTED) -> Count:
    """Count suppressions, up to ``most`` + 1, as ``db.keyset`` does."""
    return keyset.count(tx, select(suppressions), chosen_by.conditions(), most=most)


def find(tx: Transaction, suppression_id: UUID) -> Suppression:
    """Find one. Raises NoSuchSuppression."""
    statement = select(suppressions).where(_columns.id == suppression_id)
    row = tx.execute(statement).mappings().one_or_none()
    if row is None:
        raise NoSuchSuppression
    return Suppression(**row)


def find_by_key(tx: Transaction, email_key: str) -> Suppression | None:
    """Find what is noted of an address, by its key; None: mail is sent there."""
    statement = select(suppressions).where(_columns.email_key == email_key)
    row = tx.execute(statement).mappings().one_or_none()
    return None if row is None else Suppression(**row)


def export(tx: Transaction, email_key: str) -> dict[str, object] | None:
    """All that is stored of why nothing is sent to an address."""
    found = find_by_key(tx, email_key)
    return None if found is None else asdict(found)


def lift(tx: Transaction, suppression_id: UUID) -> Suppression:
    """Have mail sent there again; returns what was noted. Raises NoSuchSuppression."""
    statement = delete(suppressions).where(_columns.id == suppression_id).returning(*_columns)
    row = tx.execute(statement).mappings().one_or_none()
    if row is None:
        raise NoSuchSuppression
    return Suppression(**row)
