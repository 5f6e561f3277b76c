"""One person at the console: their record, emails and history; changed, written to, erased."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from reach.auth import audit, keys
from reach.auth.audit import Entry
from reach.console import people
from reach.console.filtering import errors_of
from reach.console.guard import READ, Requires, Visit, console_router
from reach.console.layout import at, places_of, see, show
from reach.console.people import HERE, MayRead, MayWrite
from reach.console.safety import BEGINS
from reach.console.sessions import Session
from reach.db.keyset import MOST_COUNTED
from reach.db.transaction import Transaction
from reach.idempotency.stored import StoredResponse, respond_once
from reach.mail.samples import DATA, sample_composer, unknown_data
from reach.messages import filters, suppressions
from reach.messages.filters import Filter
from reach.messages.model import Message
from reach.messages.suppressions import Suppression
from reach.people import actions, consent, queries, record, unsubscribe
from reach.people.consent import Consent
from reach.people.model import Person
from reach.people.operators import PersonId
from reach.people.record import Unconfirmed
from reach.people.schemas import Changes, wanted
from reach.people.unsubscribe import Unsubscribed
from reach.problems import BadRequest, Conflict, PreconditionFailed, Unprocessable
from reach.web.body import validate
from reach.web.preconditions import Conditions
from reach.web.routes import services_of

MESSAGES = f"{BEGINS}/messages"
#: So many of their newest messages, and of what was done to them, are on their page.
SHOWN_ROWS = 20
#: What of a record can be changed, and the field that says which version of it was read.
FIELDS, VERSION = ("name", "description", "language"), "version"
A_VERSION = re.compile(r"[0-9]{1,9}")
#: The field that tells one form sent twice from two.
ONCE = "once"
#: Of the built-in templates, those that need to know no more than to whom they go.
FOR_ANYBODY = frozenset({"welcome", "manage-link"})

MaySend = Annotated[Visit, Depends(Requires("messages:write"))]
MayReadAndSend = Annotated[Visit, Depends(Requires("people:read", "messages:write"))]
MayReadAndWrite = Annotated[Visit, Depends(Requires("people:read", "people:write"))]

router = console_router("/people")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a person, as far as somebody may see it; ``names`` are those of keys."""

    person: Person
    consent: Consent | None
    unsubscribed_at: datetime | None
    messages: Sequence[Message]
    has_more: bool
    suppression: Suppression | None
    entries: Sequence[Entry]
    names: Mapping[str, str]


@router.api_route("/{id}", methods=READ)
async def get_person(request: Request, visit: MayRead, id_: PersonId, done: str = "") -> Response:
    """Show a person. Raises NoSuchPerson."""
    return await _page(request, visit, id_, done=done)


@router.post("/{id}")
async def post_person(request: Request, visit: MayWrite, id_: PersonId) -> Response:
    """Change a record, if it is still as it was read; of what was typed nothing is lost.

    Raises NoSuchPerson.
    """
    services, form = services_of(request), visit.form
    typed = {name: form[name] for name in FIELDS if name in form}
    conditions = _as_read(form)
    try:
        given = {**typed, "language": typed.get("language") or None}
        changes = validate(Changes, {name: given[name] for name in typed}, services.settings)
        await services.database.write(
            actions.change,
            visit.actor,
            id_,
            wanted(changes),
            settings=services.settings,
            conditions=conditions,
        )
    except (Unprocessable, PreconditionFailed) as problem:
        if not visit.session.may("people:read"):
            raise
        return await _page(request, visit, id_, typed=typed, problem=problem, read=form[VERSION])
    return see(request, f"{HERE}/{id_}", done="changed")


@router.api_route("/{id}/erase", methods=READ)
async def get_erase(request: Request, _: MayReadAndWrite, id_: PersonId) -> Response:
    """Say what goes with a person, and ask whether to. Raises NoSuchPerson."""
    person, count = await services_of(request).database.read(_what_goes, id_)
    return show(request, "person-erase.html", person=person, count=count, most=MOST_COUNTED)


@router.post("/{id}/erase")
async def post_erase(request: Request, visit: MayWrite, id_: PersonId) -> Response:
    """Erase a person with all that is stored of them. Raises NoSuchPerson."""
    database = services_of(request).database
    await database.write(actions.erase, visit.actor, id_)
    await database.scrub()
    if not visit.session.may("people:read"):
        return see(request, places_of(visit.session)[0].path)
    return see(request, HERE, done="erased")


@router.api_route("/{id}/send", methods=READ)
async def get_send(request: Request, visit: MayReadAndSend, id_: PersonId) -> Response:
    """Show what can be sent to a person. Raises NoSuchPerson."""
    return await _sending(request, visit, id_)


