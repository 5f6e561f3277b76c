"""Answers that are kept for 24 hours, to be given again: every statement about them.

A key is claimed before anything else is locked, and its answer written in the same transaction.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    Executable,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    and_,
    delete,
    null,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from reach.db.transaction import Transaction
from reach.db.types import Document, Instant, Key, encode, metadata, now, rows
from reach.problems import Unprocessable

KEEP_SECONDS = 86_400.0
SWEEP_ROWS = 1000

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

_columns = idempotency_keys.c
_NAME = (_columns.caller, _columns.route, _columns.key)
_CLAIMED = (*_NAME, _columns.fingerprint)
_KEPT = (*_NAME, _columns.person_id, _columns.status, _columns.headers, _columns.body)

#: Caller, route and key.
Name = tuple[str, str, str]


class KeyReused(Unprocessable):
    """This `Idempotency-Key` came before, with another body. Send a new key with a new request."""

    type, title = "idempotency-key-reused", "This key belongs to another request"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with: all of it that does not change with the time."""

    status: int
    body: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """What a request has come to, and whom it is about: their erasure takes the answer along.

    At the door it is about nobody: the answer is the same for everybody, and so is what is stored.
    """

    answer: Answer
    person_id: UUID | None


@dataclass(frozen=True, slots=True)
class Once:
    """A request that is to be done once, however often it comes.

    ``names`` and ``fingerprints`` are signed with each secret; the first is what is written.
    """

    names: tuple[Name, ...]
    fingerprints: tuple[str, ...]

    @property
    def name(self) -> Name:
        """What it is stored by."""
        return self.names[0]


@dataclass(frozen=True, slots=True)
class Stored:
    """An earlier request's fingerprint, and its answer."""

    fingerprint: str
    answer: Answer

    def answer_to(self, once: Once) -> Answer | KeyReused:
        """The answer, if it is the same request that asks again."""
        return self.answer if self.fingerprint in once.fingerprints else KeyReused()

    def answer_or_raise(self, once: Once) -> Answer:
        """The same, for a request of its own. Raises KeyReused."""
        answer = self.answer_to(once)
        if isinstance(answer, KeyReused):
            raise answer
        return answer


def claim(tx: Transaction, onces: Sequence[Once]) -> dict[Name, Stored]:
    """Claim keys, before anything else is locked; returns those that have an answer already.

    Whoever finds a key claimed by a transaction under way waits here until it ends.
    """
    # What it may have been stored by, before the secret was replaced.
    older = {name: once.name for once in onces for name in once.names[1:]}
    found = _find(tx, older) if older else {}
    stored = {older[name]: one for name, (one, is_old) in found.items() if not is_old}
    new = {once.name: once for once in onces if once.name not in stored}
    given = ({**_named(name), "fingerprint": one.fingerprints[0]} for name, one in new.items())
    values = {"rows": encode(tx.dialect.name, given)}
    claimed = {tuple(row) for row in tx.execute(_claim(tx.dialect.name), values)}
    others = [name for name in new if name not in claimed]
    if others:
        stored |= {name: one for name, (one, _) in _find(tx, others).items()}
    return stored


def find(tx: Transaction, once: Once) -> Answer | None:
    """Look for the answer to a request that came before; it claims nothing. Raises KeyReused."""
    for stored, is_old in _find(tx, once.names).values():
        if not is_old:
            return stored.answer_or_raise(once)
    return None


def keep(tx: Transaction, kept: Mapping[Name, Done]) -> None:
    """Store answers under the keys that were claimed for them."""
    if not kept:
        return
    given = (
        {
            **_named(name),
            "person_id": done.person_id,
            "status": done.answer.status,
            "headers": done.answer.headers,
            "body": done.answer.body,
        }
        for name, done in kept.items()
    )
    tx.execute(_keep(tx.dialect.name), {"rows": encode(tx.dialect.name, given)})


def release(tx: Transaction, names: Collection[Name]) -> None:
    """Give keys up that this transaction claimed: nothing came of them."""
    if names:
        tx.execute(delete(idempotency_keys).where(tuple_(*_NAME).in_(list(names))))


