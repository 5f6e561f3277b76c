"""Signed links: they let their holder act on one person's record, and nothing else.

A link's token names a person, a scope, the person's ``links_version`` and an end; it is minted when
an email is composed, and stored nowhere. It stops working at its end, when the person has their
links voided (the version counts up), and with the person. See docs/decisions/0010-links.md.

A token is ``rlt_`` and 56 characters of base64: the claims and their MAC. Earlier versions made
longer ones, which work until they end: docs/decisions/0063-short-tokens.md.
"""

import struct
import time
from dataclasses import dataclass
from typing import Any, Literal, get_args
from uuid import UUID

from itsdangerous import BadData, BadSignature
from itsdangerous.encoding import base64_decode, base64_encode
from sqlalchemy import ColumnElement, Integer, ScalarSelect, Text, column, select, table

from reach.auth.signing import Signer
from reach.db.types import Instant, Key
from reach.settings import Settings

Scope = Literal["confirm", "manage", "address", "unsubscribe"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

#: How a token begins: what must not hold one knows it by its look (see ``telemetry.logging``).
PREFIX = "rlt_"
#: What is signed: the person's id, the scope's first letter, the version, and the end in seconds
#: since 1970 (its high byte, then the others). With the MAC it is a multiple of three bytes: base64
#: then has no spare bits, and no padding.
CLAIMS = struct.Struct(">16sciBI")
MAC_BYTES = 16
CHARACTERS = len(PREFIX) + (CLAIMS.size + MAC_BYTES) * 4 // 3
#: Of earlier versions: these claims, a dot, and the whole signature. Each had 87 characters.
LONG_CLAIMS = struct.Struct(">16sciq")
LONG_CHARACTERS = 87
BY_LETTER = {scope[0].encode(): scope for scope in SCOPES}
#: Links that people keep for years, and that do nothing but stop emails: these have no end (all
#: that the claims can say), and stay good when others are voided.
ENDLESS: tuple[Scope, ...] = ("unsubscribe",)
NEVER = 2**40 - 1
#: The version of a link of scope ``unsubscribe``: of all that may be stopped.
ALL = 0

#: All that is to be known of people here.
_people = table(
    "people",
    column("id", Key),
    column("links_version", Integer),
    column("confirmed_at", Instant),
    column("language", Text),
    column("unsubscribed_at", Instant),
)


class BadLink(ValueError):
    """This is no link of ours, or one whose time is over."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a token says: whose record, what may be done, and which of their links it is.

    ``version`` is that of the person's links; of scope ``address``, the number of the change of
    address that the link is for; of scope ``unsubscribe``, ``ALL``.
    """

    person_id: UUID
    scope: Scope
    version: int

    @property
    def holder(self) -> str:
        """Name whom calls are counted for: a voided link uses up nobody else's limit."""
        return f"{self.person_id.hex}.{self.version}"


def version_of(person_id: ColumnElement[Any]) -> ScalarSelect[Any]:
    """The version that the links of somebody must have, for a statement about what is theirs."""
    return _of(person_id, _people.c.links_version)


def is_confirmed(person_id: ColumnElement[Any]) -> ScalarSelect[Any]:
    """Whether somebody has confirmed their address, for a statement about what is theirs."""
    return _of(person_id, _people.c.confirmed_at.is_not(None))


def language_of(person_id: ColumnElement[Any]) -> ScalarSelect[Any]:
    """Name the language of somebody, if it is known, for a statement about what is theirs."""
    return _of(person_id, _people.c.language)


def is_unsubscribed(person_id: ColumnElement[Any]) -> ScalarSelect[Any]:
    """Whether somebody has unsubscribed, for a statement about what is theirs."""
    return _of(person_id, _people.c.unsubscribed_at.is_not(None))


def _of(person_id: ColumnElement[Any], found: ColumnElement[Any]) -> ScalarSelect[Any]:
    statement = select(found).where(_people.c.id == person_id)
    return statement.correlate_except(_people).scalar_subquery()


class Links:
    """Mints and reads links, and knows the forms on their pages."""

    def __init__(self, settings: Settings) -> None:
        """Take the keys and the addresses from the settings. Raises BadSettings without a key."""
        self._tokens, self._forms = Signer(settings, "links-short"), Signer(settings, "forms")
        self._long_tokens = Signer(settings, "link-tokens")
        self._origin = settings.origin
        self.seconds = settings.link_seconds

    def mint(self, link: Link, made_at: float | None = None) -> str:
        """Make a link's token, which works from now on for ``REACH_LINK_DAYS``.

        ``made_at`` is when its email was promised (seconds since 1970): the link then works for as
        long after that, or, in an email that is late, after the last seventh of that time that is
        over. So a copy of an email is the same, byte by byte. One that is ``ENDLESS`` has no end.
        """
        end = NEVER if link.scope in ENDLESS else int(self._starts_at(made_at) + self.seconds)
        id_, letter = link.person_id.bytes, link.scope[0].encode()
        claims = CLAIMS.pack(id_, letter, link.version, end >> 32, end & 0xFFFFFFFF)
        mac = self._tokens.mac(claims, MAC_BYTES)
        return PREFIX + base64_encode(claims + mac).decode()

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
        if len(token) == LONG_CHARACTERS:
            try:
                self._long_tokens.unsign(token)
            except BadSignature:
                raise BadLink from None
        elif len(token) != CHARACTERS or not self._tokens.is_mac(*_parts(token)):
            raise BadLink
        link, end = _said(token)
        if end <= time.time():
            raise BadLink
        return link

    @staticmethod
    def seconds_left(token: str) -> int:
        """How long a token still works that was read a moment ago."""
        _, end = _said(token)
        return max(int(end - time.time()), 0)

    def form_proof(self, token: str) -> str:
        """Make what the forms on the page of a link hold, and no other page can know."""
        return self._forms.signature(token)

    def is_form_of(self, token: str, proof: str) -> bool:
        """Whether a form that holds ``proof`` is from the page of a link."""
        return self._forms.is_signature(token, proof)


def _parts(token: str) -> tuple[bytes, bytes]:
    """Take a token apart: its claims and its MAC. Raises BadLink if it is spelled otherwise.

    base64's readers pass over what they do not know, and take either alphabet.
    """
    try:
        raw = base64_decode(token.removeprefix(PREFIX))
    except BadData:
        raise BadLink from None
    if PREFIX + base64_encode(raw).decode() != token:
        raise BadLink
    return raw[: CLAIMS.size], raw[CLAIMS.size :]


def _said(token: str) -> tuple[Link, int]:
    """Read what is in a token, and when it ends. Raises BadLink if another version wrote it."""
    try:
        if len(token) == LONG_CHARACTERS:
            text = token.partition(".")[0].removeprefix(PREFIX)
            person_id, letter, version, end = LONG_CLAIMS.unpack(base64_decode(text))
        else:
            person_id, letter, version, high, low = CLAIMS.unpack(_parts(token)[0])
            end = high << 32 | low
        return Link(UUID(bytes=person_id), BY_LETTER[letter], version), end
    except (BadData, struct.error, KeyError):
        raise BadLink from None
