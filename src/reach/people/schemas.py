"""What is sent and shown of people, as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
)

from reach.idempotency.stored import IdempotencyKey
from reach.messages.model import State
from reach.messages.routes import Template
from reach.people.address import Address
from reach.people.consent import Evidence, Form
from reach.people.model import Person
from reach.people.text import (
    DESCRIPTION_LENGTH,
    NAME_LENGTH,
    clean_description,
    clean_name,
)
from reach.settings import types
from reach.shapes import BLANK, TEXT, Id, Shape, shaped
from reach.telemetry.traces import current_header
from reach.web.responses import response_of

F_co = TypeVar("F_co", bound=BaseModel, covariant=True)

PERSON: dict[str, Any] = {
    "id": "01a20aee-6a2a-7a2b-8fad-3dec2137a7f1",
    "email": "ada@example.com",
    "name": "Ada Lovelace",
    "description": "I write about engines.",
    "language": "en",
    "confirmed_at": "2026-03-04T05:09:00.120000Z",
    "created_at": "2026-03-04T05:06:07.890123Z",
    "updated_at": "2026-03-04T05:09:00.120000Z",
    "welcome": {"state": "sent", "sent_at": "2026-03-04T05:06:08.310000Z"},
}
CONSENT: dict[str, Any] = {
    "form": "page",
    "wording": "Sign up to Example\nWe use this only to write to you.",
    "language": "en",
    "origin": None,
    "source": None,
    "network": "192.0.2.0/24",
    "consented_at": "2026-03-04T05:06:07.890123Z",
    "confirmed_at": "2026-03-04T05:09:00.120000Z",
}


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


LANGUAGE = Shape(
    types.LANGUAGE.pattern, "It must be the code of a language, like de.", types.LANGUAGE_CHARACTERS
)
#: Of the emails that somebody gets; the default, if there is no such one.
Language = Annotated[str, *shaped(LANGUAGE)]


def example(**fields: Any) -> ConfigDict:
    """Say in the document what to send: sent as it is, it does what its route says.

    What a form carries beside what people type has no place in it: filled in by those who try
    things out, it would make spam of what they send.
    """
    return ConfigDict(json_schema_extra={"examples": [fields]})


class Accepted(BaseModel):
    """What everybody is told, whether their address is known or not."""

    message: str


class Challenge(BaseModel):
    """A proof of work to do: the library altcha (version 2) or its widget solve it."""

    parameters: dict[str, Any]
    signature: str


#: What everybody is told, whether their address is known or not.
CHECK_YOUR_INBOX = response_of(Accepted(message="Check your inbox."), 202)
#: What everybody is told who has a link, whosever the new address is.
LOOK_THERE = response_of(
    Accepted(message="If all is well, an email is on its way to the new address: open its link."),
    202,
)
LINK_ON_ITS_WAY = response_of(
    Accepted(message="If that address is signed up, a link is on its way."), 202
)


class SignUp(BaseModel):
    """What someone types to sign up."""

    # Its rules need the settings: make one with ``web.body.validate``.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    email: Address
    name: Name
    description: Description | None = None
    language: Language | None = None


class LinkRequest(BaseModel):
    """Whose link is asked for."""

    # Its rules need the settings: make one with ``web.body.validate``.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    email: Address


TRAP = "A trap for spam: leave it out"
OLD_TRAP = "What the trap was called before: leave it out"
TIME = "The signed time at which the form was shown, as its page has it"
PROOF = "The solution of a challenge, in base64"


class SpamFields(BaseModel):
    """What a public form carries beside what people type. Mix it into the form's model.

    The trap's name is none that browsers or password managers know: see docs/decisions/0034.
    """

    motto: Annotated[str | None, Field(max_length=500, description=TRAP)] = None
    website: Annotated[
        str | None,
        Field(
            max_length=500,
            description=OLD_TRAP,
            json_schema_extra={"deprecated": True, "pattern": f"^[{BLANK}]*$"},
        ),
    ] = None
    started: Annotated[str | None, Field(max_length=100, description=TIME)] = None
    altcha: Annotated[str | None, Field(max_length=4000, description=PROOF)] = None


class SignUpForm(SpamFields, SignUp):
    """What someone types to sign up, and what their form carries besides."""

    model_config = example(
        email="ada@example.com", name="Ada Lovelace", description="I write about engines."
    )


class LinkRequestForm(SpamFields, LinkRequest):
    """Whose link is asked for, and what the form carries besides."""

    model_config = example(email="ada@example.com")


@dataclass(frozen=True, slots=True)
class Submission(Generic[F_co]):
    """A public form, its idempotency key, and which request it is, for the message.

    Many share a transaction, which belongs to no request. ``evidence`` is what the request tells of
    a consent, if its form asks for one.
    """

    form: F_co
    key: IdempotencyKey | None = None
    evidence: Evidence | None = None
    trace_context: str | None = field(default_factory=current_header)


class Add(SignUp):
    """A person whom an operator adds."""

    # Somebody else than signs up: each can be tried after the other.
    model_config = example(email="grace@example.com", name="Grace Hopper", welcome=True)

    welcome: bool = True


def without_defaults(schema: dict[str, Any]) -> None:
    """Say no default where what is left out stays as it is."""
    for one in schema["properties"].values():
        one.pop("default", None)
    schema["examples"] = [{"name": "Ada King", "description": None}]


class Changes(BaseModel):
    """Changes to a record; what is left out stays. A null description clears it."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=without_defaults)

    name: Name = ""
    description: Description | None = None
    language: Language | None = None


