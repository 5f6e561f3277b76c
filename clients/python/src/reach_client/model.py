"""What Reach answers, as frozen dataclasses. Times are aware; ids are UUIDs.

A newer server may say more, and use words that a ``Literal`` here does not list: fields that are
not known are passed over, and a word comes through as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from reach_client.decoding import HEADER
from reach_client.proof import solve

T = TypeVar("T")

State = Literal["queued", "sent", "failed", "cancelled", "bounced", "complained", "suppressed"]
ReportKind = Literal["delivered", "delayed", "bounced", "complained"]
ReportCategory = Literal["permanent", "transient", "sender", "undetermined"]
Cause = Literal["bounced", "complained", "operator"]
Outcome = Literal["sent", "deferred", "rejected", "unknown"]
KeyState = Literal["valid", "expired", "revoked"]
Scope = Literal[
    "people:read",
    "people:write",
    "messages:read",
    "messages:write",
    "keys:write",
    "audit:read",
    "webhooks:read",
    "webhooks:write",
]
Sort = Literal["newest", "oldest", "address"]
Format = Literal["csv", "ndjson"]
ConsentForm = Literal["page", "frame", "script", "site", "api", "operator", "import"]
ActorKind = Literal["key", "oidc", "command"]
Via = Literal["api", "console", "cli"]
Action = Literal[
    "person.add",
    "person.change",
    "person.erase",
    "people.import",
    "people.export",
    "message.send",
    "message.retry",
    "message.cancel",
    "messages.retry",
    "messages.cancel",
    "suppression.add",
    "suppression.lift",
    "template.send-test",
    "key.create",
    "key.revoke",
    "webhook.add",
    "webhook.change",
    "webhook.rotate",
    "webhook.test",
    "webhook.replay",
    "webhook.enable",
    "webhook.disable",
    "webhook.remove",
    "session.start",
    "session.end",
]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list; ``next_cursor`` asks for the next part, None if this is the last one."""

    items: tuple[T, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What everybody is told who signs up or asks for a link, known or not."""

    message: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """A proof of work to do (altcha, version 2). Good for ten minutes and one form."""

    parameters: Mapping[str, Any]
    signature: str

    def solve(self, seconds: float = 60) -> str:
        """Do it, and give what goes into ``altcha``: about a second of work for the processor.

        In a coroutine: ``await asyncio.to_thread(challenge.solve)``.

        Raises TimeoutError after so many seconds, ValueError if the kind of work is not known here.
        """
        return solve(self.parameters, self.signature, seconds)


@dataclass(frozen=True, slots=True)
class Welcome:
    """What became of a person's welcome email."""

    state: State | None
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who signed up, as operators see them.

    ``etag`` goes into ``if_match`` of a change. It is None in lists: ``get`` the person for it.
    """

    id: UUID
    email: str
    name: str
    description: str | None
    language: str | None
    confirmed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    welcome: Welcome
    etag: str | None = field(default=None, kw_only=True, metadata={HEADER: "ETag"})


@dataclass(frozen=True, slots=True)
class OwnRecord(Person):
    """A person, as they see themselves; ``pending_email`` is where they asked to move."""

    pending_email: str | None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """When somebody confirmed that an address is theirs."""

    confirmed_at: datetime
    etag: str | None = field(default=None, metadata={HEADER: "ETag"})


@dataclass(frozen=True, slots=True)
class Consent:
    """What somebody agreed to; of those who came before it was kept, only the times are known.

    ``form`` is where, ``wording`` what the form said, ``origin`` the web site that it was on, and
    ``source`` the list that was imported.
    """

    form: ConsentForm | None
    wording: str | None
    language: str | None
    origin: str | None
    source: str | None
    network: str | None
    consented_at: datetime
    confirmed_at: datetime | None


@dataclass(frozen=True, slots=True)
class OwnExport:
    """Everything that is stored of a person, column by column."""

    person: Mapping[str, Any]
    messages: tuple[Mapping[str, Any], ...]
    answers: tuple[Mapping[str, Any], ...]
    link_requests: tuple[Mapping[str, Any], ...]
    address_changes: tuple[Mapping[str, Any], ...]
    consent: Consent
    events: tuple[Mapping[str, Any], ...]
    suppression: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Message:
    """An email that is owed, or was sent. ``due_at`` is the next try's time, while there is one."""

    id: UUID
    person_id: UUID | None
    template: str
    recipient: str
    state: State
    attempts: int
    created_at: datetime
    due_at: datetime | None
    finished_at: datetime | None
    message_id: str
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at delivering a message, and the mail server's words."""

    worker: str
    started_at: datetime
    finished_at: datetime
    outcome: Outcome
    smtp_code: int | None
    enhanced_code: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was reported of a message after it was sent, and by whom.

    ``category`` is whose fault a bounce is: "permanent" and "transient" are the address's,
    "sender" is ours.
    """

    kind: ReportKind
    category: ReportCategory | None
    source: str
    smtp_code: int | None
    enhanced_code: str | None
    text: str
    reported_at: datetime


@dataclass(frozen=True, slots=True)
class MessageWithHistory(Message):
    """A message with every attempt, and what was reported of it, the oldest first."""

    history: tuple[Attempt, ...]
    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that nothing is sent to, in lower case, and why.

    ``text`` is what the mail server said, or the operator; ``message_id`` is the id of the message
    that it was about.
    """

    id: UUID
    email: str
    cause: Cause
    text: str
    message_id: UUID | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Retried:
    """How many messages were queued again, or would be; ``more``: call again for the rest."""

    queued: int
    more: bool
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Cancelled:
    """How many messages were cancelled, or would be; ``more``: call again for the rest."""

    cancelled: int
    more: bool
    dry_run: bool


@dataclass(frozen=True, slots=True)
class MessageCounts:
    """How many messages are in each state."""

    queued: int
    sent: int
    failed: int
    cancelled: int
    bounced: int
    complained: int
    suppressed: int


@dataclass(frozen=True, slots=True)
class Hour:
    """What happened in the hour from ``hour`` on."""

    hour: datetime
    sign_ups: int
    deliveries: int
    failures: int
    bounces: int
    complaints: int


@dataclass(frozen=True, slots=True)
class Day:
    """What happened on a day (UTC)."""

    day: date
    sign_ups: int
    deliveries: int
    failures: int
    bounces: int
    complaints: int


@dataclass(frozen=True, slots=True)
class MailSeconds:
    """How long the newest 1,000 emails took: half of them no longer than ``p50``."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Stats:
    """How many there were at ``as_of``.

    ``per_hour`` has the last 48 hours, ``per_day`` the last 90 days, the oldest first.
    ``mail_seconds`` is None if nothing was sent.
    """

    people: int
    confirmed: int
    messages: MessageCounts
    oldest_due_seconds: float
    late: int
    mail_seconds: MailSeconds | None
    per_hour: tuple[Hour, ...]
    per_day: tuple[Day, ...]
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Key:
    """An operator key, without its secret; ``prefix`` is how it begins."""

    id: UUID
    name: str
    prefix: str
    scopes: tuple[str, ...]
    state: KeyState
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewKey(Key):
    """A key that was made. ``key`` is the secret, shown once, and never in a ``repr``.

    It is None if the answer to the first try was lost: revoke the key, and make another one.
    """

    key: str | None = field(repr=False)
    note: str


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it (a key by its id, an OpenID Connect subject, a user number), and which way."""

    kind: ActorKind
    id: str
    via: Via


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that an operator did. ``subject`` is whose id it was done to, None for many."""

    id: UUID
    at: datetime
    actor: Actor
    action: Action
    subject: UUID | None
    count: int
    details: Mapping[str, Any]
