"""A person's record: view, change, confirm, export, erase; and what an operator promises them."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from pydantic_core import to_jsonable_python

from reach.db.transaction import Transaction
from reach.events import noting
from reach.events.noting import Event
from reach.idempotency import stored as stored_responses
from reach.messages import outbox, suppressions
from reach.messages.budget import BY_OPERATOR
from reach.messages.model import STRANGERS, Message
from reach.messages.outbox import Promise
from reach.people import address_changes, consent, link_requests, queries, unsubscribe
from reach.people.address import stored_recipient
from reach.people.address_changes import CONFIRM, TELL
from reach.people.model import Person
from reach.problems import Conflict, NotFound, Unprocessable
from reach.settings import Settings
from reach.texts import N_
from reach.web.preconditions import ANY, Conditions


class NoSuchPerson(NotFound):
    """Nobody has this id, or they have been removed."""

    type, title = "no-such-person", "There is no such person"


class Unconfirmed(Conflict):
    """This person has not confirmed their address, and `REACH_CONFIRM` says that they must.

    Until then they get `welcome`, `already-signed-up` and `manage-link` messages only.
    """

    type, title = "unconfirmed", N_("This address is not confirmed")


def view(tx: Transaction, person_id: UUID) -> Person:
    """Find a person. Raises NoSuchPerson."""
    person = queries.find(tx, person_id)
    if person is None:
        raise NoSuchPerson
    return person


def change(
    tx: Transaction,
    person_id: UUID,
    wanted: Mapping[str, str | None],
    settings: Settings,
    conditions: Conditions = ANY,
) -> Person:
    """Change a person's record and promise the email that says so, both or neither.

    No email is promised to whom none may go: see ``may_get``.
    ``wanted`` maps fields (name, description) to values; what is the same already is no
    change. Raises NoSuchPerson; PreconditionFailed.
    """
    person = lock(tx, person_id, conditions)
    fields = {name: new for name, new in wanted.items() if new != getattr(person, name)}
    if not fields:
        return person
    queries.change(tx, person_id, fields)
    noting.note(tx, [Event("person.changed", person_id, details={"fields": sorted(fields)})])
    if not may_get(person, "changed", settings):
        return view(tx, person_id)
    recipient = stored_recipient(person.email)
    name = fields.get("name") or person.name
    data = {"name": name, "fields": sorted(fields)}
    outbox.promise(tx, [Promise(person_id, recipient, "changed", data)], settings)
    return view(tx, person_id)


def confirm(tx: Transaction, person_id: UUID) -> Person:
    """Note that a person's address is theirs; once is enough. Raises NoSuchPerson.

    If mail to it came back before they signed up again, it is sent there again.
    """
    if queries.confirm(tx, person_id):
        noting.note(tx, [Event("person.confirmed", person_id)])
    suppressions.lift_bounce(tx, person_id)
    return view(tx, person_id)


def void_links(tx: Transaction, person_id: UUID) -> None:
    """Make every link so far of a person's void, that to a new address too. Raises NoSuchPerson.

    Who had one of the others may have asked for that.
    """
    if not queries.void_links(tx, person_id):
        raise NoSuchPerson
    stop_move(tx, person_id)


def stop_move(tx: Transaction, person_id: UUID) -> None:
    """End the change of address of somebody who is locked, if one is under way.

    Its links do nothing more, and what was not sent of it stays unsent.
    """
    address_changes.remove(tx, person_id)
    outbox.supersede(tx, person_id, (CONFIRM, TELL), reason="the change of address is over")


def export(tx: Transaction, person_id: UUID) -> dict[str, Any]:
    """Everything that is stored of a person, fit for JSON. Raises NoSuchPerson."""
    row = queries.stored(tx, person_id)
    if row is None:
        raise NoSuchPerson
    found = {
        "person": dict(row),
        "messages": outbox.export(tx, person_id),
        "answers": stored_responses.export(tx, person_id),
        "link_requests": link_requests.export(tx, row["email_key"]),
        "address_changes": address_changes.export(tx, person_id),
        "consent": consent.of(tx, person_id),
        "events": noting.export(tx, person_id),
        "suppression": suppressions.export(tx, row["email_key"]),
    }
    plain: dict[str, Any] = to_jsonable_python(found)
    return plain


def erase(tx: Transaction, person_id: UUID, conditions: Conditions = ANY) -> None:
    """Delete a person with every message, attempt, stored answer and request for a link.

    Raises NoSuchPerson; PreconditionFailed.
    """
    forget_asked(tx, person_id)
    remove(tx, person_id, conditions)


def remove(
    tx: Transaction,
    person_id: UUID,
    conditions: Conditions = ANY,
) -> None:
    """Delete a person with every message and attempt: the part of ``erase`` that locks them."""
    if not conditions.is_any:
        lock(tx, person_id, conditions)
    key = queries.email_key(tx, person_id)
    if key is None or not queries.erase(tx, person_id):
        raise NoSuchPerson
    noting.forget(tx, person_id)
    noting.note(tx, [Event("person.erased", person_id)])
    suppressions.forget(tx, key)


def forget_asked(tx: Transaction, person_id: UUID) -> None:
    """Delete the answers that are stored about a person, and what waits to be looked up.

    First of all, before the person is locked: all who write or answer them lock in that order
    (see ``idempotency.stored.forget``).
    """
    row = queries.stored(tx, person_id)
    if row is not None:
        stored_responses.forget(tx, person_id)
        link_requests.forget(tx, row["email_key"])


def may_get(person: Person, template: str, settings: Settings) -> bool:
    """Whether such a message may be promised to a person: one may have to confirm first."""
    is_free = settings.confirm == "optional" or template in STRANGERS
    return is_free or person.confirmed_at is not None


def require_template(name: str, known: Collection[str]) -> None:
    """Raise Unprocessable unless there is a template of this name."""
    if name not in known:
        fault = {"pointer": "/template", "detail": f"Known are: {', '.join(sorted(known))}."}
        raise Unprocessable(errors=[fault])


def promise(
    tx: Transaction, person_id: UUID, template: str, data: Mapping[str, Any], settings: Settings
) -> Message:
    """Promise a person a message, for an operator.

    Raises NoSuchPerson; Unconfirmed; Unsubscribed, if they may stop such messages, and did.

    ``data`` is what the template needs; their name is there already.
    """
    person = lock(tx, person_id)
    if not may_get(person, template, settings):
        raise Unconfirmed
    if template in settings.stoppable:
        unsubscribe.require_wanted(tx, person_id)
    recipient = stored_recipient(person.email)
    words = {"name": person.name, **data, **BY_OPERATOR}
    (message_id,) = outbox.promise(tx, [Promise(person_id, recipient, template, words)], settings)
    return outbox.view(tx, message_id)


def lock(tx: Transaction, person_id: UUID, conditions: Conditions = ANY) -> Person:
    """Find a person whom nobody else changes until the transaction ends, if they are as wished."""
    person = queries.lock(tx, person_id)
    if person is None:
        raise NoSuchPerson
    conditions.require(person)
    return person
