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

from reach.db.transaction import Transaction, after_commit
from reach.db.types import new_id
from reach.idempotency.keys import each_once
from reach.idempotency.stored import Answer, Done, Once
from reach.messages import budget, outbox
from reach.messages.budget import BY_OPERATOR
from reach.messages.outbox import Promise
from reach.people import antispam as proofs
from reach.people import queries
from reach.people import signup as counts
from reach.people.address import LONGEST, EmailAddress, parse_address, stored_recipient
from reach.people.antispam import SendAgain
from reach.people.model import Person
from reach.people.queries import Again, Known, NewPerson
from reach.people.text import (
    DESCRIPTION_LENGTH,
    NAME_LENGTH,
    clean_description,
    clean_name,
)
from reach.problems import Problem, ServiceUnavailable
from reach.settings import Settings
from reach.shapes import TEXT
from reach.telemetry.trace_context import current_header

R = TypeVar("R", bound=BaseModel)

#: How often to look again for an address that was erased between two looks.
MOST_LOOKS = 5
#: What may have become of a welcome that has not arrived.
UNSENT = ("queued", "failed", "cancelled")
#: Why an older welcome was cancelled.
REPLACED = "replaced by a newer welcome"


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
    Field(json_schema_extra={"minLength": 1, "maxLength": NAME_LENGTH, **TEXT.keywords}),
]
Description = Annotated[
    str,
    AfterValidator(clean_description),
    Field(json_schema_extra={"maxLength": DESCRIPTION_LENGTH, **TEXT.keywords}),
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
    work: Callable[[Sequence[R]], object],
    settings: Settings,
    answer: Answer,
) -> Sequence[Answer | Problem]:
    """Do ``work`` for those that were not done by the same key before: ``answer`` for each.

    What is stored of them has nothing to do with a person: erasing one changes no answer. ``work``
    is not done for those whose proof of work was used before: SendAgain is their answer.
    """

    def do(new: Sequence[Knock[R]]) -> Sequence[Done | Problem]:
        requests = [knock.request for knock in new]
        admitted = proofs.use(tx, requests) if settings.altcha else requests
        work(admitted)
        # By identity: two requests may be equal.
        done = set(map(id, admitted))
        return [
            Done(answer, None) if id(one) in done else SendAgain("proof used before")
            for one in requests
        ]

    return each_once(tx, knocks, do)


def knock_all(
    tx: Transaction, knocks: Sequence[Knock[SignUp]], settings: Settings, answer: Answer
) -> Sequence[Answer | Problem]:
    """Sign everybody up who was not signed up by the same key before."""
    return answer_each(tx, knocks, lambda new: sign_up_all(tx, new, settings), settings, answer)


def sign_up_all(tx: Transaction, requests: Sequence[SignUp], settings: Settings) -> Sequence[None]:
    """Sign up each of ``requests``; who is known is written to again, as is due.

    Callers are told the same for all, so that nobody learns whether an address is known. Each
    counts as coming after the one before: of several for one address, only what the last one typed
    is left.
    """
    asked = {request.email.key: request for request in requests}
    added, known = _add_or_find(tx, asked, settings)
    promises = [_welcome(person.id, asked[key]) for key, person in added.items()]
    promises += _again(tx, [(one, asked[key]) for key, one in known.items()], settings)
    outbox.promise(tx, promises, settings)
    count_known = len(requests) - len(added)
    after_commit(tx, partial(counts.note_admitted, len(added), count_known))
    return [None] * len(requests)