def forget(tx: Transaction, person_id: UUID) -> None:
    """Delete what is stored about a person, before the person is locked and deleted.

    The cascade would delete it too, but with the person locked first: the other way round from
    those who claim a key and then look for the person.
    """
    theirs = select(*_NAME).where(_columns.person_id == person_id)
    _delete(tx, theirs.order_by(*_NAME).with_for_update())


def export(tx: Transaction, person_id: UUID) -> Sequence[Mapping[str, Any]]:
    """All answers that are stored about a person, the oldest first."""
    shown = (_columns.route, _columns.status, _columns.body, _columns.created_at)
    statement = select(*shown).where(_columns.person_id == person_id)
    return [dict(row) for row in tx.execute(statement.order_by(_columns.created_at)).mappings()]


def sweep(tx: Transaction) -> int:
    """Delete up to 1,000 keys older than 24 hours, which count no more; returns how many.

    Those that somebody is claiming anew are passed over.
    """
    old = select(*_NAME).where(_columns.created_at < now(-KEEP_SECONDS)).limit(SWEEP_ROWS)
    return _delete(tx, old.with_for_update(skip_locked=True))


def _delete(tx: Transaction, chosen: Any) -> int:
    chosen = chosen.cte("chosen").prefix_with("MATERIALIZED")
    statement = delete(idempotency_keys).where(tuple_(*_NAME).in_(select(chosen)))
    # Counted by what it returns: of a statement that begins with WITH, SQLite's driver says -1.
    return len(tx.execute(statement.returning(_columns.key)).all())


@cache
def _claim(dialect: str) -> Executable:
    """One statement, so that a key has one moment; sorted, so that groups lock in one order.

    It locks the rows that it finds, be they used or not: so they are there when they are read.
    """
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    given = rows(dialect, *_CLAIMED)
    names = [column.name for column in _CLAIMED]
    source = (
        select(*(given.c[name] for name in names), now())
        # Without a WHERE, SQLite takes ON CONFLICT for a join's ON.
        .where(given.c.key.is_not(None))
        .order_by(given.c.caller, given.c.route, given.c.key)
    )
    statement = insert(idempotency_keys).from_select([*names, "created_at"], source)
    return statement.on_conflict_do_update(
        index_elements=[column.name for column in _NAME],
        set_={
            "fingerprint": statement.excluded.fingerprint,
            "created_at": statement.excluded.created_at,
            **dict.fromkeys(("person_id", "status", "headers", "body"), null()),
        },
        where=_columns.created_at < now(-KEEP_SECONDS),
    ).returning(*_NAME)


@cache
def _look(dialect: str) -> Executable:
    given = rows(dialect, *_NAME)
    is_old = (_columns.created_at < now(-KEEP_SECONDS)).label("is_old")
    return select(*_CLAIMED, _columns.status, _columns.headers, _columns.body, is_old).join_from(
        idempotency_keys, given, _is(given)
    )


@cache
def _keep(dialect: str) -> Executable:
    given = rows(dialect, *_KEPT)
    kept = {column.name: given.c[column.name] for column in _KEPT[len(_NAME) :]}
    return update(idempotency_keys).where(_is(given)).values(kept)


def _is(given: Any) -> Any:
    return and_(*(column == given.c[column.name] for column in _NAME))


def _find(tx: Transaction, names: Iterable[Name]) -> dict[Name, tuple[Stored, bool]]:
    """Read what is stored, and whether it is too old to count."""
    given = encode(tx.dialect.name, map(_named, names))
    found = tx.execute(_look(tx.dialect.name), {"rows": given})
    return {
        (row.caller, row.route, row.key): (
            Stored(
                row.fingerprint,
                Answer(row.status, row.body, tuple(map(tuple, row.headers))),
            ),
            bool(row.is_old),
        )
        for row in found
    }


def _named(name: Name) -> dict[str, object]:
    return dict(zip(("caller", "route", "key"), name, strict=True))
