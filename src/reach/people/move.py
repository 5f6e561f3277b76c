"""Moving a record to another address: asked for, said yes to in the new mailbox, or stopped.

Nobody learns here whether the new address is known: it is not looked up before its owner says yes.
See docs/decisions/0062-change-of-address.md.
"""

from uuid import UUID

from reach.db.transaction import Transaction
from reach.events import noting
from reach.events.noting import Event
from reach.messages import budget, outbox, recipient_budget, suppressions
from reach.messages.outbox import Promise
from reach.people import address_changes, queries, record
from reach.people.address import EmailAddress, stored_recipient
from reach.people.address_changes import CONFIRM, TELL, TOLD, AddressChange
from reach.people.model import Person
from reach.people.record import Unconfirmed
from reach.problems import Conflict, QuotaExceeded
from reach.settings import Settings
from reach.texts import N_

REPLACED = "replaced by a newer change of address"
#: What who reads that mailbox can do.
FREE_IT = N_(
    "If that record is yours too, ask for a link to it and remove it there. Then this link works."
)


class AddressTaken(Conflict):
    """The new address has a record of its own here: two people cannot share one.

    Nothing was changed. Whose record it is can be seen with a link: `POST /v1/links`. Once that
    record is removed, the link in the email does what it says.
    """

    type, title = "address-taken", N_("This address has a record here already")


class AskedTooOften(QuotaExceeded):
    """You have asked for a change of address more often than this service sends emails for it."""

    def __init__(self, settings: Settings) -> None:
        """Say when the shortest window is over, at the latest."""
        window = settings.policies["mail_per_address"].windows[0]
        super().__init__(["mail-per-address"], {"Retry-After": str(window.seconds)})


def ask(tx: Transaction, person_id: UUID, wanted: EmailAddress, settings: Settings) -> None:
    """Note where the record of somebody who is locked is to move, and promise both emails.

    Or neither: within the mail budget of the new address, of which nobody is told. An earlier
    change is replaced, but for one to the same address, whose links stay good. Raises Unconfirmed;
    AskedTooOften beyond the person's own budget: then the earlier change stays as it is.
    """
    person = record.view(tx, person_id)
    if not record.may_get(person, CONFIRM, settings):
        raise Unconfirmed
    if not budget.within(tx, [person_id], settings, of=(CONFIRM,)):
        raise AskedTooOften(settings)
    had = address_changes.find(tx, person_id)
    is_same = had is not None and had.email == wanted.typed
    number = had.number if had is not None and is_same else address_changes.new_number()
    change = AddressChange(wanted.typed, wanted.key, number)
    address_changes.put(tx, person_id, change, seconds=settings.link_seconds)
    is_within = recipient_budget.take(tx, wanted.key, settings)
    if is_within or not is_same:
        outbox.supersede(tx, person_id, (CONFIRM, TELL), reason=REPLACED)
    if is_within:
        told = {"name": person.name, "new_address": wanted.typed}
        promises = [
            Promise(person_id, wanted.recipient, CONFIRM, {"change": number}),
            Promise(person_id, stored_recipient(person.email), TELL, told),
        ]
        outbox.promise(tx, promises, settings)


def reserve(tx: Transaction, change: AddressChange) -> bool:
    """Keep the new address for this transaction; False if it has a record.

    Before anybody is locked, as sign-ups add who is new before they lock who is known: then nobody
    waits in a circle. Somebody of no address stands in, whom no counter counts.
    """
    return queries.add_stand_in(tx, change.email_key)


def make(
    tx: Transaction, person_id: UUID, change: AddressChange, settings: Settings, *, reserved: bool
) -> Person:
    """Move the record of somebody who is locked to an address that said yes.

    Every link so far is void. What is still to be sent goes to the new address, and the former one
    is told. Raises AddressTaken.
    """
    person = record.view(tx, person_id)
    if reserved:
        queries.remove_stand_in(tx, change.email_key)
    elif queries.email_key(tx, person_id) != change.email_key:
        raise AddressTaken(FREE_IT)
    former = queries.email_key(tx, person_id)
    queries.move(tx, person_id, change.email, change.email_key)
    happened = [Event("person.changed", person_id, details={"fields": ["email"]})]
    if person.confirmed_at is None:
        happened.append(Event("person.confirmed", person_id))
    noting.note(tx, happened)
    # First what locks more of their messages: all lock them in the order of their ids.
    outbox.readdress(tx, person_id, stored_recipient(change.email), but=TOLD)
    record.stop_move(tx, person_id)
    if former is not None and former != change.email_key:
        suppressions.forget(tx, former)
    told = Promise(person_id, stored_recipient(person.email), TOLD, {"name": person.name})
    outbox.promise(tx, [told], settings)
    return record.view(tx, person_id)
