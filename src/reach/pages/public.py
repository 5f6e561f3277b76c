"""The pages that everybody may see: sign up, ask for a link, what a problem means."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Request, Response

from reach.mailbox.pages import may_read
from reach.pages import inbox
from reach.pages.link_cookie import CHALLENGE, see
from reach.pages.wording import wording_of
from reach.people import typos
from reach.people.antispam import SendAgain
from reach.people.consent import Evidence
from reach.people.consent_request import evidence_of, origin_of
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
from reach.web.html import HEADERS, explain, is_framed, language_of, render
from reach.web.policy import EMBED, EMBED_JSON
from reach.web.returns import NEXT
from reach.web.routes import fields_of, services_of

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
#: What a form in a frame says of where it is: one of ``REACH_EMBED_ORIGINS``.
SITE = "site"
#: What a form's fields say to the page alone.
BESIDE = (SURE, NEXT, SITE)
NEEDED = ("name", "email")
#: Where the form is, and where it is sent to.
SIGN_UP_PAGES = ("/", EMBED)
#: Says that a link does not work: its own page's address would keep the token.
VOID = "/links/void"
NOTHING: Mapping[str, str] = MappingProxyType({})
#: No field of a form takes more; a flood is not to have more written than it sends.
MOST_SHOWN_CHARACTERS = 600

router = APIRouter(include_in_schema=False)


@router.api_route("/docs", methods=READ)
async def get_docs(request: Request) -> Response:
    """Show what the API can do, and let it be tried."""
    origin = services_of(request).settings.origin
    return render(request, "docs.html", runs=RUNS, origin=origin)


@router.api_route("/", methods=READ)
async def get_sign_up(request: Request) -> Response:
    """Show the form."""
    return sign_up_form(request, {})


@router.post("/")
async def post_sign_up(request: Request) -> Response:
    """Sign up. The 303 means the person and their email are on disk; it says no more.

    Otherwise the form comes back as it was filled in, with what is wrong beside each field.
    """
    return await answer_form(request, _lead_on)


def _lead_on(request: Request, typed: Mapping[str, str]) -> Response:
    """Lead to where the form says, if it may say so; else to the page about the inbox."""
    back = services_of(request).returns.wanted(request, typed)
    if back is None:
        return inbox.remember(request, see(request, inbox.PATH), typed)
    # As it is written in the settings: a RedirectResponse would write some characters otherwise.
    return inbox.forget(request, Response(status_code=303, headers={**HEADERS, "Location": back}))


async def answer_form(
    request: Request, done: Callable[[Request, Mapping[str, str]], Response]
) -> Response:
    """Sign up, and answer with what ``done`` makes of what was typed; or with the form again."""
    typed = await read_form(request)
    try:
        meant = await sign_up(request, typed)
    except (Unprocessable, ServiceUnavailable) as problem:
        return sign_up_form(request, typed, problem)
    if meant is None:
        return done(request, typed)
    return _form(request, "did-you-mean.html", typed, None, typed=kept(typed, LABELS), meant=meant)


async def sign_up(request: Request, typed: Mapping[str, str], key: str | None = None) -> str | None:
    """Sign up who filled a form in: when it returns, that is on disk.

    Unless an address looks like a slip, and nobody has said that it is none: then give the one that
    was probably meant. Who sends a form of one ``key`` twice does it once. Raises Unprocessable;
    ServiceUnavailable; BadRequest for what is no key.
    """
    services = services_of(request)
    # A form cannot leave a field out: an empty note is none, and so is what is hidden.
    given = {
        name: text
        for name, text in typed.items()
        if name not in BESIDE and (name in NEEDED or text.strip())
    }
    given.setdefault("language", language_of(request))
    form = validate(SignUpForm, given, services.settings)
    if typed.get(SURE) != typed["email"] and (meant := typos.meant(form.email)):
        return meant
    read = None
    if key is not None:
        path = request.scope["path"]
        read = services.idempotency.of_public([key], form.email.key, path, given)
    await services.sign_up(form, read, _evidence(request, typed))
    return None


def _evidence(request: Request, typed: Mapping[str, str]) -> Evidence:
    """Say through which form somebody signs up; what it said is known of our own alone."""
    services, path, language = services_of(request), request.scope["path"], language_of(request)
    if path == EMBED_JSON:
        return evidence_of(services, request.scope, "script", language)
    if path == EMBED:
        site = typed.get(SITE)
        origin = site if site in services.settings.embedders else None
        said = wording_of(request, LABELS)
        return evidence_of(services, request.scope, "frame", language, origin=origin, wording=said)
    if origin_of(services, request.scope) is not None:
        return evidence_of(services, request.scope, "site", language)
    return evidence_of(
        services, request.scope, "page", language, wording=wording_of(request, LABELS)
    )


def _site(request: Request, given: Mapping[str, str]) -> str:
    """Name the site whose page has the form in a frame, if it is one that may; else nothing."""
    if not is_framed(request):
        return ""
    embedders = services_of(request).settings.embedders
    referrers = [urlsplit(one) for one in fields_of(request, "referer")]
    named = [given.get(SITE, ""), *(f"{one.scheme}://{one.netloc}" for one in referrers)]
    return next((one for one in named if one in embedders), "")


@router.api_route("/check-your-inbox", methods=READ)
async def get_check_your_inbox(request: Request) -> Response:
    """Say the same to everybody, whether their address was known or not.

    What is true for those who signed up is another thing than for those who asked for a link.
    """
    for_link = request.query_params.get("for") == "link"
    return inbox_page(request, inbox.remembered(request), for_link=for_link)


def inbox_page(request: Request, typed: Mapping[str, str], *, for_link: bool = False) -> Response:
    """Say that an email is on its way, to which address, and offer to send it again."""
    path = request.scope["path"]
    return _form(
        request,
        "check-your-inbox.html",
        typed,
        None,
        for_link=for_link,
        typed={"email": typed.get("email", "")} if for_link else kept(typed),
        has_mailbox=may_read(request),
        path=f"{path}?for=link" if for_link else path,
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
    show = sign_up_form if request.scope["path"] in SIGN_UP_PAGES else link_form
    try:
        typed = await read_form(request)
    except Problem:  # what cannot be read cannot be kept; when to come back is said all the same
        typed = {}
    shown = {name: text for name, text in typed.items() if len(text) <= MOST_SHOWN_CHARACTERS}
    return show(request, shown, problem)


def kept(typed: Mapping[str, str], names: Iterable[str] = (*LABELS, SURE)) -> Mapping[str, str]:
    """Choose what people typed themselves, to be sent again."""
    return {name: typed[name] for name in names if typed.get(name)}


def sign_up_form(
    request: Request, typed: Mapping[str, str], problem: Problem | None = None
) -> Response:
    """Show the form, as it was filled in, with what is wrong."""
    shown = {name: typed.get(name, "") for name in LABELS}
    return _form(request, "sign-up.html", typed, problem, typed=shown, sure=typed.get(SURE, ""))


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
    back, here = services.returns.wanted(request, given) or "", request.scope["path"]
    path = str(values.pop("path", here))
    if back:
        path += f"{'&' if '?' in path else '?'}{urlencode({NEXT: back})}"
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
        action=EMBED if here == EMBED else "/",
        next=back,
        site=_site(request, given),
        path=path,
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
    values = {"typed": email, "is_void": is_void, "path": VOID if is_void else "/links"}
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
        "title": problem and _headline(problem, faults),
        "may_repeat": isinstance(problem, ServiceUnavailable),
        "wait_minutes": _wait_minutes(problem),
        "is_fine": isinstance(problem, SendAgain),
    }


def _headline(problem: Problem, faults: Sequence[object]) -> str:
    """Choose what is said first of a form that is not taken as it is."""
    if isinstance(problem, QuotaExceeded):
        return N_("One moment, please")
    if isinstance(problem, SendAgain):
        return N_("Almost done: please press the button once more")
    if faults:
        return N_("Please look at this again")
    return public_detail(problem) or problem.title


def _wait_minutes(problem: Problem | None) -> int:
    """Give when a form that was sent too often may be sent again, in minutes; else 0."""
    if not isinstance(problem, QuotaExceeded):
        return 0
    return max(math.ceil(int(problem.headers["Retry-After"]) / 60), 1)
