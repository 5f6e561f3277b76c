"""Consent evidence: what people agreed to, when, through which form, in which language, from where.

It is kept in their own row, so a sign-up needs no statement more for it, and what erases somebody
erases it. What a form said is much longer, and the same for many: each wording is kept once, and
holds nothing of anybody.

Who signs up again whose record nobody but strangers has a hand in, gives new evidence: the first
one to type the address may have been somebody else. Once it is confirmed, it stays.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any, Literal, get_args
from uuid import UUID

from sqlalchemy import Column, Executable, Table, Text, func, select
from sqlalchemy.dialects import postgresql, sqlite

from reach.db.prepared import Prepared
from reach.db.transaction import Transaction, after_commit
from reach.db.types import Instant, encode, metadata, now, rows
from reach.people.model import people

#: The hosted page; a frame or a script on the maker's site; a form of their own that sends to the
#: page; the API; an operator, who said so; a list from elsewhere.
Form = Literal["page", "frame", "script", "site", "api", "operator", "import"]
FORMS: tuple[Form, ...] = get_args(Form)
#: Enough that two wordings of one service never have the same.
ID_DIGITS = 16
#: How long the words are in which an operator says where an imported list is from.
SOURCE_LENGTH = 200

consent_wordings = Table(
    "consent_wordings",
    metadata,
    Column("id", Text, primary_key=True),
    Column("text", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
)
_wordings = consent_wordings.c


@dataclass(frozen=True, slots=True)
class Wording:
    """What a form said, as text; ``id`` is a digest of it."""

    id: str
    text: str

    @classmethod
    def of(cls, text: str) -> "Wording":
        """Take a text."""
        return cls(sha256(text.encode()).hexdigest()[:ID_DIGITS], text)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a consent when it is given.

    ``origin`` is the web site whose page had the form, if that was not ours. ``source`` is what an
    operator says of an imported list. ``network`` is part of the client's address.
    """

    form: Form
    language: str | None = None
    origin: str | None = None
    source: str | None = None
    network: str | None = field(default=None, repr=False)
    wording: Wording | None = None

    def stored(self) -> dict[str, str]:
        """Give what is kept in a person's row: what is known, and nothing else."""
        kept: dict[str, str] = {"form": self.form}
        if self.language is not None:
            kept["language"] = self.language
        if self.origin is not None:
            kept["origin"] = self.origin
        if self.source is not None:
            kept["source"] = self.source
        if self.network is not None:
            kept["network"] = self.network
        if self.wording is not None:
            kept["wording"] = self.wording.id
        return kept


@dataclass(frozen=True, slots=True)
class Consent:
    """What somebody agreed to.

    Of those who signed up before this was kept only the times are known; so ``form`` is None.
    ``wording`` is what the form said, where that was ours to say.
    """

    form: Form | None
    wording: str | None
    language: str | None
    origin: str | None
    source: str | None
    network: str | None = field(repr=False)
    consented_at: datetime
    confirmed_at: datetime | None


_FIND = select(
    people.c.consent,
    func.coalesce(people.c.consented_at, people.c.created_at, type_=Instant()).label("at"),
    people.c.confirmed_at,
    _wordings.text,
).select_from(
    people.outerjoin(consent_wordings, _wordings.id == people.c.consent["wording"].as_string())
)


def of(tx: Transaction, person_id: UUID) -> Consent | None:
    """Find what a person agreed to; None if there is nobody."""
    row = tx.execute(_FIND.where(people.c.id == person_id)).one_or_none()
    if row is None:
        return None
    kept: Mapping[str, Any] = row.consent or {}
    named = {name: kept.get(name) for name in ("form", "language", "origin", "source", "network")}
    return Consent(**named, wording=row.text, consented_at=row.at, confirmed_at=row.confirmed_at)


@Prepared
def _keep(dialect: str) -> Executable:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    given = rows(dialect, _wordings.id, _wordings.text)
    source = select(given.c.id, given.c.text, now()).where(given.c.id.is_not(None))
    added = insert(consent_wordings).from_select(
        ["id", "text", "created_at"], source.order_by(given.c.id)
    )
    return added.on_conflict_do_nothing()


class Wordings:
    """Keeps what forms say, in the transaction of the first sign-up that refers to it.

    A process remembers what it has kept: later sign-ups pay nothing.
    """

    def __init__(self) -> None:
        """Have kept nothing yet."""
        self._kept: set[str] = set()

    def keep(self, tx: Transaction, given: Iterable[Wording]) -> None:
        """Write down those that are not known to be. Nothing else may be locked yet."""
        new = {one.id: one.text for one in given if one.id not in self._kept}
        if new:
            values = [{"id": id_, "text": text} for id_, text in new.items()]
            _keep.rows(tx, {"rows": encode(tx.dialect.name, values)})
            after_commit(tx, partial(self._kept.update, new))
