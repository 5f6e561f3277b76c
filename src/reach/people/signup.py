"""Signing up: the person and the email owed to them, in one transaction."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)

from reach.db.engine import Transaction
from reach.db.identifiers import new_id
from reach.messages import outbox
from reach.messages.outbox import Promise
from reach.people import queries
from reach.people.address import LONGEST, EmailAddress, parse_address
from reach.people.model import Person
from reach.people.queries import NewPerson
from reach.people.text import (
    DESCRIPTION_LENGTH,
    NAME_LENGTH,
    clean_description,
    clean_name,
)
from reach.problems import Problem, Unavailable
from reach.settings import Settings

#: How often to look again for an address that was erased between two looks.
MOST_LOOKS = 5


def _address(value: Any, info: ValidationInfo) -> EmailAddress:
    if not isinstance(value, str):
        raise ValueError("Input should be a valid string")  # noqa: TRY004 - pydantic's way
    return parse_address(value, smtputf8=(info.context or {})["settings"].smtputf8)


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


class AlreadySignedUp(Problem):
    """The address belongs to someone already."""

    status, type, title = 409, "already-signed-up", "This address is already signed up"


def sign_up_all(tx: Transaction, requests: Sequence[SignUp], settings: Settings) -> Sequence[None]:
    """Sign up each of ``requests``, or tell the address's owner that it was signed up before.

    The answer is the same for both, so that it tells nobody whether an address is known. Of
    several requests for one address the first counts.
    """
    waiting = {request.email.key: request for request in reversed(requests)}
    for _ in range(MOST_LOOKS):
        new = {key: _new_person(request, greeted=True) for key, request in waiting.items()}
        added = queries.add_if_new(tx, new.values())
        others = [key for key, person in new.items() if person.id not in added]
        known = queries.greet_known(tx, others, hours=settings.already_hours) if others else []
        promises = [
            _welcome(person.id, waiting[key]) for key, person in new.items() if person.id in added
        ]
        promises += [
            Promise(
                person.id,
                parse_address(person.email, smtputf8=True).recipient,
                "already-signed-up",
                {"name": person.name, "confirmed": bool(person.confirmed)},
            )
            for person in known
            if person.greet
        ]
        outbox.promise(tx, promises, settings)
        waiting = {key: waiting[key] for key in set(others) - {one.email_key for one in known}}
        if not waiting:
            return [None] * len(requests)
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
        outbox.promise(tx, [_welcome(person.id, request)], settings)
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


def _welcome(person_id: UUID, request: SignUp) -> Promise:
    return Promise(person_id, request.email.recipient, "welcome", {"name": request.name})