def _add_or_find(
    tx: Transaction, asked: Mapping[str, SignUp], settings: Settings
) -> tuple[Mapping[str, NewPerson], Mapping[str, Known]]:
    """Add who is new and lock who is known, all by their address keys. Raises Unavailable."""
    added: dict[str, NewPerson] = {}
    known: dict[str, Known] = {}
    waiting = asked
    for _ in range(MOST_LOOKS):
        new = {key: _new_person(request, typed_version=1) for key, request in waiting.items()}
        ids = queries.add_if_new(tx, new.values())
        added |= {key: person for key, person in new.items() if person.id in ids}
        others = [key for key in new if key not in added]
        # Even if there are none: as many statements for all, lest their time tell who is known.
        found = queries.lock_known(tx, others, hours=settings.already_hours)
        known |= {one.email_key: one for one in found}
        waiting = {key: asked[key] for key in others if key not in known}
        if not waiting:
            return added, known
    # Somebody is being removed; but strangers are not told that of an address.
    raise ServiceUnavailable("Try again in a moment.")


def _again(
    tx: Transaction, known: Sequence[tuple[Known, SignUp]], settings: Settings
) -> Sequence[Promise]:
    """Write down that people who are known, and locked, signed up again; what they are owed.

    What strangers typed is replaced. Who is owed a fresh welcome gets no older one as well: those
    that wait are cancelled. Who has used their mail budget up is owed nothing new, and keeps what
    waits.
    """
    wanted = {one.id: template for one, _ in known if (template := _due(one))}
    within = budget.within(tx, wanted, settings)
    owed = {id_: template for id_, template in wanted.items() if id_ in within}
    again = [_retyped(one, asked, owed.get(one.id)) for one, asked in known]
    queries.note_again(tx, again)
    greeted = [id_ for id_, template in owed.items() if template == "welcome"]
    outbox.supersede(tx, greeted, template="welcome", reason=REPLACED)
    return [
        _promise_again(one, change.name, owed[one.id], asked)
        for (one, asked), change in zip(known, again, strict=True)
        if one.id in owed
    ]


def _due(person: Known) -> str | None:
    """What somebody is to be sent who signs up again, budget or not: a template's name."""
    if not person.confirmed or person.welcome in UNSENT:
        return "welcome"
    return "already-signed-up" if person.is_due else None


def _retyped(person: Known, asked: SignUp, owed: str | None) -> Again:
    """What a sign-up makes of a record: strangers may change only what strangers typed."""
    typed = (asked.name, asked.description or None)
    was = (person.name, person.description)
    name, description = typed if person.is_strangers else was
    is_changed = (name, description) != was
    told = owed == "already-signed-up"
    return Again(person.id, name, description, is_changed=is_changed, told=told)


def add_person(
    tx: Transaction, request: SignUp, settings: Settings, *, welcome: bool = True
) -> Person:
    """Add a person for an operator, who learns whether the address is known.

    Raises AlreadySignedUp.
    """
    person = _new_person(request, typed_version=None)
    if person.id not in queries.add_if_new(tx, [person]):
        raise AlreadySignedUp
    if welcome:
        outbox.promise(tx, [_welcome(person.id, request, BY_OPERATOR)], settings)
    found = queries.find(tx, person.id)
    assert found is not None  # noqa: S101 - it was added a line ago
    return found


def _new_person(request: SignUp, *, typed_version: int | None) -> NewPerson:
    return NewPerson(
        id=new_id(),
        email=request.email.typed,
        email_key=request.email.key,
        name=request.name,
        description=request.description or None,
        typed_version=typed_version,
    )


def _welcome(
    person_id: UUID, request: SignUp, more: Mapping[str, Any] = MappingProxyType({})
) -> Promise:
    data = {"name": request.name, **more}
    recipient = request.email.recipient
    return Promise(person_id, recipient, "welcome", data, request.trace_context)


def _promise_again(person: Known, name: str, template: str, asked: SignUp) -> Promise:
    """Promise a message to the owner of an address, written as they, or the first one, wrote it."""
    recipient = stored_recipient(person.email)
    data: dict[str, Any] = {"name": name}
    if template == "already-signed-up":
        data["confirmed"] = bool(person.confirmed)
    return Promise(person.id, recipient, template, data, asked.trace_context)
