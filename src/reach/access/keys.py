"""Operators' API keys: made once, shown once, stored as a digest.

A key is ``rk_`` + 8 characters of prefix (its public name) + 32 of secret + 6 of checksum.
The checksum lets junk be refused without a look-up.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Table, Text, bindparam, insert, or_, select, update

from reach.db.columns import Document, Instant, Key, metadata, now
from reach.db.engine import Transaction
from reach.db.identifiers import new_id
from reach.problems import Problem

ALPHABET = string.ascii_letters + string.digits
PREFIX_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 8, 32, 6
SHAPE = re.compile(rf"rk_([0-9A-Za-z]{{{PREFIX_LENGTH + SECRET_LENGTH}}})([0-9A-Za-z]{{6}})")

SCOPES = ("people:read", "people:write", "messages:read", "messages:write", "keys:write")
#: How stale ``last_used_at`` may be: a write for every request would be too dear.
LAST_USED_SECONDS = 60

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


class NoSuchKey(Problem):
    """No key has this prefix or name, or it was revoked before."""

    status, type, title = 404, "no-such-key", "There is no such key"


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
        prefix=_prefix(text),
        digest=_digest(text),
        scopes=sorted(scopes),
        created_at=now(),
        expires_at=expires_at,
    )
    return _key(tx.execute(statement.returning(*_COLUMNS)).one())


def find(tx: Transaction, text: str) -> ApiKey | None:
    """Find the key that ``text`` is, if it is valid now: known, not revoked, not expired."""
    if not is_well_formed(text):
        return None
    row = tx.execute(_FIND, {"prefix": _prefix(text)}).one_or_none()
    if row is None or not hmac.compare_digest(row.digest, _digest(text)):
        return None
    return _key(row[:-1])


def is_stored(tx: Transaction, text: str) -> bool:
    """Whether a key is known at all, be it revoked or expired."""
    rows = tx.execute(select(api_keys.c.digest).where(api_keys.c.prefix == _prefix(text)))
    return any(hmac.compare_digest(row.digest, _digest(text)) for row in rows)


def touch(tx: Transaction, key_id: UUID) -> None:
    """Note that a key was used just now, unless another caller has noted it meanwhile."""
    used = api_keys.c.last_used_at
    is_stale = or_(used.is_(None), used < now(-LAST_USED_SECONDS))
    statement = update(api_keys).where(api_keys.c.id == key_id, is_stale)
    tx.execute(statement.values(last_used_at=now()))


def revoke(tx: Transaction, prefix_or_name: str) -> Sequence[ApiKey]:
    """Revoke the keys of this prefix (``rk_`` may lead) or name. Raises NoSuchKey."""
    wanted = prefix_or_name.removeprefix("rk_")[:PREFIX_LENGTH]
    statement = (
        update(api_keys)
        .where(
            api_keys.c.revoked_at.is_(None),
            or_(api_keys.c.prefix == wanted, api_keys.c.name == prefix_or_name),
        )
        .values(revoked_at=now())
        .returning(*_COLUMNS)
    )
    revoked = [_key(row) for row in tx.execute(statement)]
    if not revoked:
        raise NoSuchKey
    return revoked


def all_keys(tx: Transaction) -> Sequence[ApiKey]:
    """Every key, the oldest first."""
    return [_key(row) for row in tx.execute(select(*_COLUMNS).order_by(api_keys.c.id))]


_COLUMNS = [column for column in api_keys.c if column.name != "digest"]
_FIND = select(*_COLUMNS, api_keys.c.digest).where(
    api_keys.c.prefix == bindparam("prefix"),
    api_keys.c.revoked_at.is_(None),
    or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now()),
)


def _key(row: Iterable[Any]) -> ApiKey:
    values = dict(zip((c.name for c in _COLUMNS), row, strict=True))
    values["scopes"] = frozenset(values["scopes"])
    return ApiKey(**values)


def _prefix(text: str) -> str:
    return text[3 : 3 + PREFIX_LENGTH]


def _digest(text: str) -> str:
    # A plain hash is right here: the secret is random, so there is nothing to guess slowly.
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(body: str) -> str:
    number, characters = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, rest = divmod(number, len(ALPHABET))
        characters += ALPHABET[rest]
    return characters
