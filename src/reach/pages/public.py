"""The pages that everybody may see: sign up, ask for a link, what a problem means."""

import math
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fastapi import APIRouter, Request, Response

from reach.mailbox.pages import may_read
from reach.pages import inbox
from reach.pages.link_cookie import CHALLENGE, see
from reach.people import typos
from reach.people.antispam import SendAgain
from reach.people.schemas import LinkRequestForm, SignUpForm
from reach.problems import (
    NotFound,
    Problem,
    QuotaExceeded,
    ServiceUnavailable,
    Unprocessable,
    all_problems,
)
from reach.texts import N_
from reach.web.body import read_form, validate
from reach.web.errors import REASON, public_detail
from reach.web.html import explain, language_of, render
from reach.web.routes import services_of

READ = ["GET", "HEAD"]
#: What the page of the API may do: it reads the document and tries calls here; its stylesheet
#: holds its pictures.
RUNS = {"connect-src": "'self'", "img-src": "'self' data:"}

LABELS = {
    "name": N_("Your name"),
    "email": N_("Your email address"),
    "description": N_("Anything we should know?"),
}
LINK_LABELS = {"email": LABELS["email"]}
#: What a page's form calls its fields.
FORMS = {
    "sign-up.html": LABELS,
    "links.html": LINK_LABELS,
    "check-your-inbox.html": LABELS,
    "did-you-mean.html": LABELS,
}
#: Those that most who come here see, as they are when nobody has typed into them.
BLANK = ("sign-up.html", "links.html")
#: What a form says of an address that was asked about.
SURE = "sure"
NEEDED = ("name", "email")
#: Says that a link does not work: its own page's address would keep the token.
VOID = "/links/void"
NOTHING: Mapping[str, str] = MappingProxyType({})

router = APIRouter(include_in_schema=False)


@router.api_route("/docs", methods=READ)
async def get_docs(request: Request) -> Response:
    """Show what the API can do, and let it be tried."""
    origin = services_of(request).settings.origin
    return render(request, "docs.html", runs=RUNS, origin=origin)


@router.api_route("/", methods=READ)
async def get_sign_up(request: Request) -> Response:
    """Show the form."""
    return _sign_up_form(request, {})


@router.post("/")
async def post_sign_up(request: Request) -> Response:
    """Sign up. The 303 means the person and their email are on disk; it says no more.

    Otherwise the form comes back as it was filled in, with what is wrong beside each field.
    """
    services, typed = services_of(request), await read_form(request)
    sure = typed.pop(SURE, None)
    try:
        # A form cannot leave a field out: an empty note is none, and so is what is hidden.
        given = {name: text for name, text in typed.items() if name in NEEDED or text.strip()}
        given.setdefault("language", language_of(request))
        form = validate(SignUpForm, given, services.settings)
        if sure is None and (meant := typos.meant(form.email)):
            return _form(request, "did-you-mean.html", typed, None, typed=kept(typed), meant=meant)
        await services.sign_up(form)
    except (Unprocessable, ServiceUnavailable) as problem:
        return _sign_up_form(request, typed, problem)
    return inbox.remember(request, see(request, inbox.PATH), typed)


@router.api_route("/check-your-inbox", methods=READ)
async def get_check_your_inbox(request: Request) -> Response:
    """Say the same to everybody, whether their address was known or not.

    What is true for those who signed up is another thing than for those who asked for a link.
    """
    for_link = request.query_params.get("for") == "link"
    typed = inbox.remembered(request)
    return _form(
        request,
        "check-your-inbox.html",
        typed,
        None,
        for_link=for_link,
        typed={"email": typed.get("email", "")} if for_link else typed,
        has_mailbox=may_read(request),
        path=f"{inbox.PATH}?for=link" if for_link else inbox.PATH,
    )


@router.api_route("/problems/{slug}", methods=READ)
async def get_problem(slug: str, request: Request) -> Response:
    """Explain a kind of problem: the page that the ``type`` of an error leads to."""
    kind = all_problems().get(slug)
    if kind is None:
        raise NotFound
    return render(request, "problem-type.html", kind=kind, explanation=explain(kind))


@router.api_route("/static/{name}", methods=READ)
async def get_static(name: str, request: Request) -> Response:
    """Serve the stylesheet, the icon and the logo."""
    answer = services_of(request).pages.static_file(name)
    if answer is None:
        raise NotFound
    return answer


