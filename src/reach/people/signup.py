"""Signing up: the person and the email owed to them, in one transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationInfo,
    WithJsonSchema,
)

from reach.access.answers import Answer, Done, KeyReused, Once
from reach.access.idempotency import each_once
from reach.db.engine import Transaction, after_commit
from reach.db.identifiers import new_id
from reach.messages import outbox
from reach.messages.budget import BY_OPERATOR
from reach.messages.outbox import Promise
from reach.people import counts, proofs, queries
from reach.people.address import LONGEST, EmailAddress, parse_address, stored_recipient
from reach.people.model import Person
from reach.people.queries import Known, NewPerson
from reach.people.text import (
    DESCRIPTION_LENGTH,
    NAME_LENGTH,
    clean_description,
    clean_name,
)
from reach.problems import Problem, Unavailable
from reach.settings import Settings
from reach.telemetry.trace_context import current_header

R = TypeVar("R")

#: How often to look again for an address that was erased between two looks.
MOST_LOOKS = 5


def _address(value: Any, info: ValidationInfo) -> EmailAddress:
    if not isinstance(value, str):
        raise ValueError("Input should be a valid string")  # noqa: TRY004 - pydantic's way
    settings: Settings = (info.context or {})["settings"]
    return parse_address(value, smtputf8=settings.smtputf8, intranet=settings.intranet)


Address = Annotated[
    EmailAddress,
    PlainValidator(_address),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": LONGEST}),
]
Name = Annotated[
    str,
    AfterValidator(clean_name),
    Field(json_schema_extra={"minLength": 1, "maxLength": NAME_LENGTH}),
]
Description = Annotated[
    str,
    AfterValidator(clean_description),
    Field(json_schema_extra={"maxLength": DESCRIPTION_LENGTH}),
]


class SignUp(BaseModel):
    """What someone types to sign up."""

    # Its rules need the settings: make one with ``bodies.guard.validate``.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    email: Address
    name: Name
    description: Description | None = None
    _trace_context: str | None = PrivateAttr(default_factory=current_header)

    @property
    def trace_context(self) -> str | None:
        """Which request it is, for the message: many share a transaction, which is nobody's."""
        return self._trace_context


class AlreadySignedUp(Problem):
    """The address belongs to someone already."""

    status, type, title = 409, "already-signed-up", "This address is already signed up"


@dataclass(frozen=True, slots=True)
class Knock(Generic[R]):
    """What somebody asks for at the door, and the key that it may carry."""

    request: R
    once: Once | None = None


def answer_each(
    tx: Transaction,
    knocks: Sequence[Knock[R]],
    work: Callable[[Sequence[R]], Sequence[UUID | None]],
    answer: Answer,
) -> Sequence[Answer | KeyReused]:
    """Do ``work`` for those that were not done by the same key before: ``answer`` for each.

    ``work`` says whose each one was, as far as they are known.
    """

    def do(new: Sequence[Knock[R]]) -> Sequence[Done]:
        return [Done(answer, owner) for owner in work([knock.request for knock in new])]

    return each_once(tx, knocks, do)


def knock_all(
    tx: Transaction, knocks: Sequence[Knock[SignUp]], settings: Settings, answer: Answer
) -> Sequence[Answer | KeyReused]:
    """Sign everybody up who was not signed up by the same key before."""
    return answer_each(tx, knocks, lambda new: sign_up_all(tx, new, settings), answer)


def sign_up_all(
    tx: Transaction, requests: Sequence[SignUp], settings: Settings
) -> Sequence[UUID | None]:
    """Sign up each of ``requests``, or tell the address's owner that it was signed up before.

    Returns whose address it is, for each. Callers are told the same for both, so that nobody
    learns whether an address is known. Of several requests for one address the first counts.
    """
    owners: dict[str, UUID] = {}
    admitted = proofs.use(tx, requests) if settings.altcha else requests
    waiting = {request.email.key: request for request in reversed(admitted)}
    count_new = 0
    for _ in range(MOST_LOOKS):
        new = {key: _new_person(request, greeted=True) for key, request in waiting.items()}
        added = queries.add_if_new(tx, new.values())
        count_new += len(added)
        others = [key for key, person in new.items() if person.id not in added]
        # Even if there are none: as many statements for all, lest their time tell who is known.
        known = queries.greet_known(tx, others, settings)
        promises = [
            _welcome(person.id, waiting[key]) for key, person in new.items() if person.id in added
        ]
        promises += [
            _already(person, waiting[person.email_key]) for person in known if person.greet
        ]
        outbox.promise(tx, promises, settings)
        owners |= {key: person.id for key, person in new.items() if person.id in added}
        owners |= {one.email_key: one.id for one in known}
        waiting = {key: waiting[key] for key in set(others) - {one.email_key for one in known}}
        if not waiting:
            count_known, robots = len(admitted) - count_new, len(requests) - len(admitted)
            after_commit(tx, partial(counts.note_admitted, count_new, count_known, robots))
            return [owners.get(request.email.key) for request in requests]
    raise Unavailable("This address is being removed. Try again in a moment.")


def add_person(
    tx: Transaction, request: SignUp, settings: Settings, *, welcome: bool = True
) -> Person:
    """Add a person for an operator, who learns whether the address is known.

    Raises AlreadySignedUp.
    """
    person = _new_person(request, greeted=welcome)
    if person.id not in queries.add_if_new(tx, [person]):
        raise AlreadySignedUp
    if welcome:
        outbox.promise(tx, [_welcome(person.id, request, BY_OPERATOR)], settings)
    found = queries.find(tx, person.id)
    assert found is not None  # noqa: S101 - it was added a line ago
    return found


def _new_person(request: SignUp, *, greeted: bool) -> NewPerson:
    return NewPerson(
        id=new_id(),
        email=request.email.typed,
        email_key=request.email.key,
        name=request.name,
        description=request.description or None,
        greeted=greeted,
    )


def _welcome(
    person_id: UUID, request: SignUp, more: Mapping[str, Any] = MappingProxyType({})
) -> Promise:
    data = {"name": request.name, **more}
    recipient = request.email.recipient
    return Promise(person_id, recipient, "welcome", data, request.trace_context)


def _already(person: Known, request: SignUp) -> Promise:
    """Tell the owner of an address, written as they wrote it, that it was signed up before."""
    recipient = stored_recipient(person.email)
    data = {"name": person.name, "confirmed": bool(person.confirmed)}
    return Promise(person.id, recipient, "already-signed-up", data, request.trace_context)
