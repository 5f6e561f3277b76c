"""Operators' API keys: made once, shown once, stored as a digest.

A key is ``rk_`` + 8 characters of prefix (its public name) + 32 of secret + 6 of checksum.
The checksum lets junk be refused without a look-up.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
import string
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol, get_args
from uuid import UUID

import structlog
from sqlalchemy import Column, ColumnElement, Table, Text, bindparam, insert, or_, select, update

from reach.auth.audit import Actor
from reach.db import keyset
from reach.db.database import Database
from reach.db.prepared import Prepared
from reach.db.transaction import Transaction
from reach.db.types import Document, Instant, Key, metadata, new_id, now
from reach.problems import Conflict, NotFound, ServiceUnavailable
from reach.shapes import TEXT

log = structlog.get_logger("reach.auth")

ALPHABET = string.ascii_letters + string.digits
PREFIX_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 8, 32, 6
#: Where in a key its prefix is.
PREFIX = slice(3, 3 + PREFIX_LENGTH)
#: As much of a key as a list shows.
BEGINNING = re.compile(rf"(?:rk_)?(?P<prefix>[0-9A-Za-z]{{{PREFIX_LENGTH}}})…?")
SHAPE = re.compile(rf"rk_([0-9A-Za-z]{{{PREFIX_LENGTH + SECRET_LENGTH}}})([0-9A-Za-z]{{6}})")

Scope = Literal[
    "people:read",
    "people:write",
    "messages:read",
    "messages:write",
    "keys:write",
    "audit:read",
    "webhooks:read",
    "webhooks:write",
]
SCOPES: tuple[Scope, ...] = get_args(Scope)
KeyState = Literal["valid", "expired", "revoked"]
NAME_CHARACTERS = 100
#: How stale ``last_used_at`` may be: a write for every request would be too dear.
LAST_USED_SECONDS = 60
LAST_USED = timedelta(seconds=LAST_USED_SECONDS)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Key, primary_key=True),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False, unique=True),
    Column("digest", Text, nullable=False),
    Column("scopes", Document, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An operator's key, without its secret."""

    id: UUID
    name: str
    prefix: str
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    @property
    def state(self) -> KeyState:
        """Whether it opens anything now; by this machine's clock, for people to read."""
        if self.revoked_at is not None:
            return "revoked"
        is_over = self.expires_at is not None and self.expires_at <= datetime.now(UTC)
        return "expired" if is_over else "valid"


@dataclass(frozen=True, slots=True)
class Operator:
    """Who calls with a valid key: what a request needs to know of it."""

    id: UUID
    scopes: frozenset[str]
    last_used_at: datetime | None

    @property
    def actor(self) -> Actor:
        """Who the audit trail says it was."""
        return Actor("key", str(self.id), "api")


class NoSuchKey(NotFound):
    """No key has this id, prefix or name, or it was revoked before."""

    type, title = "no-such-key", "There is no such key"


class AmbiguousKey(Conflict):
    """Several keys have this name. Nothing was done; say which one by its id."""

    type, title = "ambiguous-key", "Several keys have this name"

    def __init__(self, found: Sequence[ApiKey]) -> None:
        """Take the keys, to be told apart."""
        super().__init__("Say which one by its id.")
        self.found = found


def fit_name(text: str) -> str:
    """Take a name that a list can show, trimmed. Raises ValueError."""
    name = text.strip()
    # Of a command's arguments, bytes that are no UTF-8 come as halves of a pair.
    is_text = TEXT.fits(name) and not any("\ud800" <= one <= "\udfff" for one in name)
    if not 0 < len(name) <= NAME_CHARACTERS or not is_text:
        raise ValueError(f"It needs 1 to {NAME_CHARACTERS} printable characters.")
    return name


