"""What becomes of messages by what is reported of them after they were sent.

A report may come before the outcome is recorded of the attempt that it is about.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Protocol
from uuid import UUID

from sqlalchemy import Column, Executable, Text, and_, or_, select, text, update

from reach.db.transaction import Transaction
from reach.db.types import beside, encode, rows
from reach.messages.model import Reported, State, messages, reports

#: The longest that is kept of what was said.
CHARACTERS = 500


class Said(Protocol):
    """A mail server's reply, as a report has it."""

    @property
    def smtp_code(self) -> int | None:
        """Its code."""

    @property
    def enhanced_code(self) -> str | None:
        """Its enhanced code."""

    @property
    def text(self) -> str:
        """Its words."""


def words_of(reply: Said) -> str:
    """Give all that was said, as people read it: ``550 5.1.1 No such user``."""
    codes = (str(reply.smtp_code or ""), reply.enhanced_code or "")
    said = reply.text
    for code in codes:
        said = said.removeprefix(code).lstrip(" -")
    return " ".join(filter(None, (*codes, said)))[:CHARACTERS]


@cache
def _follow(dialect: str) -> Executable:
    """A complaint comes after all else; a bounce after the mail server has taken the message."""
    given = rows(dialect, messages.c.id, messages.c.state, Column("words", Text))
    was = messages.c.state
    follows = or_(
        and_(given.c.state == "bounced", was == text("'sent'")),
        and_(given.c.state == "complained", was.in_(["sent", "bounced"])),
    )
    return (
        update(messages)
        .where(messages.c.id == given.c.id, beside(follows))
        .values(state=given.c.state, last_error=given.c.words)
    )


def follow(tx: Transaction, told: Sequence[tuple[UUID, str, Said]]) -> None:
    """Have messages, which are locked, be in the state that their reports tell of."""
    changes: list[dict[str, object]] = [
        {"id": id_, "state": kind, "words": words_of(said)} for id_, kind, said in told
    ]
    if changes:
        tx.execute(_follow(tx.dialect.name), {"rows": encode(tx.dialect.name, changes)})


@cache
def _find(dialect: str) -> Executable:
    """For each message a look in the key's index: a join would read a small table as a whole."""
    given = rows(dialect, messages.c.id)
    kind = reports.c.kind
    is_meant = or_(kind == text("'bounced'"), kind == text("'complained'"))
    # By name, a complaint is the last; and it says more.
    last = select(kind).where(reports.c.message_id == given.c.id, is_meant).order_by(kind.desc())
    return select(given.c.id, last.limit(1).scalar_subquery().label("kind"))


def catch_up(tx: Transaction, sent: Collection[UUID]) -> Mapping[UUID, State]:
    """Have messages that were recorded as sent just now be what was reported of them before.

    By a statement of its own, after they are locked: what locked them until then may have been a
    report, which a statement that had begun and waited for it would not see. Returns those that it
    changes.
    """
    given = encode(tx.dialect.name, [{"id": id_} for id_ in sorted(sent)])
    found = tx.execute(_find(tx.dialect.name), {"rows": given})
    last: dict[UUID, State] = {id_: kind for id_, kind in found if kind is not None}
    told: list[tuple[UUID, str, Said]] = []
    for id_, kind in last.items():
        of_it = select(reports).where(reports.c.message_id == id_, reports.c.kind == kind)
        told.append((id_, kind, Reported(**tx.execute(of_it).mappings().one())))
    follow(tx, told)
    return last
