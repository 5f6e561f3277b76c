"""The form on somebody's own page: in a frame, or by a script.

The script may be on any page, so it may read what it asks for from any. Nothing there is secret: it
is what everybody sees on the sign-up page, and no cookie is looked at. See
docs/decisions/0065-own-site.md.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from gettext import NullTranslations
from math import ceil
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from reach.pages import public
from reach.pages.public import LABELS, READ, faults_of, sign_up
from reach.problems import BadRequest, Problem
from reach.texts import N_
from reach.web.body import read_form
from reach.web.html import language_of
from reach.web.policy import EMBED, EMBED_JSON
from reach.web.preconditions import is_known, read_if_none_match
from reach.web.routes import fields_of, services_of
from reach.web.templates import DIRECTION, FOR_ALL

#: Not for long: a page has it from us each time, and a new version must reach it soon.
KEPT = "public, max-age=300"
#: A field in which the script sends an idempotency key. As a header it would have browsers ask
#: first whether it may be sent.
KEY = "key"
#: What the script says besides.
WORDS = {
    "button": N_("Sign up"),
    "optional": N_("(optional)"),
    "sending": N_("Sending…"),
    "checking": N_("One moment: your browser does a short spam check…"),
    "failed": N_(
        "This could not be sent. What you typed is still here: please try again in a moment."
    ),
    "insecure": N_("The spam check works only over https."),
}

MINUTES_OF_HOUR = 60

router = APIRouter(include_in_schema=False)


@router.api_route(EMBED, methods=READ)
async def get_embed(request: Request) -> Response:
    """Show the form for a frame, which only the pages of ``REACH_EMBED_ORIGINS`` may have."""
    return public.sign_up_form(request, {})


@router.post(EMBED)
async def post_embed(request: Request) -> Response:
    """Sign up, and say so in the frame: a browser may keep no cookies there to lead on with."""
    return await public.answer_form(request, public.inbox_page)


@router.api_route("/embed.js", methods=READ)
async def get_script(request: Request) -> Response:
    """Serve the script, to whose page does not matter."""
    pages = services_of(request).pages
    etag = f'"{pages.digest("embed.js")}"'
    headers = {**FOR_ALL, "Cache-Control": KEPT, "ETag": etag}
    known: Sequence[str] = ()
    with suppress(BadRequest):  # whatever a proxy says of it, the page gets its form
        known = read_if_none_match(fields_of(request, "if-none-match"))
    if is_known(etag, known):
        return Response(status_code=304, headers=headers)
    return Response(pages.content("embed.js"), headers=headers, media_type="text/javascript")


@router.api_route(EMBED_JSON, methods=READ)
async def get_form(request: Request) -> Response:
    """Give the script what its form needs, in the language that it asks for."""
    services, translations = services_of(request), _translations(request)
    protection, now = services.spam_protection, time.time()
    _ = translations.gettext
    words = {name: _(text) for name, text in WORDS.items()}
    words |= {"lang": language_of(request)}
    words |= {"dir": translations.pgettext("direction of writing", DIRECTION)}
    body: dict[str, Any] = {
        "labels": {name: _(text) for name, text in LABELS.items()},
        "words": words,
        "emailType": "text" if services.settings.smtputf8 else "email",
        "started": protection.stamp(now),
    }
    if protection.needs_proof:
        body |= {
            "challenge": protection.challenge(now),
            "solver": services.pages.asset("altcha.js"),
        }
    return _answer(request, 200, body)


@router.post(EMBED_JSON)
async def post_form(request: Request) -> Response:
    """Sign up. A 202 means the person and their email are on disk; a 200 asks about the address."""
    try:
        typed = await read_form(request)
        meant = await sign_up(request, typed, typed.pop(KEY, None))
    except Problem as problem:
        return refusal(request, problem)
    _, email = _translations(request).gettext, typed["email"]
    if meant is None:
        on_its_way = _("An email is on its way to %(email)s.") % {"email": email}
        text = f"{on_its_way} {_('Open it, and follow what it says.')}"
        body = {"title": _("Check your inbox"), "text": text, "isDone": True}
        return _answer(request, 202, body)
    question = _("You typed %(email)s. Did you mean %(meant)s?")
    yes = _("Yes, use %(email)s") % {"email": meant}
    no = _("No, %(email)s is right") % {"email": email}
    body = {
        "title": _("Is this address right?"),
        "text": question % {"email": email, "meant": meant},
        "choices": [(yes, meant), (no, email)],
    }
    return _answer(request, 200, body)


async def refused_page(request: Request, problem: Problem) -> Response:
    """Answer who sent a form too often: what was typed is kept, on the page or by the script."""
    if request.scope["path"] == EMBED_JSON:
        return refusal(request, problem)
    return await public.refused_page(request, problem)


def refusal(request: Request, problem: Problem) -> Response:
    """Tell the script what is wrong, in words, and beside which field."""
    translations, found = _translations(request), faults_of(problem, LABELS, request)
    _ = translations.gettext
    wrong = found["errors"]
    errors = {name: _(wrong[name]) for name in LABELS if name in wrong}
    others = [_(detail) for name, detail in found["faults"] if name not in LABELS]
    still_here = _("What you typed is still here.")
    if found["wait_minutes"]:
        often = _("This form was sent very often from where you are.")
        others = [often, _waiting(translations, found["wait_minutes"]), still_here]
    elif found["is_fine"]:
        others = [_("What you typed is fine, and still here."), *others]
    elif not found["faults"]:
        repeat = [_("Please try again in a moment.")] if found["may_repeat"] else []
        others = [*repeat, still_here]
    # It was shown before: nobody waits twice.
    started = services_of(request).spam_protection.stamp(time.time(), is_again=True)
    title, text = _(found["title"]), " ".join(others)
    body = {"title": title, "text": text, "errors": errors, "started": started}
    return _answer(request, problem.status, body, problem.headers)


def _waiting(translations: NullTranslations, minutes: int) -> str:
    """Say when to try again, as the page does."""
    said = translations.ngettext
    if minutes < MINUTES_OF_HOUR:
        one, many = "Please try again in a minute.", "Please try again in %(minutes)s minutes."
        return said(one, many, minutes) % {"minutes": minutes}
    hours = ceil(minutes / MINUTES_OF_HOUR)
    one, many = "Please try again in an hour.", "Please try again in %(hours)s hours."
    return said(one, many, hours) % {"hours": hours}


def _translations(request: Request) -> NullTranslations:
    return services_of(request).pages.catalogues.of(language_of(request))


def _answer(
    request: Request, status: int, body: object, headers: Mapping[str, str] | None = None
) -> Response:
    said = {"Content-Language": language_of(request), "Vary": "Accept-Language"}
    return JSONResponse(body, status, {**(headers or {}), **FOR_ALL, **said})
