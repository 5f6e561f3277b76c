"""Templates at the console: each as it is now, with sample data; and a test of it by email."""

from typing import Annotated, NamedTuple

from fastapi import Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from markupsafe import escape

from reach.console.guard import READ, Requires, Visit, console_router
from reach.console.layout import see, show
from reach.console.safety import BEGINS
from reach.mail import Form
from reach.mail.compose import CannotCompose, Composer
from reach.mail.previews import preview
from reach.mail.samples import sample_composer, unknown_data
from reach.mailbox.pages import OPEN_LINKS_OUTSIDE, mail_headers
from reach.messages import actions
from reach.people.address import parse_address
from reach.problems import NotFound, Unprocessable
from reach.settings import Settings
from reach.web.routes import services_of

HERE = f"{BEGINS}/templates"
PARTS: dict[Form, str] = {"html": "HTML", "text": "Text", "source": "Source"}
FIRST = "welcome"

MayRead = Annotated[Visit, Depends(Requires("messages:read"))]
MayWrite = Annotated[Visit, Depends(Requires("messages:write"))]

router = console_router("/templates")


class Shown(NamedTuple):
    """Which template is looked at, in which language, and what of its email."""

    template: str
    language: str
    part: Form


# Templates are files, which are read for each request: who writes some sees each change.


@router.api_route("", methods=READ)
async def get_page(
    request: Request,
    _: MayRead,
    template: str = "",
    language: str = "",
    part: str = "",
    sent: str = "",
) -> Response:
    """List all templates, and show one in one language."""
    return await run_in_threadpool(_page, request, (template, language, part), sent=sent)


@router.api_route("/{template}/email", methods=READ)
def get_email(request: Request, _: MayRead, template: str, language: str | None = None) -> Response:
    """Show the HTML of a template's email, shut in: it runs and loads nothing. Raises NotFound."""
    settings = services_of(request).settings
    composer = sample_composer(settings)
    known = composer.language_of(language)
    if known is None or template not in composer.templates:
        raise NotFound
    html = OPEN_LINKS_OUTSIDE + _written(settings, composer, Shown(template, known, "html"))
    headers = {**mail_headers(settings), "Content-Language": known}
    return Response(html.encode("utf-8", "replace"), headers=headers, media_type="text/html")


@router.post("/{template}/test")
async def post_test(request: Request, visit: MayWrite, template: str) -> Response:
    """Send somebody the template with sample data, by the outbox. Raises NotFound."""
    services = services_of(request)
    composer = await run_in_threadpool(sample_composer, services.settings)
    language = composer.language_of(visit.form.get("language") or None)
    if language is None or template not in composer.templates:
        raise NotFound
    typed = visit.form.get("address", "")
    try:
        recipient = _recipient(typed, services.settings)
    except Unprocessable as problem:
        looked_at = (template, language, visit.form.get("part", ""))
        return await run_in_threadpool(_page, request, looked_at, typed=typed, problem=problem)
    message_id = await services.database.write(
        actions.send_test,
        visit.actor,
        template,
        recipient,
        language,
        settings=services.settings,
    )
    return see(request, HERE, template=template, language=language, sent=str(message_id))


def _recipient(typed: str, settings: Settings) -> str:
    """Read an address as a sign-up does. Raises Unprocessable."""
    try:
        utf8, intranet = settings.smtputf8, settings.intranet
        return parse_address(typed, smtputf8=utf8, intranet=intranet).recipient
    except ValueError as error:
        raise Unprocessable(errors=[{"pointer": "/address", "detail": str(error)}]) from None


def _page(
    request: Request,
    asked: tuple[str, str, str],
    *,
    sent: str = "",
    typed: str = "",
    problem: Unprocessable | None = None,
) -> Response:
    settings = services_of(request).settings
    composer = sample_composer(settings)
    template, language, part = asked
    names = sorted(composer.templates)
    shown = Shown(
        template if template in names else FIRST,
        composer.language_of(language) or composer.languages[0],
        next((one for one in PARTS if one == part), "html"),
    )
    return show(
        request,
        "templates.html",
        problem.status if problem else 200,
        templates=names,
        languages=composer.languages,
        parts=PARTS,
        shown=shown,
        subject=_written(settings, composer, shown._replace(part="subject")),
        text="" if shown.part == "html" else _written(settings, composer, shown),
        stands_in=sorted(unknown_data(composer, shown.template)),
        sent=sent,
        typed=typed,
        error=problem.members["errors"][0]["detail"] if problem else "",  # type: ignore[index]
    )


def _written(settings: Settings, composer: Composer, shown: Shown) -> str:
    """Write what is looked at; of a template that is broken, what is wrong with it."""
    template, language, part = shown
    try:
        return preview(settings, composer, template, language=language, form=part)
    except CannotCompose as error:
        return str(escape(error)) if part == "html" else str(error)
