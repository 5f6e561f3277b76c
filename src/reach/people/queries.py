"""Every statement about people."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Executable,
    Float,
    bindparam,
    case,
    delete,
    literal,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from reach.db.columns import encode, now, rows
from reach.db.engine import Transaction
from reach.messages.model import messages
from reach.people.model import Person, Welcome, people


@dataclass(frozen=True, slots=True)
class NewPerson:
    """What a person's row begins with. ``greeted``: a welcome goes out with it."""

    id: UUID
    email: str
    email_key: str
    name: str
    description: str | None
    greeted: bool


@dataclass(frozen=True, slots=True)
class Known:
    """Somebody whose address came in again. ``greet``: they are due to be told so."""

    id: UUID
    email_key: str
    name: str
    email: str
    confirmed: bool
    greet: bool


_newest = messages.alias("newest")
#: A person's newest welcome: correlated, so that it costs one index look-up a person.
_welcome_id = (
    select(_newest.c.id)
    .where(_newest.c.person_id == people.c.id, _newest.c.template == "welcome")
    .order_by(_newest.c.id.desc())
    .limit(1)
    .scalar_subquery()
)
_PERSON = select(
    people.c.id,
    people.c.email,
    people.c.name,
    people.c.description,
    people.c.confirmed_at,
    people.c.created_at,
    people.c.updated_at,
    people.c.version,
    messages.c.state,
    case((messages.c.state == "sent", messages.c.settled_at)).label("sent_at"),
).select_from(people.outerjoin(messages, messages.c.id == _welcome_id))
_LINKS_VERSION = select(people.c.links_version).where(people.c.id == bindparam("person_id"))
_ONE_PERSON = _PERSON.where(people.c.id == bindparam("person_id"))


#: What ``add_if_new`` is given for each person.
_NEW = (
    *(people.c[name] for name in ("id", "email", "email_key", "name", "description")),
    Column("greeted", Boolean),
)