class NewAddress(BaseModel):
    """Where a person's record is to move."""

    # Its rules need the settings: make one with ``web.body.validate``.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True) | example(
        email="ada@example.org"
    )

    email: Address


class NewMessage(BaseModel):
    """A message that an operator promises to somebody."""

    model_config = ConfigDict(extra="forbid") | example(
        person_id="01a20aee-6a2a-7a2b-8fad-3dec2137a7f1", template="manage-link"
    )

    person_id: Id
    template: Template
    data: dict[str, Any] = {}


class WelcomeBody(BaseModel):
    """What became of a person's welcome."""

    model_config = ConfigDict(from_attributes=True)

    state: State | None
    sent_at: datetime | None


class PersonBody(BaseModel):
    """A person, as operators see them."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [PERSON]})

    id: UUID
    email: str
    name: str
    description: str | None
    language: str | None
    confirmed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    welcome: WelcomeBody


class OwnBody(PersonBody):
    """A person, as they see themselves.

    ``pending_email`` is the address that the record moves to once its owner says yes.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**PERSON, "pending_email": "ada@example.org"}]}
    )

    pending_email: str | None


def person_body(person: Person) -> dict[str, object]:
    """Give the fields of ``PersonBody``, whose values need no check: they were never typed here."""
    welcome = person.welcome
    return {
        "id": person.id,
        "email": person.email,
        "name": person.name,
        "description": person.description,
        "language": person.language,
        "confirmed_at": person.confirmed_at,
        "created_at": person.created_at,
        "updated_at": person.updated_at,
        "welcome": {"state": welcome.state, "sent_at": welcome.sent_at},
    }


class Confirmed(BaseModel):
    """When somebody confirmed that their address is theirs."""

    model_config = ConfigDict(from_attributes=True)

    confirmed_at: datetime


class PersonPage(BaseModel):
    """Part of a list, newest first; ``next_cursor`` asks for the next part."""

    items: list[PersonBody]
    next_cursor: str | None


class ConsentBody(BaseModel):
    """What somebody agreed to; of those who came before this was kept, only the times are known.

    ``form`` is where: our `page`; on another web site (`origin`) a `frame`, a `script`, or the
    `site`'s own form; a call of the `api`; what an `operator` added; an `import`ed list, whose
    `source` they named. ``wording`` is what the form said, if it was our page or frame.
    ``network`` is kept only with `REACH_KEEP_CONSENT_NETWORK=on`.
    """

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [CONSENT]})

    form: Form | None
    wording: str | None
    language: str | None
    origin: str | None
    source: str | None
    network: str | None
    consented_at: datetime
    confirmed_at: datetime | None


class Export(BaseModel):
    """Everything that is stored of a person, column by column; each message has its attempts.

    ``answers`` are those that a repeated request would get again; ``link_requests`` wait to be
    looked up; ``address_changes`` has the one that is under way; ``consent`` is what they agreed
    to; ``events`` are what webhooks were told of them, each with its attempts; ``suppression`` is
    why nothing is sent to them, null if it is.
    """

    person: dict[str, Any]
    messages: list[dict[str, Any]]
    answers: list[dict[str, Any]]
    link_requests: list[dict[str, Any]]
    address_changes: list[dict[str, Any]]
    consent: ConsentBody
    events: list[dict[str, Any]]
    suppression: dict[str, Any] | None


def wanted(changes: Changes) -> Mapping[str, str | None]:
    """What a change asks for: only what was sent; an empty description is none."""
    sent = changes.model_dump(exclude_unset=True)
    if "description" in sent:
        sent["description"] = sent["description"] or None
    return sent
