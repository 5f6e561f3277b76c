"""Emails that people may stop: those of the templates that ``REACH_UNSUBSCRIBE_TEMPLATES`` names.

One wish counts for all of them: many makers have a template for each of their emails, and somebody
who has said no to one would get the next.
"""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, func, select, update

from reach.db.transaction import Transaction
from reach.db.types import Key, now
from reach.messages import outbox
from reach.people.model import people
from reach.problems import Conflict
from reach.settings import Settings
from reach.texts import N_

#: What operators see of a message that was queued.
REASON = "Not sent: the person has unsubscribed."
_FIND = select(people.c.email, people.c.language, people.c.unsubscribed_at).where(
    people.c.id == bindparam("person_id", type_=Key)
)


class Unsubscribed(Conflict):
    """This person has unsubscribed from emails of such templates (`REACH_UNSUBSCRIBE_TEMPLATES`).

    Only they can have them sent again: by the link in an earlier one, or on the page of their
    record.
    """

    type, title = "unsubscribed", N_("This person has unsubscribed")


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether somebody gets emails that they may stop: not any more, since ``unsubscribed_at``."""

    email: str = field(repr=False)
    language: str | None
    unsubscribed_at: datetime | None


def find(tx: Transaction, person_id: UUID) -> Standing | None:
    """Find where somebody stands; None if there is nobody."""
    row = tx.execute(_FIND, {"person_id": person_id}).one_or_none()
    return None if row is None else Standing(*row)


def since(tx: Transaction, person_id: UUID) -> datetime | None:
    """When somebody unsubscribed; None if they did not."""
    found = find(tx, person_id)
    return found.unsubscribed_at if found else None


def stop(tx: Transaction, person_id: UUID, settings: Settings) -> Standing | None:
    """Send somebody no more such emails, those neither that are queued; None if there is nobody.

    The person is locked first, as by who promises them one: that is ended here, or refused there.
    One that a worker is sending at this moment ends as ``sent`` if the mail server takes it. It is
    no change of the record: its version stays, and so does what an operator has read of it.
    """
    statement = update(people).where(people.c.id == person_id)
    first = func.coalesce(people.c.unsubscribed_at, now())
    tx.execute(statement.values(unsubscribed_at=first))
    templates = settings.stoppable
    outbox.supersede(tx, person_id, templates, reason=REASON, state="suppressed")
    return find(tx, person_id)


def resume(tx: Transaction, person_id: UUID) -> Standing | None:
    """Send somebody such emails again from now on; what was ended stays so."""
    statement = update(people).where(people.c.id == person_id)
    tx.execute(statement.values(unsubscribed_at=None))
    return find(tx, person_id)


def require_wanted(tx: Transaction, person_id: UUID) -> None:
    """Raise Unsubscribed if somebody who is locked has unsubscribed."""
    if since(tx, person_id) is not None:
        raise Unsubscribed