def generate() -> str:
    """Make the text of a new key: 190 bits that nobody can guess."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(PREFIX_LENGTH + SECRET_LENGTH))
    return f"rk_{body}{_checksum(body)}"


def is_well_formed(text: str) -> bool:
    """Whether a text could be a key at all; needs no database."""
    match = SHAPE.fullmatch(text)
    return match is not None and hmac.compare_digest(_checksum(match[1]), match[2])


def add(
    tx: Transaction,
    text: str,
    name: str,
    scopes: Collection[str],
    expires_at: datetime | None = None,
) -> ApiKey:
    """Store a key made by ``generate``. Raises ValueError for an unknown scope."""
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        raise ValueError(f"scopes are: {', '.join(SCOPES)}")
    statement = insert(api_keys).values(
        id=new_id(),
        name=name,
        prefix=text[PREFIX],
        digest=_digest(text),
        scopes=sorted(scopes),
        created_at=now(),
        expires_at=expires_at,
    )
    return _key(tx.execute(statement.returning(*_COLUMNS)).one())


def find(tx: Transaction, text: str) -> Operator | None:
    """Find whose key ``text`` is, if it is valid now: known, not revoked, not expired.

    For a text that ``is_well_formed``; any other is no key that was ever stored.
    """
    for id_, scopes, last_used_at, digest in _FIND.rows(tx, {"prefix": text[PREFIX]}):
        if hmac.compare_digest(digest, _digest(text)):
            return Operator(id_, frozenset(scopes), last_used_at)
    return None


def is_stored(tx: Transaction, text: str) -> bool:
    """Whether a key is known at all, be it revoked or expired."""
    rows = tx.execute(select(api_keys.c.digest).where(api_keys.c.prefix == text[PREFIX]))
    return any(hmac.compare_digest(row.digest, _digest(text)) for row in rows)


def touch(tx: Transaction, key_id: UUID) -> None:
    """Note that a key was used just now, unless another caller has noted it meanwhile."""
    used = api_keys.c.last_used_at
    is_ahead = used > now(LAST_USED_SECONDS)  # the clock was, and is set right
    is_stale = or_(used.is_(None), used < now(-LAST_USED_SECONDS), is_ahead)
    statement = update(api_keys).where(api_keys.c.id == key_id, is_stale)
    tx.execute(statement.values(last_used_at=now()))


def revoke(tx: Transaction, text: str) -> ApiKey:
    """Revoke the one key that ``text`` means: see ``meant``."""
    return revoke_by_id(tx, meant(tx, text).id)


def meant(tx: Transaction, text: str) -> ApiKey:
    """Find the one key that ``text`` means, of those that can be revoked.

    ``text`` is its id, its prefix, the key itself, or its name. Of several with one name the one
    that still opens something is meant. Raises NoSuchKey; AmbiguousKey.
    """
    found = _meant(tx, text)
    if len(found) > 1:
        raise AmbiguousKey(found)
    if not found:
        raise NoSuchKey
    return found[0]


def revoke_by_id(tx: Transaction, key_id: UUID) -> ApiKey:
    """Revoke a key. Raises NoSuchKey: also if it was revoked before."""
    statement = (
        update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=now())
        .returning(*_COLUMNS)
    )
    row = tx.execute(statement).one_or_none()
    if row is None:
        raise NoSuchKey
    return _key(row)


def page(
    tx: Transaction, *, limit: int, before: UUID | None = None
) -> tuple[Sequence[ApiKey], UUID | None]:
    """List keys, revoked and expired too, newest first, from after ``before`` on; and where on."""
    found, on = keyset.page(tx, select(*_COLUMNS), limit=limit, before=before)
    return [_key(row.values()) for row in found], on


def all_keys(tx: Transaction) -> Sequence[ApiKey]:
    """Every key, the oldest first."""
    return [_key(row) for row in tx.execute(select(*_COLUMNS).order_by(api_keys.c.id))]


def view(tx: Transaction, key_id: UUID) -> ApiKey:
    """Find a key, be it revoked or expired. Raises NoSuchKey."""
    row = tx.execute(select(*_COLUMNS).where(api_keys.c.id == key_id)).one_or_none()
    if row is None:
        raise NoSuchKey
    return _key(row)


def names(tx: Transaction, ids: Collection[UUID]) -> Mapping[UUID, str]:
    """Name the keys of some ids; what is no key's id is left out."""
    found = select(api_keys.c.id, api_keys.c.name).where(api_keys.c.id.in_(ids))
    return {row.id: row.name for row in tx.execute(found)}