@cache
def _add_if_new(dialect: str) -> Executable:
    """One statement for any number of people; sorted, so that groups lock in one order."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    given = rows(dialect, *_NEW)
    source = (
        select(
            given.c.id,
            given.c.email,
            given.c.email_key,
            given.c.name,
            given.c.description,
            case((given.c.greeted, now())),
            literal(0),
            now(),
            now(),
            literal(1),
        )
        # Without a WHERE, SQLite takes ON CONFLICT for a join's ON.
        .where(given.c.id.is_not(None))
        .order_by(given.c.email_key)
    )
    names = [c.name for c in _NEW[:-1]]
    names += ["greeted_at", "links_version", "created_at", "updated_at", "version"]
    return (
        insert(people)
        .from_select(names, source)
        .on_conflict_do_nothing(index_elements=["email_key"])
        .returning(people.c.id)
    )


def add_if_new(tx: Transaction, wanted: Iterable[NewPerson]) -> set[UUID]:
    """Add those whose address nobody has; returns the ids of those that were added."""
    # Not by asdict, which copies every value deeply.
    names = [column.name for column in _NEW]
    given = encode(tx.dialect.name, ({n: getattr(p, n) for n in names} for p in wanted))
    return set(tx.execute(_add_if_new(tx.dialect.name), {"rows": given}).scalars())


@cache
def _lock_known(dialect: str) -> Executable:
    """Lock before deciding whom to greet, in one order over all processes."""
    given = rows(dialect, people.c.email_key)
    due = or_(
        people.c.greeted_at.is_(None),
        people.c.greeted_at <= now(-bindparam("greeted_seconds", type_=Float)),
    )
    return (
        select(
            *(people.c[name] for name in ("id", "email_key", "name", "email")),
            people.c.confirmed_at.is_not(None).label("confirmed"),
            due.label("greet"),
        )
        .join_from(people, given, people.c.email_key == given.c.email_key)
        .order_by(people.c.email_key)
        .with_for_update(of=people)
    )


def lock_known(tx: Transaction, keys: Iterable[str], *, hours: float = 0) -> Sequence[Known]:
    """Find the people with these keys; they stay as they are until the transaction ends.

    Due to be greeted is who was not in the last ``hours``.
    """
    given = encode(tx.dialect.name, ({"email_key": key} for key in keys))
    wanted = {"rows": given, "greeted_seconds": hours * 3600}
    return [Known(**row) for row in tx.execute(_lock_known(tx.dialect.name), wanted).mappings()]


@cache
def _note_greetings(dialect: str) -> Executable:
    given = rows(dialect, people.c.id, Column("greet", Boolean))
    as_it_was: ColumnElement[Any] = people.c.greeted_at
    if dialect == "sqlite":
        # It writes and syncs nothing for an UPDATE that changes no byte: this moves it by 1 µs.
        as_it_was = type_coerce(people.c.greeted_at, BigInteger) + 1
    return (
        update(people)
        .where(people.c.id == given.c.id)
        .values(greeted_at=case((given.c.greet, now()), else_=as_it_was))
    )


def greet_known(tx: Transaction, keys: Iterable[str], *, hours: float) -> Sequence[Known]:
    """Find the people with these keys, and note now as the time of greeting those who are due.

    Due is who was not greeted in the last ``hours``. Every row is written, due or not: else a
    missing fsync would tell a stranger that the address is known.
    """
    dialect = tx.dialect.name
    known = lock_known(tx, keys, hours=hours)
    greetings = encode(dialect, ({"id": one.id, "greet": bool(one.greet)} for one in known))
    tx.execute(_note_greetings(dialect), {"rows": greetings})
    return known


def find(tx: Transaction, person_id: UUID) -> Person | None:
    """Find a person, with what became of their welcome."""
    row = tx.execute(_ONE_PERSON, {"person_id": person_id}).one_or_none()
    return None if row is None else _person(row)


def page(
    tx: Transaction,
    *,
    limit: int,
    before: UUID | None = None,
    prefix: str | None = None,
    confirmed: bool | None = None,
) -> Sequence[Person]:
    """List people, newest first, from after ``before`` (a person's id) on.

    ``prefix`` is the beginning of an address key: a range of its index, on both databases.
    """
    ids = select(people.c.id).order_by(people.c.id.desc()).limit(limit)
    if before is not None:
        ids = ids.where(people.c.id < before)
    if prefix:
        after_all = prefix + "\U0010ffff"
        ids = ids.where(people.c.email_key >= prefix, people.c.email_key < after_all)
    if confirmed is not None:
        known = people.c.confirmed_at.is_not(None)
        ids = ids.where(known if confirmed else ~known)
    # Chosen first: welcomes are then looked up for those who are shown, not for all who match.
    statement = _PERSON.where(people.c.id.in_(ids)).order_by(people.c.id.desc())
    return [_person(row) for row in tx.execute(statement)]


def lock(tx: Transaction, person_id: UUID) -> Person | None:
    """Find a person and keep others from changing the record until the transaction ends."""
    statement = select(people.c.id).where(people.c.id == person_id).with_for_update()
    return find(tx, person_id) if tx.execute(statement).one_or_none() else None


def links_version(tx: Transaction, person_id: UUID) -> int | None:
    """The version that a person's links must have; None if there is nobody."""
    return tx.execute(_LINKS_VERSION, {"person_id": person_id}).scalar_one_or_none()


def lock_links_version(tx: Transaction, person_id: UUID) -> int | None:
    """As ``links_version``; it stays so, and the record too, until the transaction ends."""
    statement = _LINKS_VERSION.with_for_update()
    return tx.execute(statement, {"person_id": person_id}).scalar_one_or_none()


def void_links(tx: Transaction, person_id: UUID) -> bool:
    """Count the version of a person's links up; False if there is nobody."""
    statement = update(people).where(people.c.id == person_id)
    return tx.execute(statement.values(links_version=people.c.links_version + 1)).rowcount > 0


def stored(tx: Transaction, person_id: UUID) -> Mapping[str, Any] | None:
    """All that a person's row holds; None if there is nobody."""
    row = tx.execute(select(people).where(people.c.id == person_id)).one_or_none()
    return None if row is None else row._asdict()


def confirm(tx: Transaction, person_id: UUID) -> None:
    """Note that a person's address is theirs, unless that was noted before."""
    statement = update(people).where(people.c.id == person_id, people.c.confirmed_at.is_(None))
    tx.execute(statement.values(confirmed_at=now(), updated_at=now(), version=people.c.version + 1))


def change(tx: Transaction, person_id: UUID, fields: Mapping[str, str | None]) -> None:
    """Set ``fields`` of a person's record and count its version up."""
    statement = (
        update(people)
        .where(people.c.id == person_id)
        .values(**fields, updated_at=now(), version=people.c.version + 1)
    )
    tx.execute(statement)


def erase(tx: Transaction, person_id: UUID) -> bool:
    """Delete a person and by cascade all that is theirs; False if there is nobody."""
    return tx.execute(delete(people).where(people.c.id == person_id)).rowcount > 0


@cache
def _remove(dialect: str) -> Executable:
    return delete(people).where(people.c.id.in_(select(rows(dialect, people.c.id).c.id)))


def remove(tx: Transaction, ids: Iterable[UUID]) -> None:
    """Delete people, and by cascade all that is theirs."""
    given = encode(tx.dialect.name, ({"id": id_} for id_ in ids))
    tx.execute(_remove(tx.dialect.name), {"rows": given})


def _person(row: Any) -> Person:
    values = row._asdict()
    welcome = Welcome(values.pop("state"), values.pop("sent_at"))
    return Person(**values, welcome=welcome)
