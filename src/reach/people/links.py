"""What people do by their links: ask for one, and act on their own record."""

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PrivateAttr

from reach.access.answers import Answer, KeyReused
from reach.access.links import Link
from reach.db.engine import Transaction
from reach.db.identifiers import new_id
from reach.messages import budget, outbox
from reach.messages.outbox import Promise
from reach.people import proofs, queries, record
from reach.people.address import stored_recipient
from reach.people.conditions import ANY, Conditions
from reach.people.model import Person
from reach.people.queries import Known, NewPerson
from reach.people.signup import Address, Knock, answer_each
from reach.problems import Forbidden, Unauthorised
from reach.settings import Settings
from reach.telemetry.trace_context import current_header

R = TypeVar("R")
P = ParamSpec("P")


class LinkVoid(Unauthorised):
    """The request carries no link that works: it is too old, was voided, or never was one.

    Ask for a new one: `POST /v1/links`. Send what follows `token=` in it as
    `Authorization: Bearer …`.
    """

    type, title = "link-void", "This link does not work, or no longer"


class WrongLink(Forbidden):
    """The link works, but not for this: the one in a request to confirm can only confirm."""

    type, title = "wrong-link", "This link may not do that"


class LinkRequest(BaseModel):
    """Whose link is asked for."""

    # As for SignUp: make one with ``bodies.guard.validate``.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    email: Address
    _trace_context: str | None = PrivateAttr(default_factory=current_header)

    @property
    def trace_context(self) -> str | None:
        """Which request it is, as for SignUp."""
        return self._trace_context


def find_holder(tx: Transaction, link: Link) -> Person:
    """Find whose link it is. Raises LinkVoid: voided meanwhile, or the person is gone."""
    if queries.links_version(tx, link.person_id) != link.version:
        raise LinkVoid
    found = queries.find(tx, link.person_id)
    if found is None:
        raise LinkVoid
    return found


def act(
    tx: Transaction,
    link: Link,
    use: Callable[Concatenate[Transaction, UUID, P], R],
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    """Do ``use(tx, person_id, …)`` for the holder of a link. Raises LinkVoid, and what it raises.

    The person is locked first: a link that is voided at the same moment has changed the record
    before that, or changes nothing.
    """
    if queries.lock_links_version(tx, link.person_id) != link.version:
        raise LinkVoid
    return use(tx, link.person_id, *args, **kwargs)


def export(tx: Transaction, link: Link) -> dict[str, Any]:
    """Give the holder of a link everything that is stored of them. Raises LinkVoid."""
    return record.export(tx, find_holder(tx, link).id)


def ask_all(
    tx: Transaction, knocks: Sequence[Knock[LinkRequest]], settings: Settings, answer: Answer
) -> Sequence[Answer | KeyReused]:
    """Do what everybody asks for who did not ask by the same key before."""
    return answer_each(tx, knocks, lambda new: request_links_all(tx, new, settings), answer)


def request_links_all(
    tx: Transaction, requests: Sequence[LinkRequest], settings: Settings
) -> Sequence[UUID | None]:
    """Promise a ``manage-link`` message to each whose address is known.

    The same is done for all, so that neither the answer nor the time tells a stranger whether an
    address is known: each request adds a stand-in and a message, and the stand-in is removed
    again in the same transaction, with the message if it is nobody else's. So each makes a durable
    write, and each wakes a worker.
    """
    admitted = proofs.use(tx, requests) if settings.altcha else requests
    asked = {request.email.key: request for request in admitted}
    wanted = sorted(asked)
    owners = {one.email_key: one for one in queries.lock_known(tx, wanted)}
    within = budget.within(tx, [one.id for one in owners.values()], settings)
    known = {key: one for key, one in owners.items() if one.id in within}
    stand_ins = {key: _stand_in() for key in wanted}
    queries.add_if_new(tx, stand_ins.values())
    promises = [_manage_link(asked[key], known.get(key), stand_ins[key]) for key in wanted]
    outbox.promise(tx, promises, settings)
    queries.remove(tx, [stand_in.id for stand_in in stand_ins.values()])
    return [owners[r.email.key].id if r.email.key in owners else None for r in requests]


def erase(tx: Transaction, link: Link, settings: Settings, conditions: Conditions = ANY) -> None:
    """Erase the holder of a link. Raises LinkVoid; PreconditionFailed.

    Stored answers first, before the person is locked: whoever claims a key locks in that order.
    """
    record.forget_answers(tx, link.person_id, settings)
    act(tx, link, record.remove, conditions)


def _stand_in() -> NewPerson:
    """Make up somebody of no address, and so of nobody's."""
    id_ = new_id()
    return NewPerson(id_, email="", email_key=id_.hex, name="", description=None, greeted=False)


def _manage_link(asked: LinkRequest, person: Known | None, stand_in: NewPerson) -> Promise:
    """Promise the owner of an address a link, or else a stand-in a message to nobody.

    The owner's address is written as they wrote it: another spelling might be another mailbox.
    """
    # It takes 15 µs, so it is done for who is unknown as well.
    typed = person.email if person else asked.email.typed
    recipient = stored_recipient(typed)
    if person is None:
        return Promise(stand_in.id, "", "manage-link", {"name": ""}, asked.trace_context)
    data = {"name": person.name}
    return Promise(person.id, recipient, "manage-link", data, asked.trace_context)
