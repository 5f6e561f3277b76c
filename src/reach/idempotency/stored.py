"""Responses that are stored for 24 hours, to be given again: every statement about them.

A key is claimed before anything else is locked, and its response stored in the same transaction.
One request does its work by ``respond_once``::

    def work(tx):
        person = add_person(tx, …)
        return StoredResponse(201, …, person_id=person.id)

    response = await database.write(respond_once, key, work)

A group of them calls ``claim_all`` first and ``Claims.keep`` last. Without an ``Idempotency-Key``
(``key`` is None) nothing is looked up or stored. What fails is not stored: an exception takes the
claim back with everything else. See docs/decisions/0012-idempotency.md.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, Protocol, TypeVar
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
from reach.problems import Problem, Unprocessable

T = TypeVar("T", bound="Keyed")

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
class StoredResponse:
    """What a request is answered with: all of it that does not change with the time.

    ``person_id`` says whom it is about: to erase that person deletes the response too. To a
    sign-up it is about nobody: the response is the same for everybody, and so is what is stored.
    """

    status: int
    body: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = ()
    person_id: UUID | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What makes a request the same as an earlier one.

    ``names`` and ``fingerprints`` are signed with each secret; the first is what is written.
    """

    names: tuple[Name, ...]
    fingerprints: tuple[str, ...]

    def response(self, stored: "Stored") -> StoredResponse | KeyReused:
        """Give the stored response, if it is the same request that asks again."""
        return stored.response if stored.fingerprint in self.fingerprints else KeyReused()


@dataclass(frozen=True, slots=True)
class Stored:
    """An earlier request's fingerprint, and its response; whether it is too old to count."""

    fingerprint: str
    response: StoredResponse
    is_old: bool = False


class Keyed(Protocol):
    """A request of a group, which may carry a key."""

    @property
    def key(self) -> IdempotencyKey | None:
        """The key, if there is one."""


@dataclass(frozen=True, slots=True)
class Claims(Generic[T]):
    """What a group's ``items`` have claimed: which are ``to_do``, and what the others get.

    ``new`` has, by the name of its key, the request that claimed it: of several the first.
    """

    items: Sequence[T]
    to_do: Sequence[T]
    stored: Mapping[Name, Stored] = field(default_factory=dict)
    new: Mapping[Name, T] = field(default_factory=dict)

    def keep(
        self, tx: Transaction, done: Sequence[StoredResponse | Problem]
    ) -> Sequence[StoredResponse | Problem]:
        """Store the responses of those that were ``to_do``; returns one for each of the group.

        What was refused is not stored: its key is free again.
        """
        if not self.new and len(done) == len(self.items):
            return done
        # By identity: two requests may be equal.
        found = dict(zip(map(id, self.to_do), done, strict=True))
        kept: dict[Name, StoredResponse] = {}
        refused: list[Name] = []
        for name, item in self.new.items():
            response = found[id(item)]
            if isinstance(response, Problem):
                refused.append(name)
            else:
                kept[name] = response
        keep(tx, kept)
        release(tx, refused)
        return [self._response(item, kept, found) for item in self.items]

    def _response(
        self,
        item: T,
        kept: Mapping[Name, StoredResponse],
        found: Mapping[int, StoredResponse | Problem],
    ) -> StoredResponse | Problem:
        """Find the response to a request: its own, or what is stored, or kept, by its key."""
        key = item.key
        if key is None or id(item) in found:
            return found[id(item)]
        name = key.names[0]
        if name in self.stored:
            return key.response(self.stored[name])
        first = self.new[name]
        if name not in kept or first.key is None:
            return found[id(first)]
        return key.response(Stored(first.key.fingerprints[0], kept[name]))


