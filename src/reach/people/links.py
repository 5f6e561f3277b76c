"""What people do by their links: ask for one, and act on their own record."""

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PrivateAttr

from reach.auth.links import Link
from reach.db.transaction import Transaction
from reach.idempotency.stored import Answer
from reach.people import link_requests, queries, record
from reach.people.link_requests import Asked
from reach.people.model import Person
from reach.people.signup import Address, Knock, answer_each
from reach.problems import Forbidden, Problem, Unauthorised
from reach.settings import Settings
from reach.telemetry.trace_context import current_header
from reach.web.preconditions import ANY, Conditions

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
) -> Sequence[Answer | Problem]:
    """Do what everybody asks for who did not ask by the same key before."""
    return answer_each(tx, knocks, lambda new: request_links_all(tx, new), settings, answer)


def request_links_all(tx: Transaction, requests: Sequence[LinkRequest]) -> Sequence[None]:
    """Write down that links were asked for: a row for each, whoever's address it is.

    Whose it is, nobody looks up here; so nobody can tell by the answer, nor by its time. A worker
    does (see ``people.link_requests``).
    """
    link_requests.add(tx, [Asked(one.email.key, one.trace_context) for one in requests])
    return [None] * len(requests)


def erase(tx: Transaction, link: Link, conditions: Conditions = ANY) -> None:
    """Erase the holder of a link. Raises LinkVoid; PreconditionFailed.

    What strangers asked for first, before the person is locked: see ``record.forget_asked``.
    """
    record.forget_asked(tx, link.person_id)
    act(tx, link, record.remove, conditions)
