"""Signing up: the person and the email owed to them, in one transaction."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any
from uuid import UUID

from reach.db.database import Database
from reach.db.transaction import Transaction, after_commit
from reach.events import noting
from reach.events.noting import Event
from reach.idempotency import stored
from reach.idempotency.stored import IdempotencyKey, StoredResponse
from reach.messages import budget, outbox
from reach.messages.budget import BY_OPERATOR
from reach.messages.outbox import Promise
from reach.people import antispam, queries, record
from reach.people.address import EmailAddress, stored_recipient
from reach.people.antispam import AntiSpam, DisposableDomains
from reach.people.consent import Evidence, Wordings
from reach.people.links import request_links_all
from reach.people.model import Person
from reach.people.queries import Again, Known
from reach.people.schemas import (
    CHECK_YOUR_INBOX,
    LINK_ON_ITS_WAY,
    LinkRequestForm,
    SignUp,
    SignUpForm,
    SpamFields,
    Submission,
)
from reach.problems import Conflict, Problem, ServiceUnavailable, Unprocessable
from reach.settings import Settings
from reach.telemetry.metrics import SIGN_UPS
from reach.texts import N_

#: How often to look again for an address that was erased between two looks.
MOST_LOOKS = 5
#: What may have become of a welcome that has not arrived.
UNSENT = ("queued", "failed", "cancelled", "bounced", "suppressed")
#: Why an older welcome was cancelled.
REPLACED = "replaced by a newer welcome"
#: What the next sign-up may replace of somebody.
TYPED = ("description", "language", "name")
#: Who signed somebody up, as others are told.
BY_PERSON, ADDED = {"by": "person"}, {"by": "operator"}
#: Longer than a sign-up takes on an idle machine, for any address; a busy one hides it anyhow.
ANSWER_SECONDS = 0.005
#: It names none of them: who may sign up here is for the operator to tell.
ELSEWHERE = N_("Addresses at this domain cannot sign up here.")

#: What came of sign-ups; ``web.middleware`` counts those that were refused.
_NEW, _KNOWN, _SPAM = (SIGN_UPS.labels(result) for result in ("new", "known", "spam"))

_FORM: Callable[[Submission[SignUp]], SignUp] = attrgetter("form")

#: A commit that many share; a refusal of one of them is raised for that one.
Join = Callable[[Submission[Any]], Awaitable[Any]]


class AlreadySignedUp(Conflict):
    """The address belongs to someone already."""

    type, title = "already-signed-up", "This address is already signed up"


class SignUpService:
    """Takes public forms: spam does nothing, and all other forms share commits.

    The response is the same for all of them, and comes after the same time.
    """

    def __init__(self, settings: Settings, database: Database, spam: AntiSpam) -> None:
        """Take the collaborators. Raises BadSettings if the list of domains is bad."""
        self._database, self._spam = database, spam
        file = settings.disposable_domains_file
        self._disposable = DisposableDomains.read(file) if file else None
        self._only = settings.sign_up_domains or None
        self._join_sign_ups = database.group(
            partial(sign_up_all, settings=settings, wordings=Wordings())
        )
        self._join_requests = database.group(partial(request_links_all, settings=settings))

    async def sign_up(
        self,
        form: SignUpForm,
        key: IdempotencyKey | None = None,
        evidence: Evidence | None = None,
    ) -> StoredResponse:
        """Sign somebody up; when it returns, that is on disk, with the evidence of their consent.

        Raises Unprocessable: for a domain that cannot; KeyReused if ``key`` is another request's;
        SendAgain.
        """
        self.require_domain(form.email)
        submission: Submission[SpamFields] = Submission(form, key, evidence)
        is_spam, response = await self._take(self._join_sign_ups, submission, CHECK_YOUR_INBOX)
        if is_spam:
            _SPAM.inc()
        return response

    def require_domain(self, address: EmailAddress) -> None:
        """Raise Unprocessable for an address at a domain that cannot sign up here."""
        if self._only is not None and address.domain not in self._only:
            raise Unprocessable(errors=[{"pointer": "/email", "detail": ELSEWHERE}])
        if self._disposable is not None:
            self._disposable.refuse(address)

    async def request_link(
        self, form: LinkRequestForm, key: IdempotencyKey | None = None
    ) -> StoredResponse:
        """Have a link sent, if the address is somebody's. Raises KeyReused; SendAgain."""
        submission: Submission[SpamFields] = Submission(form, key)
        _, response = await self._take(self._join_requests, submission, LINK_ON_ITS_WAY)
        return response

    async def _take(
        self, join: Join, submission: Submission[SpamFields], usual: StoredResponse
    ) -> tuple[bool, StoredResponse]:
        """Do what a form asks for, unless it is spam; the response takes 5 ms at least.

        The time is set beforehand: each address's is another work. What was left of it, once the
        work is done, the event loop would round to milliseconds, and so tell how long that took.
        """
        loop = asyncio.get_running_loop()
        is_time = loop.create_future()
        timer = loop.call_later(ANSWER_SECONDS, is_time.set_result, None)
        is_spam = False
        try:
            try:
                is_spam = self._spam.is_spam(submission.form)
            except Unprocessable:
                # It has grown old, say; but it may have been answered while it was new.
                key = submission.key
                earlier = None if key is None else await self._database.read(stored.find, key)
                if earlier is None:
                    raise
                response = earlier
            else:
                response = usual if is_spam else await join(submission)
            await is_time
        finally:
            timer.cancel()
        return is_spam, response