def claim_all(tx: Transaction, items: Sequence[T]) -> Claims[T]:
    """Claim the keys of a group's requests. Of several with one key the first is to be done."""
    keys: dict[Name, IdempotencyKey] = {}
    for item in items:
        if item.key is not None:
            keys.setdefault(item.key.names[0], item.key)
    if not keys:
        return Claims(items, items)
    stored = claim(tx, list(keys.values()))
    new: dict[Name, T] = {}
    to_do: list[T] = []
    for item in items:
        if item.key is None:
            to_do.append(item)
        elif item.key.names[0] not in stored and item.key.names[0] not in new:
            new[item.key.names[0]] = item
            to_do.append(item)
    return Claims(items, to_do, stored, new)


def respond_once(
    tx: Transaction, key: IdempotencyKey | None, work: Callable[[Transaction], StoredResponse]
) -> StoredResponse:
    """Do ``work``, or give the response that is stored. Raises KeyReused, and what ``work`` raises.

    A second caller meanwhile waits until the first one's transaction ends.
    """
    if key is None:
        return work(tx)
    stored = claim(tx, [key]).get(key.names[0])
    if stored is not None:
        return _or_raise(key.response(stored))
    response = work(tx)
    keep(tx, {key.names[0]: response})
    return response


def claim(tx: Transaction, keys: Sequence[IdempotencyKey]) -> dict[Name, Stored]:
    """Claim keys, before anything else is locked; returns those that have a response already.

    A caller who finds a key claimed by a transaction under way waits here until it ends.
    """
    # What it may have been stored by, before the secret was replaced.
    older = {name: key.names[0] for key in keys for name in key.names[1:]}
    found = _find(tx, older) if older else {}
    stored = {older[name]: one for name, one in found.items() if not one.is_old}
    new = {key.names[0]: key for key in keys if key.names[0] not in stored}
    given = [{**_named(name), "fingerprint": key.fingerprints[0]} for name, key in new.items()]
    values = {"rows": encode(tx.dialect.name, given)}
    claimed = {tuple(row) for row in tx.execute(_claim(tx.dialect.name), values)}
    others = [name for name in new if name not in claimed]
    return stored | _find(tx, others) if others else stored


def find(tx: Transaction, key: IdempotencyKey) -> StoredResponse | None:
    """Look for the response to an earlier request; it claims nothing. Raises KeyReused."""
    for stored in _find(tx, key.names).values():
        if not stored.is_old:
            return _or_raise(key.response(stored))
    return None


def _or_raise(response: StoredResponse | KeyReused) -> StoredResponse:
    if isinstance(response, KeyReused):
        raise response
    return response


def keep(tx: Transaction, kept: Mapping[Name, StoredResponse]) -> None:
    """Store responses under the keys that were claimed for them."""
    if not kept:
        return
    given = [
        {
            **_named(name),
            "person_id": response.person_id,
            "status": response.status,
            "headers": response.headers,
            "body": response.body,
        }
        for name, response in kept.items()
    ]
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
    """All responses that are stored about a person, the oldest first."""
    shown = (_columns.route, _columns.status, _columns.body, _columns.created_at)
    statement = select(*shown).where(_columns.person_id == person_id)
    return [dict(row) for row in tx.execute(statement.order_by(_columns.created_at)).mappings()]


def sweep(tx: Transaction) -> int:
    """Delete up to 1,000 keys older than 24 hours, which count no more; returns how many.

    Those that somebody is claiming again are passed over.
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


def _find(tx: Transaction, names: Iterable[Name]) -> dict[Name, Stored]:
    """Read what is stored under these names."""
    given = encode(tx.dialect.name, list(map(_named, names)))
    found = tx.execute(_look(tx.dialect.name), {"rows": given})
    return {
        (row.caller, row.route, row.key): Stored(
            row.fingerprint,
            StoredResponse(row.status, row.body, tuple(map(tuple, row.headers))),
            bool(row.is_old),
        )
        for row in found
    }


def _named(name: Name) -> dict[str, object]:
    return dict(zip(("caller", "route", "key"), name, strict=True))
