"""What operators do with people's records, by whatever way: each is noted in the audit trail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from reach.auth import audit
from reach.auth.audit import Actor
from reach.db.transaction import Transaction
from reach.messages.model import Message
from reach.people import record, signup
from reach.people.consent import Evidence
from reach.people.model import Person
from reach.people.newcomers import Newcomer, add_all
from reach.people.schemas import SignUp
from reach.settings import Settings
from reach.web.preconditions import ANY, Conditions


def add(
    tx: Transaction, actor: Actor, request: SignUp, settings: Settings, *, welcome: bool = True
) -> Person:
    """Add a person. Raises AlreadySignedUp."""
    person = signup.add_person(tx, request, settings, welcome=welcome)
    audit.note(tx, actor, "person.add", person.id, welcome=welcome)
    return person


@dataclass(frozen=True, slots=True)
class Import:
    """What is said of a list from elsewhere as a whole, and of the transactions that add it.

    ``entry_id`` is of the audit trail's entry, once there is one. ``source`` is what the operator
    says of the list; what is said there of the people on it.
    """

    actor: Actor
    settings: Settings
    source: str | None
    details: Mapping[str, Any]
    welcome: bool
    entry_id: UUID | None = None


def add_list(tx: Transaction, newcomers: Sequence[Newcomer], of: Import) -> tuple[int, UUID]:
    """Add part of a list; returns how many were new, and the entry's id, for the next part.

    Who is known stays as they are, so a part that is added twice changes nothing.
    """
    consent = Evidence("import", source=of.source).stored()
    added = add_all(tx, newcomers, consent, of.settings, welcome=of.welcome)
    if of.entry_id is None:
        details = {**of.details, "welcome": of.welcome}
        return added, audit.note(tx, of.actor, "people.import", count=added, **details)
    if added:
        audit.count_more(tx, of.entry_id, added)
    return added, of.entry_id


def change(  # noqa: PLR0913 - as record.change, and who does it
    tx: Transaction,
    actor: Actor,
    person_id: UUID,
    wanted: Mapping[str, str | None],
    *,
    settings: Settings,
    conditions: Conditions = ANY,
) -> Person:
    """Change a person's record: see ``record.change``. What changes nothing is not noted."""
    before = record.lock(tx, person_id, conditions)
    fields = sorted(name for name, new in wanted.items() if new != getattr(before, name))
    person = record.change(tx, person_id, wanted, settings)
    if fields:
        audit.note(tx, actor, "person.change", person_id, fields=fields)
    return person


def erase(tx: Transaction, actor: Actor, person_id: UUID, conditions: Conditions = ANY) -> None:
    """Delete a person with all that is stored of them: see ``record.erase``."""
    record.erase(tx, person_id, conditions)
    audit.note(tx, actor, "person.erase", person_id)


def send(  # noqa: PLR0913 - as record.promise, and who does it
    tx: Transaction,
    actor: Actor,
    person_id: UUID,
    template: str,
    data: Mapping[str, Any],
    *,
    settings: Settings,
) -> Message:
    """Promise a person a message: see ``record.promise``."""
    message = record.promise(tx, person_id, template, data, settings)
    audit.note(tx, actor, "message.send", message.id, person_id=str(person_id), template=template)
    return message