def sign_up_all(
    tx: Transaction,
    submissions: Sequence[Submission[SignUp]],
    settings: Settings,
    wordings: Wordings | None = None,
) -> Sequence[StoredResponse | Problem]:
    """Sign everybody up who was not signed up by the same key before; a response for each.

    All are told the same, so that nobody learns whether an address is known; who is known is
    written to again, as is due. What is stored of keys has nothing to do with a person: erasing
    one changes no response. Where the proof of work was used before, SendAgain is the response.
    Each counts as coming after the one before: of several for one address, only what the last one
    typed is left.
    """
    claims = stored.claim_all(tx, submissions)
    if not claims.to_do:
        return claims.keep(tx, ())
    admitted: Sequence[Submission[SignUp]] = claims.to_do
    responses: Sequence[StoredResponse | Problem] = [CHECK_YOUR_INBOX] * len(admitted)
    if settings.altcha:
        admitted, responses = antispam.admit(tx, admitted, CHECK_YOUR_INBOX)
    asked: dict[str, Submission[SignUp]] = {}
    for submission in admitted:
        asked[submission.form.email.key] = submission
    evidence = _evidence(asked)
    given = {one.wording for one in evidence.values() if one.wording}
    if given:
        (wordings or Wordings()).keep(tx, given)
    added, known = _add_or_find(tx, asked, evidence, settings)
    promises, changed = _again(tx, known, asked, settings)
    welcomes = [_welcome(asked[key], person_id) for key, person_id in added.items()]
    outbox.promise(tx, [*promises, *welcomes], settings)
    signed_up = [Event("person.signed_up", one, details=BY_PERSON) for one in added.values()]
    noting.note(tx, [*signed_up, *changed])
    if added:
        after_commit(tx, partial(_NEW.inc, len(added)))
    if len(admitted) > len(added):
        after_commit(tx, partial(_KNOWN.inc, len(admitted) - len(added)))
    return claims.keep(tx, responses)


def _welcome(submission: Submission[SignUp], person_id: UUID) -> Promise:
    form, data = submission.form, {"name": submission.form.name}
    return Promise(person_id, form.email.recipient, "welcome", data, submission.trace_context)


def _evidence(asked: Mapping[str, Submission[SignUp]]) -> Mapping[str, Evidence]:
    return {key: one.evidence for key, one in asked.items() if one.evidence is not None}


