"""Signed links: they let their holder act on one person's record, and nothing else.

A link's token names a person, a scope and the person's ``links_version``; it is minted when an
email is composed, and stored nowhere. It ends by its date, when the person has their links
voided (the version counts up), and with the person. See docs/decisions/0010-links.md.
"""

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import Any, Literal, get_args
from uuid import UUID

import jwt
from sqlalchemy import ColumnElement, Integer, ScalarSelect, column, select, table

from reach.access.signing import Signer
from reach.db.types import Instant, Key
from reach.settings import Settings

Scope = Literal["confirm", "manage"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

DAY_SECONDS = 86_400
#: Ours have about 200: more is not worth a look.
MOST_CHARACTERS = 512
ALGORITHM = "HS256"
CLAIMS = ["sub", "scope", "version", "exp"]

#: All that is to be known of people here.
_people = table(
    "people", column("id", Key), column("links_version", Integer), column("confirmed_at", Instant)
)


class BadLink(ValueError):  # noqa: N818 - an expected failure, as Problem is
    """This is no link of ours, or one whose time is over."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a token says: whose record, what may be done, and which of their links it is."""

    person_id: UUID
    scope: Scope
    version: int

    @property
    def holder(self) -> str:
        """Whom calls are counted for: whoever holds a voided link uses up nobody else's."""
        return f"{self.person_id.hex}.{self.version}"


def version_of(person_id: ColumnElement[Any]) -> ScalarSelect[Any]:
    """The version that the links of somebody must have, for a statement about what is theirs."""
    return _of(person_id, _people.c.links_version)


def is_confirmed(person_id: ColumnElement[Any]) -> ScalarSelect[Any]:
    """Whether somebody has confirmed their address, for a statement about what is theirs."""
    return _of(person_id, _people.c.confirmed_at.is_not(None))


def _of(person_id: ColumnElement[Any], found: ColumnElement[Any]) -> ScalarSelect[Any]:
    statement = select(found).where(_people.c.id == person_id)
    return statement.correlate_except(_people).scalar_subquery()


class Links:
    """Mints and reads links."""

    def __init__(self, settings: Settings) -> None:
        """Take the keys and the addresses from the settings. Raises BadSettings without a key."""
        self._keys = Signer(settings, "links").keys
        self._origin = settings.origin
        self.seconds = settings.link_days * DAY_SECONDS

    def mint(self, link: Link, made_at: float | None = None) -> str:
        """Make a link's token, which works from now on for ``REACH_LINK_DAYS``.

        ``made_at`` is when its email was promised (seconds since 1970): the link then works for as
        long after that, or, in an email that is late, after the last seventh of that time that is
        over. So a copy of an email is the same, byte by byte.

        By hand: PyJWT takes 14 µs, this takes 4, and an email of 100 µs has two.
        """
        claims = (
            f'{{"sub":"{link.person_id.hex}","scope":"{link.scope}",'
            f'"version":{link.version},"exp":{int(self._starts_at(made_at) + self.seconds)}}}'
        )
        signed = _HEADER + b"." + _base64(claims.encode())
        signature = hmac.digest(self._keys[0], signed, hashlib.sha256)
        return (signed + b"." + _base64(signature)).decode()

    def url(self, link: Link, made_at: float | None = None) -> str:
        """Make a link: the page named like its scope, with a token."""
        return f"{self._origin}/{link.scope}?token={self.mint(link, made_at)}"

    def _starts_at(self, made_at: float | None) -> float:
        now = time.time()
        if made_at is None:
            return now
        step = self.seconds / 7
        return made_at + max(0.0, (now - made_at) // step * step)

    def read(self, token: str) -> Link:
        """Read a token. Raises BadLink: junk, another's signature, or too old.

        Whether its version still counts, only the database knows.
        """
        if len(token) > MOST_CHARACTERS or not _is_canonical(token.rpartition(".")[2]):
            raise BadLink
        for key in self._keys:
            try:
                claims = jwt.decode(token, key, [ALGORITHM], options={"require": CLAIMS})
                return _link(claims["sub"], claims["scope"], claims["version"])
            except jwt.InvalidSignatureError:
                continue
            except (jwt.InvalidTokenError, ValueError):
                break
        raise BadLink

    @staticmethod
    def seconds_left(token: str) -> int:
        """How long a token still works that was read a moment ago."""
        claims = jwt.decode(token, options={"verify_signature": False})
        return max(int(claims["exp"] - time.time()), 0)


def _link(subject: object, scope: object, version: object) -> Link:
    """Check claims that only we can have signed: another version of ours may have."""
    known = next((known for known in SCOPES if known == scope), None)
    if not isinstance(subject, str) or known is None or not isinstance(version, int):
        raise BadLink
    return Link(UUID(subject), known, version)


def _is_canonical(signature: str) -> bool:
    """Whether a signature is written as we write it.

    In its last character are bits that mean nothing, and readers of base64 skip what they do not
    know: so one signature could be written in several ways.
    """
    try:
        raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    except ValueError:
        return False
    return _base64(raw) == signature.encode()


def _base64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


_HEADER = _base64(b'{"alg":"HS256","typ":"JWT"}')