@router.post("/{id}/send")
async def post_send(request: Request, visit: MaySend, id_: PersonId) -> Response:
    """Send a person an email from a template, once. Raises NoSuchPerson."""
    services = services_of(request)
    template = visit.form.get("template", "")
    headers = [visit.form.get(ONCE, "")]
    once = services.idempotency.of_operator(
        headers, visit.session.id, f"{HERE}/{id_}", dict(visit.form)
    )

    def promise(tx: Transaction) -> StoredResponse:
        message = actions.send(tx, visit.actor, id_, template, {}, settings=services.settings)
        return StoredResponse(201, str(message.id), person_id=id_)

    try:
        record.require_template(template, await run_in_threadpool(_sendable, request))
        stored = await services.database.write(respond_once, once, promise)
    except (Unprocessable, Unconfirmed, Unsubscribed) as problem:
        if not visit.session.may("people:read"):
            raise
        return await _sending(request, visit, id_, template, problem)
    return see(request, _after_sending(visit.session, id_, stored.body), done="sent")


def _as_read(form: Mapping[str, str]) -> Conditions:
    """Ask for the version that the form was made of. Raises BadRequest for a form without."""
    version = form.get(VERSION, "")
    if not A_VERSION.fullmatch(version):
        raise BadRequest("The form does not say which version of the record it is of.")
    return Conditions(frozenset({int(version)}))


def _after_sending(session: Session, person_id: UUID, message_id: str) -> str:
    if session.may("messages:read"):
        return f"{MESSAGES}/{message_id}"
    return f"{HERE}/{person_id}" if session.may("people:read") else places_of(session)[0].path


def _find(tx: Transaction, person_id: UUID, session: Session) -> Known:
    """Read what somebody may see of a person. Raises NoSuchPerson."""
    person = record.view(tx, person_id)
    messages: Sequence[Message] = ()
    entries: Sequence[Entry] = ()
    on: UUID | None = None
    suppressed: Suppression | None = None
    if session.may("messages:read"):
        suppressed = suppressions.find_by_key(tx, queries.email_key(tx, person_id) or "")
        messages, on = filters.page(tx, Filter(person_id=person_id), limit=SHOWN_ROWS)
    if session.may("audit:read"):
        entries, _ = audit.page(tx, audit.Filter(subject=person_id), limit=SHOWN_ROWS)
    ids = {UUID(entry.actor.id) for entry in entries if entry.actor.kind == "key"}
    names = {str(id_): name for id_, name in keys.names(tx, list(ids)).items()}
    facts = consent.of(tx, person_id), unsubscribe.since(tx, person_id)
    return Known(person, *facts, messages, on is not None, suppressed, entries, names)


def _what_goes(tx: Transaction, person_id: UUID) -> tuple[Person, int]:
    return record.view(tx, person_id), filters.count(tx, Filter(person_id=person_id)).found


async def _page(  # noqa: PLR0913 - what a page shows
    request: Request,
    visit: Visit,
    person_id: UUID,
    *,
    typed: Mapping[str, str] | None = None,
    problem: Unprocessable | PreconditionFailed | None = None,
    read: str = "",
    done: str = "",
) -> Response:
    """Show a person, with what was typed into the form if that could not be done.

    Who is told that it is stale sends the version that they see now; else that which they had.
    """
    known = await services_of(request).database.read(_find, person_id, visit.session)
    person, is_stale = known.person, isinstance(problem, PreconditionFailed)
    stored = {name: getattr(person, name) or "" for name in FIELDS}
    languages = people.languages_of(request)
    return show(
        request,
        "person.html",
        problem.status if problem else 200,
        known=known,
        person=person,
        all_messages=at(MESSAGES, person=str(person_id)),
        all_entries=at(f"{BEGINS}/audit", subject=str(person_id)),
        stored=stored,
        typed={**stored, **(typed or {})},
        version=person.version if is_stale or not read else read,
        is_stale=is_stale,
        errors=errors_of(problem) if isinstance(problem, Unprocessable) else {},
        languages=sorted({*languages, *filter(None, [person.language])}),
        done=done,
    )


async def _sending(
    request: Request,
    visit: Visit,
    person_id: UUID,
    template: str = "",
    problem: Conflict | Unprocessable | None = None,
) -> Response:
    person = await services_of(request).database.read(record.view, person_id)
    return show(
        request,
        "person-send.html",
        problem.status if problem else 200,
        person=person,
        templates=await run_in_threadpool(_sendable, request),
        template=template,
        is_unconfirmed=isinstance(problem, Unconfirmed),
        is_unsubscribed=isinstance(problem, Unsubscribed),
        errors=errors_of(problem) if isinstance(problem, Unprocessable) else {},
        once=visit.form.get(ONCE) or secrets.token_urlsafe(16),
    )


def _sendable(request: Request) -> Sequence[str]:
    """List the templates that need no data beside what each message has: they are files."""
    services = services_of(request)
    composer = sample_composer(services.settings)
    own = services.templates() - DATA.keys()
    return sorted(FOR_ANYBODY | {name for name in own if not unknown_data(composer, name)})