async def refused_page(request: Request, problem: Problem) -> Response:
    """Show a form that was sent too often as it was filled in, and say when to send it again."""
    typed = await read_form(request)
    typed.pop(SURE, None)
    show = _sign_up_form if request.scope["path"] == "/" else link_form
    return show(request, typed, problem)


def kept(typed: Mapping[str, str]) -> Mapping[str, str]:
    """Choose what people typed themselves, to be sent again."""
    return {name: typed[name] for name in LABELS if typed.get(name)}


def _sign_up_form(
    request: Request, typed: Mapping[str, str], problem: Problem | None = None
) -> Response:
    shown = {name: typed.get(name, "") for name in LABELS}
    return _form(request, "sign-up.html", typed, problem, typed=shown)


def _form(
    request: Request,
    page: str,
    given: Mapping[str, str],
    problem: Problem | None,
    *,
    status: int = 200,
    **values: object,
) -> Response:
    """Show a form, as it was filled in, with what is wrong."""
    services = services_of(request)
    settings, protection = services.settings, services.spam_protection
    return render(
        request,
        page,
        problem.status if problem else status,
        headers=problem.headers if problem else {},
        # Its script asks for a task to prove work by; without that it has none.
        runs={"connect-src": "'self'"} if protection.needs_proof else None,
        is_blank=page in BLANK and not given and problem is None and not values.get("is_void"),
        started=protection.stamp(time.time(), is_again=bool(given)),
        needs_proof=protection.needs_proof,
        # A browser's own check of addresses knows only ASCII before the @.
        email_type="text" if settings.smtputf8 else "email",
        **values,
        **faults_of(problem, FORMS[page], request),
    )


@router.api_route("/links", methods=READ)
async def get_links(request: Request) -> Response:
    """Show the form by which a new link is asked for."""
    return link_form(request)


@router.post("/links")
async def post_links(request: Request) -> Response:
    """Have a link sent. The 303 is the same whether the address is known or not."""
    services, typed = services_of(request), await read_form(request)
    try:
        # What is hidden may be left empty: it is not there then.
        given = {name: text for name, text in typed.items() if name in LINK_LABELS or text.strip()}
        await services.request_link(validate(LinkRequestForm, given, services.settings))
    except (Unprocessable, ServiceUnavailable) as problem:
        return link_form(request, typed, problem)
    return inbox.remember(request, see(request, f"{inbox.PATH}?for=link"), typed)


@router.api_route(VOID, methods=READ)
async def no_link(request: Request) -> Response:
    """Say that a link does not work, or no longer, and offer a new one."""
    answer = link_form(request, is_void=True)
    answer.headers["WWW-Authenticate"] = CHALLENGE
    return answer


def link_form(
    request: Request,
    typed: Mapping[str, str] = NOTHING,
    problem: Problem | None = None,
    *,
    is_void: bool = False,
) -> Response:
    """Show the form, as it was filled in, with what is wrong: with it, or with a link."""
    email, status = typed.get("email", ""), 401 if is_void else 200
    values = {"typed": email, "is_void": is_void}
    return _form(request, "links.html", typed, problem, status=status, **values)


def faults_of(problem: Problem | None, labels: Mapping[str, str], request: Request) -> Any:
    """Values for a form's template: what is wrong, above the form and beside each field.

    A fault of no field (or of one that the form lacks) stands above the form only.
    """
    members: dict[str, Any] = dict(problem.members) if problem else {}
    faults = [(e["pointer"].strip("/"), e["detail"]) for e in members.get("errors", [])]
    order = ["", *labels]
    faults.sort(key=lambda fault: order.index(fault[0]) if fault[0] in order else len(order))
    if problem is not None:
        request.scope[REASON] = problem.detail
    return {
        "labels": labels,
        "faults": faults,
        "errors": {name: detail for name, detail in reversed(faults) if name in labels},
        "title": None if problem is None else public_detail(problem) or problem.title,
        "may_repeat": isinstance(problem, ServiceUnavailable),
        "wait_minutes": _wait_minutes(problem),
        "is_fine": isinstance(problem, SendAgain),
    }


def _wait_minutes(problem: Problem | None) -> int:
    """Give when a form that was sent too often may be sent again, in minutes; else 0."""
    if not isinstance(problem, QuotaExceeded):
        return 0
    return max(math.ceil(int(problem.headers["Retry-After"]) / 60), 1)
