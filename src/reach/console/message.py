"""One message at the console: each attempt and what it means, the email as sent, what to do."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from markupsafe import escape

from reach.auth.audit import Actor
from reach.console.guard import READ, Requires, Visit, console_router
from reach.console.layout import places_of, see, show
from reach.console.meanings import explain, explain_report, why_it_waits
from reach.console.messages import HERE, TONES, MayRead, MayWatch, MayWrite
from reach.db.transaction import Transaction
from reach.mail import Form
from reach.mail.compose import CannotCompose
from reach.mail.samples import filled, sample_composer
from reach.mailbox.pages import OPEN_LINKS_OUTSIDE, mail_headers
from reach.messages import actions, outbox
from reach.messages.model import NOTICE, SENT, Message
from reach.messages.outbox import AlreadySent, NotQueued
from reach.messages.reported import words_of as words_said
from reach.messages.routes import MessageId
from reach.messages.suppressions import WHY
from reach.people import queries
from reach.people.model import Person
from reach.settings import Settings
from reach.web.html import explain as words_of
from reach.web.routes import services_of

PARTS: dict[Form, str] = {"html": "HTML", "text": "Text", "source": "Source"}
#: Of a time when a message was over, by its state; what came back was sent then.
ENDED = {"failed": "Failed", "cancelled": "Cancelled", "suppressed": "Suppressed"}
ENDED |= dict.fromkeys(SENT, "Sent")
REPORTED = {"delivered": "good", "delayed": "wait", "bounced": "wrong", "complained": "wrong"}
OUTCOMES = {"sent": "good", "deferred": "wait", "rejected": "wrong", "unknown": "wait"}

#: The email holds the person's name, and may hold whatever a template says of them.
MayReadBoth = Annotated[Visit, Depends(Requires("people:read", "messages:read"))]

router = console_router("/messages")


@dataclass(frozen=True, slots=True)
class Email:
    """A message in words: composed again, or why it cannot be."""

    subject: str
    text: str
    language: str = ""


@router.api_route("/{id}", methods=READ)
async def get_message(request: Request, _: MayRead, id_: MessageId, done: str = "") -> Response:
    """Show a message with every attempt. Raises NoSuchMessage."""
    return await _page(request, id_, done=done)


@router.api_route("/{id}/now", methods=READ)
async def get_message_now(request: Request, _: MayWatch, id_: MessageId) -> Response:
    """Show it as it is now, to a page that watches it leave. Raises NoSuchMessage."""
    return await _page(request, id_)


@router.post("/{id}/retry")
async def post_retry(request: Request, visit: MayWrite, id_: MessageId) -> Response:
    """Try a message again, now. Raises NoSuchMessage."""
    return await _change(request, visit, actions.retry, id_, "retried")


@router.post("/{id}/cancel")
async def post_cancel(request: Request, visit: MayWrite, id_: MessageId) -> Response:
    """Stop a queued message from being sent. Raises NoSuchMessage."""
    return await _change(request, visit, actions.cancel, id_, "cancelled")


@router.api_route("/{id}/email", methods=READ)
async def get_email(request: Request, _: MayReadBoth, id_: MessageId, part: str = "") -> Response:
    """Show the email: subject, and HTML, text or source. Raises NoSuchMessage."""
    chosen: Form = next((one for one in PARTS if one == part), "html")
    services = services_of(request)
    found = await services.database.read(_with_person, id_)
    email = await run_in_threadpool(_written, services.settings, *found, chosen)
    return show(
        request, "message-email.html", message=found[0], email=email, part=chosen, parts=PARTS
    )


@router.api_route("/{id}/email/html", methods=READ)
async def get_html(request: Request, _: MayReadBoth, id_: MessageId) -> Response:
    """Show the email's HTML alone, shut in: it runs and loads nothing. Raises NoSuchMessage."""
    services = services_of(request)
    found = await services.database.read(_with_person, id_)
    email = await run_in_threadpool(_written, services.settings, *found, "html")
    headers = {**mail_headers(services.settings), "Content-Language": email.language}
    html = OPEN_LINKS_OUTSIDE + email.text
    return Response(html.encode("utf-8", "replace"), headers=headers, media_type="text/html")


async def _change(
    request: Request,
    visit: Visit,
    change: Callable[[Transaction, Actor, UUID], Message],
    message_id: UUID,
    done: str,
) -> Response:
    try:
        await services_of(request).database.write(change, visit.actor, message_id)
    except (AlreadySent, NotQueued) as problem:
        if not visit.session.may("messages:read"):
            raise
        return await _page(request, message_id, problem=problem)
    if not visit.session.may("messages:read"):
        return see(request, places_of(visit.session)[0].path)
    return see(request, f"{HERE}/{message_id}", done=done)


async def _page(
    request: Request,
    message_id: UUID,
    *,
    done: str = "",
    problem: AlreadySent | NotQueued | None = None,
) -> Response:
    found = await services_of(request).database.read(outbox.history, message_id)
    message, tries, reports = found
    return show(
        request,
        "message.html",
        problem.status if problem else 200,
        message=message,
        tone=TONES[message.state],
        is_sent=message.state in SENT,
        is_lifted_first=message.state == "suppressed" and message.last_error in WHY.values(),
        ended=ENDED,
        reports=[(one, words_said(one), explain_report(one)) for one in reversed(reports)],
        reported=REPORTED,
        tries=[(attempt, explain(attempt)) for attempt in reversed(tries)],
        outcomes=OUTCOMES,
        waits=why_it_waits(message, tries[-1] if tries else None),
        problem=problem,
        words=words_of(type(problem)) if problem else [],
        done=done,
    )


def _with_person(tx: Transaction, message_id: UUID) -> tuple[Message, Person | None]:
    """Find a message, and whom it is for or about."""
    message = outbox.view(tx, message_id)
    return message, queries.find(tx, message.person_id) if message.person_id else None


def _written(settings: Settings, message: Message, person: Person | None, part: Form) -> Email:
    """Compose a message again; of one that cannot be, say why.

    Its links are samples: of those that were sent, nothing is kept. Whether the address was
    confirmed when it was sent, its own words may depend on.
    """
    composer = sample_composer(settings)
    if person is not None:
        confirmed_at, until = person.confirmed_at, message.finished_at
        message = replace(
            message,
            links_version=0,
            is_confirmed=confirmed_at is not None and (until is None or confirmed_at <= until),
            # A notice is in the maker's language, and not in that of whom it names.
            language=None if message.template == NOTICE else person.language,
        )
    message = filled(message, composer)
    language = composer.language_of(message.language) or composer.languages[0]
    try:
        rendered = composer.render(message)
        if part == "source":
            text = composer.compose(message).content.decode("utf-8", "replace")
            return Email(rendered.subject, text, language)
        return Email(rendered.subject, rendered.html if part == "html" else rendered.text, language)
    except CannotCompose as error:
        said = str(error)
        return Email("", str(escape(said)) if part == "html" else said, language)