def _add_or_find(
    tx: Transaction,
    asked: Mapping[str, Submission[SignUp]],
    evidence: Mapping[str, Evidence],
    settings: Settings,
) -> tuple[Mapping[str, UUID], Sequence[Known]]:
    """Add who is new and lock who is known, all by their address keys. Raises Unavailable."""
    added: dict[str, UUID] = {}
    known: list[Known] = []
    waiting = asked
    for _ in range(MOST_LOOKS):
        added |= queries.add_if_new(
            tx, map(_FORM, waiting.values()), typed_version=1, evidence=evidence
        )
        others = sorted(waiting.keys() - added.keys())
        # Even if there are none: as many statements for all, or their time tells who is known.
        found = queries.lock_known(tx, others, hours=settings.already_hours)
        known += found
        if len(found) == len(others):
            return added, known
        keys = {one.email_key for one in found}
        waiting = {key: asked[key] for key in others if key not in keys}
    # Somebody is being removed; but strangers are not told that of an address.
    raise ServiceUnavailable("Try again in a moment.")


def _again(
    tx: Transaction,
    known: Sequence[Known],
    asked: Mapping[str, Submission[SignUp]],
    settings: Settings,
) -> tuple[list[Promise], list[Event]]:
    """Write down that people who are known, and locked, signed up again.

    Returns what they are owed, and what changed of them.

    What strangers typed is replaced. Who is owed a fresh welcome gets no older one as well: those
    that wait are cancelled. Who has used their mail budget up is owed nothing new, and keeps what
    waits.
    """
    wanted: dict[UUID, str] = {}
    for person in known:
        if template := _due(person):
            wanted[person.id] = template
    within = budget.within(tx, wanted, settings)
    again: list[Again] = []
    welcomed: list[UUID] = []
    promises: list[Promise] = []
    changed: list[Event] = []
    for person in known:
        submission = asked[person.email_key]
        owed = wanted.get(person.id) if person.id in within else None
        change = _retyped(person, submission, owed)
        again.append(change)
        if change.is_changed:
            fields = [name for name in TYPED if getattr(change, name) != getattr(person, name)]
            changed.append(Event("person.changed", person.id, details={"fields": fields}))
        if owed is not None:
            promises.append(_promise_again(person, change.name, owed, submission))
        if owed == "welcome":
            welcomed.append(person.id)
    queries.note_again(tx, again)
    outbox.supersede_welcomes(tx, welcomed, reason=REPLACED)
    return promises, changed


def _due(person: Known) -> str | None:
    """What somebody is to be sent who signs up again, budget or not: a template's name."""
    if not person.confirmed or person.has_bounced or person.welcome in UNSENT:
        return "welcome"
    return "already-signed-up" if person.is_due else None


def _retyped(person: Known, submission: Submission[SignUp], owed: str | None) -> Again:
    """What a sign-up makes of a record: strangers may change only what strangers typed."""
    asked, evidence = submission.form, submission.evidence
    consent = evidence.stored() if evidence and person.is_strangers else None
    typed = (asked.name, asked.description or None, asked.language or person.language)
    was = (person.name, person.description, person.language)
    name, description, language = typed if person.is_strangers else was
    is_changed = (name, description, language) != was
    told = owed == "already-signed-up"
    return Again(
        *(person.id, name, description, language),
        is_changed=is_changed,
        told=told,
        consent=consent,
    )


def add_person(
    tx: Transaction, request: SignUp, settings: Settings, *, welcome: bool = True
) -> Person:
    """Add a person for an operator, who learns whether the address is known.

    Raises AlreadySignedUp.
    """
    key = request.email.key
    evidence = {key: Evidence("operator", request.language)}
    added = queries.add_if_new(tx, [request], typed_version=None, evidence=evidence)
    person_id = added.get(key)
    if person_id is None:
        raise AlreadySignedUp
    noting.note(tx, [Event("person.signed_up", person_id, details=ADDED)])
    if welcome:
        data = {"name": request.name, **BY_OPERATOR}
        promised = Promise(person_id, request.email.recipient, "welcome", data)
        outbox.promise(tx, [promised], settings)
    return record.view(tx, person_id)


def _promise_again(
    person: Known, name: str, template: str, submission: Submission[SignUp]
) -> Promise:
    """Promise a message to the owner of an address, written as they, or the first one, wrote it."""
    recipient = stored_recipient(person.email)
    data: dict[str, Any] = {"name": name}
    if template == "already-signed-up":
        data["confirmed"] = bool(person.confirmed)
    return Promise(person.id, recipient, template, data, submission.trace_context)