def named(tx: Transaction, name: str) -> Sequence[ApiKey]:
    """List the keys of a name that open something now, the oldest first."""
    found = _unrevoked(tx, api_keys.c.name == name)
    return [key for key in found if key.state == "valid"]


class Used(Protocol):
    """A key, or what else lets operators in, and when it was last noted that it is used."""

    @property
    def id(self) -> UUID:
        """Which one it is."""

    @property
    def last_used_at(self) -> datetime | None:
        """When that was noted; None if it never was."""


class KeyUses:
    """Notes when keys are used, beside the answers and never in their way.

    Reading must go on where nothing can be written (a full disk, a lock, a standby), so this
    is best effort: not awaited, and after a failure not tried again for a minute.
    """

    def __init__(
        self, database: Database, touch: Callable[[Transaction, UUID], None] = touch
    ) -> None:
        """Take where to note it, and what does."""
        self._database = database
        self._touch_one = touch
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._rests_until: dict[UUID, float] = {}

    def note(self, key: Used) -> None:
        """Note that ``key`` is used now, unless that was done within the last minute."""
        if key.last_used_at is not None:
            since = abs(datetime.now(UTC) - key.last_used_at)  # ahead, if the clock was set back
            if since <= LAST_USED:
                return
        if key.id in self._tasks or time.monotonic() < self._rests_until.get(key.id, 0):
            return
        task = self._tasks[key.id] = asyncio.create_task(self._touch(key.id), context=Context())
        task.add_done_callback(lambda _: self._tasks.pop(key.id))

    async def close(self) -> None:
        """Give up what is not noted yet."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _touch(self, key_id: UUID) -> None:
        try:
            await self._database.write(self._touch_one, key_id)
        except ServiceUnavailable as problem:
            self._rests_until[key_id] = time.monotonic() + LAST_USED_SECONDS
            log.warning("the last use of a key was not noted", reason=problem.detail)


def _meant(tx: Transaction, text: str) -> Sequence[ApiKey]:
    """Find the keys that a text may mean, of those that can be revoked."""
    with suppress(ValueError):
        if found := _unrevoked(tx, api_keys.c.id == UUID(text)):
            return found
    begins = BEGINNING.fullmatch(text)
    prefix = begins["prefix"] if begins else text[PREFIX] if is_well_formed(text) else ""
    found = _unrevoked(tx, or_(api_keys.c.prefix == prefix, api_keys.c.name == text.strip()))
    return [key for key in found if key.state == "valid"] or found


def _unrevoked(tx: Transaction, condition: ColumnElement[bool]) -> Sequence[ApiKey]:
    statement = select(*_COLUMNS).where(condition, api_keys.c.revoked_at.is_(None))
    return [_key(row) for row in tx.execute(statement.order_by(api_keys.c.id))]


_COLUMNS = [column for column in api_keys.c if column.name != "digest"]
#: By the prefix, of which there is one at most.
_BY_PREFIX = select(
    api_keys.c.id, api_keys.c.scopes, api_keys.c.last_used_at, api_keys.c.digest
).where(
    api_keys.c.prefix == bindparam("prefix"),
    api_keys.c.revoked_at.is_(None),
    or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now()),
)
_FIND = Prepared(lambda _: _BY_PREFIX)


def _key(row: Iterable[Any]) -> ApiKey:
    values = dict(zip((c.name for c in _COLUMNS), row, strict=True))
    values["scopes"] = frozenset(values["scopes"])
    return ApiKey(**values)


def _digest(text: str) -> str:
    # A plain hash is right here: the secret is random, so there is nothing to guess slowly.
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(body: str) -> str:
    number, characters = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, rest = divmod(number, len(ALPHABET))
        characters += ALPHABET[rest]
    return characters
