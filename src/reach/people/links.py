"""What people do by their links: ask for one, and act on their own record."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

from reach.auth.links import Link
from reach.db.transaction import Transaction
from reach.idempotency import stored
from reach.idempotency.stored import StoredResponse
from reach.people import address_changes, antispam, link_requests, move, queries, record
from reach.people.link_requests import Asked
from reach.people.model import Person
from reach.people.schemas import LINK_ON_ITS_WAY, LinkRequest, Submission
from reach.problems import Forbidden, Problem, Unauthorised
from reach.settings import Settings
from reach.texts import N_
from reach.web.preconditions import ANY, Conditions

R = TypeVar("R")
P = ParamSpec("P")


class LinkVoid(Unauthorised):
    """The request carries no link that works: it is too old, was voided, or never was one.

    Ask for a new one: `POST /v1/links`. Send what follows `token=` in it as
    `Authorization: Bearer …`.
    """

    type, title = "link-void", N_("This link does not work, or no longer")


class WrongLink(Forbidden):
    """The link works, but not for this: the one in a request to confirm can only confirm."""

    type, title = "wrong-link", N_("This link may not do that")


def find_holder(tx: Transaction, link: Link) -> Person:
    """Find whose link it is. Raises LinkVoid: voided meanwhile, or the person is gone."""
    if not is_current(tx, link, queries.links_version(tx, link.person_id)):
        raise LinkVoid
    found = queries.find(tx, link.person_id)
    if found is None:
        raise LinkVoid
    return with_change(tx, found)


def with_change(tx: Transaction, person: Person) -> Person:
    """Show somebody their own record: to which address it is to move as well, if to any."""
    return replace(person, change=address_changes.find(tx, person.id))


def is_current(tx: Transaction, link: Link, links_version: int | None) -> bool:
    """Whether a link still counts, by the version of its person's links, or by their change."""
    if link.scope != "address" or links_version is None:
        return links_version == link.version
    change = address_changes.find(tx, link.person_id)
    return change is not None and change.number == link.version


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
    if not is_current(tx, link, queries.lock_links_version(tx, link.person_id)):
        raise LinkVoid
    return use(tx, link.person_id, *args, **kwargs)


def move_to_new(tx: Transaction, link: Link, settings: Settings) -> Person:
    """Move a record to the address that the link was sent to. Raises LinkVoid; AddressTaken."""
    change = address_changes.find(tx, link.person_id)
    if link.scope != "address" or change is None or change.number != link.version:
        raise LinkVoid
    reserved = move.reserve(tx, change)
    return act(tx, link, move.make, change, settings, reserved=reserved)


def export(tx: Transaction, link: Link) -> dict[str, Any]:
    """Give the holder of a link everything that is stored of them. Raises LinkVoid."""
    return record.export(tx, find_holder(tx, link).id)


def request_links_all(
    tx: Transaction, submissions: Sequence[Submission[LinkRequest]], settings: Settings
) -> Sequence[StoredResponse | Problem]:
    """Write down that links were asked for: a row for each, for any address.

    Whose it is is not looked up here: so nobody can tell by the answer, nor by its time. A worker
    does (see ``people.link_requests``). For keys and proofs see ``signup.sign_up_all``.
    """
    claims = stored.claim_all(tx, submissions)
    if not claims.to_do:
        return claims.keep(tx, ())
    admitted: Sequence[Submission[LinkRequest]] = claims.to_do
    responses: Sequence[StoredResponse | Problem] = [LINK_ON_ITS_WAY] * len(admitted)
    if settings.altcha:
        admitted, responses = antispam.admit(tx, admitted, LINK_ON_ITS_WAY)
    link_requests.add(tx, [Asked(one.form.email.key, one.trace_context) for one in admitted])
    return claims.keep(tx, responses)


def erase(tx: Transaction, link: Link, conditions: Conditions = ANY) -> None:
    """Erase the holder of a link. Raises LinkVoid; PreconditionFailed.

    What strangers asked for first, before the person is locked: see ``record.forget_asked``.
    """
    record.forget_asked(tx, link.person_id)
    act(tx, link, record.remove, conditions)
