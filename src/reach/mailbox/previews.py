"""Previews in the mailbox: every template in every language, for those at this machine only."""

from typing import NamedTuple

from fastapi import APIRouter, Request, Response
from markupsafe import escape

from reach.mail import Form
from reach.mail.compose import CannotCompose, Composer
from reach.mail.previews import preview
from reach.mail.samples import sample_composer
from reach.mailbox.pages import OPEN_LINKS_OUTSIDE, READ, Local, mail_headers
from reach.problems import NotFound
from reach.settings import Settings
from reach.web.html import render
from reach.web.routes import services_of

PARTS: tuple[Form, ...] = ("html", "text", "source")

router = APIRouter(prefix="/mailbox/templates", include_in_schema=False)

# These are not `async`: templates are files. They are read for each request, so that somebody who
# writes some sees each change.


class Shown(NamedTuple):
    """Which template is looked at, in which language, and what of its email."""

    template: str
    language: str
    part: Form


@router.api_route("", methods=READ)
def get_page(
    request: Request, _: Local, template: str = "", language: str = "", part: str = ""
) -> Response:
    """List all templates, each in all languages, and show the one that was chosen."""
    settings = services_of(request).settings
    composer = sample_composer(settings)
    names = sorted(composer.templates)
    shown = Shown(
        template if template in names else "welcome",
        composer.language_of(language) or composer.languages[0],
        next((one for one in PARTS if one == part), PARTS[0]),
    )
    return render(
        request,
        "mailbox-templates.html",
        templates=names,
        mail_languages=composer.languages,
        parts=PARTS,
        shown=shown,
        subject=_written(settings, composer, shown._replace(part="subject")),
        text="" if shown.part == "html" else _written(settings, composer, shown),
    )


@router.api_route("/{template}", methods=READ)
def get_email(
    request: Request, _: Local, template: str, lang: str | None = None, part: Form = "html"
) -> Response:
    """Show a template's email, or a part of it, shut in. Raises NotFound."""
    settings = services_of(request).settings
    composer = sample_composer(settings)
    language = composer.language_of(lang)
    if language is None or template not in composer.templates:
        raise NotFound
    text = _written(settings, composer, Shown(template, language, part))
    is_html = part == "html"
    headers = {**mail_headers(settings), "Content-Language": language}
    content = (OPEN_LINKS_OUTSIDE if is_html else "") + text
    media_type = "text/html" if is_html else "text/plain"
    return Response(content.encode("utf-8", "replace"), headers=headers, media_type=media_type)


def _written(settings: Settings, composer: Composer, shown: Shown) -> str:
    """Write what is looked at; of a template that is broken, what is wrong with it."""
    template, language, part = shown
    try:
        return preview(settings, composer, template, language=language, form=part)
    except CannotCompose as error:
        return str(escape(error)) if part == "html" else str(error)
