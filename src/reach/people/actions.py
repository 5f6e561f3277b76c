"""What operators do with people's records, by whatever way: each is noted in the audit trail."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from reach.auth import audit
from reach.auth.audit import Actor
from reach.db.transaction import Transaction
from reach.messages.model import Message
from reach.people import record, signup
from reach.people.model import Person
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
