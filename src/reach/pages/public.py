"""The pages that everybody may see: sign up, check your inbox, what a problem means."""

import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from reach.mailbox.pages import may_read
from reach.people.antispam import SendAgain
from reach.people.schemas import SignUpForm
from reach.problems import NotFound, Problem, ServiceUnavailable, Unprocessable, all_problems
from reach.web.body import read_form, validate
from reach.web.deps import services_of
from reach.web.errors import REASON, public_detail
from reach.web.html import HEADERS, explain, render, static_file


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
        "is_fine": isinstance(problem, SendAgain),
    }


def fields(request: Request, typed: Mapping[str, str]) -> dict[str, object]:
    """Make the values that the template of the form needs for it.

    ``typed`` is what came with it, if it is shown again.
    """
    spam = services_of(request).spam_protection
    started = spam.stamp(time.time(), is_again=bool(typed))
    return {"started": started, "needs_proof": spam.needs_proof}


def runs(request: Request) -> Mapping[str, str] | None:
    """What the form's script may do beyond ``render.PAGE_POLICY``; None if it has no script."""
    needs_proof: bool = services_of(request).spam_protection.needs_proof
    return {"connect-src": "'self'"} if needs_proof else None


READ = ["GET", "HEAD"]
#: It reads the document and tries calls here; its stylesheet holds its pictures.
RUNS = {"connect-src": "'self'", "img-src": "'self' data:"}

router = APIRouter(include_in_schema=False)


@router.api_route("/docs", methods=READ)
async def get_docs(request: Request) -> Response:
    """Show what the API can do, and let it be tried."""
    return render("docs.html", runs=RUNS, brand_name=services_of(request).settings.brand_name)


LABELS = {
    "name": "Your name",
    "email": "Your email address",
    "description": "Anything we should know?",
}
NEEDED = ("name", "email")


@router.api_route("/", methods=READ)
async def get_sign_up(request: Request) -> Response:
    """Show the form."""
    return _form(request, 200, typed={})


@router.post("/")
async def post_sign_up(request: Request) -> Response:
    """Sign up. The 303 means the person and their email are on disk; it says no more.

    Otherwise the form comes back as it was filled in, with what is wrong beside each field.
    """
    services, typed = services_of(request), await read_form(request)
    try:
        # A form cannot leave a field out: an empty note is none, and so is what is hidden.
        given = {name: text for name, text in typed.items() if name in NEEDED or text.strip()}
        await services.sign_up(validate(SignUpForm, given, services.settings))
    except Unprocessable as problem:
        return _form(request, 422, typed=typed, problem=problem)
    except ServiceUnavailable as problem:
        return _form(request, 503, typed=typed, problem=problem)
    return RedirectResponse("/check-your-inbox", status_code=303, headers=HEADERS)


@router.api_route("/check-your-inbox", methods=READ)
async def get_check_your_inbox(request: Request) -> Response:
    """Say the same to everybody, whether their address was known or not.

    What is true for somebody who signed up differs from what is true for who asked for a link.
    """
    return render(
        "check-your-inbox.html",
        for_link=request.query_params.get("for") == "link",
        brand_name=services_of(request).settings.brand_name,
        has_mailbox=may_read(request),
    )


@router.api_route("/problems/{slug}", methods=READ)
async def get_problem(slug: str, request: Request) -> Response:
    """Explain a kind of problem: the page that the ``type`` of an error leads to."""
    kind = all_problems().get(slug)
    if kind is None:
        raise NotFound
    return render(
        "problem.html",
        brand_name=services_of(request).settings.brand_name,
        kind=kind,
        detail=None,
        explanation=explain(kind),
    )


@router.api_route("/static/{name}", methods=READ)
async def get_static(name: str) -> Response:
    """Serve the stylesheet and the icon."""
    answer = static_file(name)
    if answer is None:
        raise NotFound
    return answer


def _form(
    request: Request, status: int, *, typed: Mapping[str, str], problem: Problem | None = None
) -> Response:
    """Show the form, as it was filled in, with what is wrong."""
    settings = services_of(request).settings
    return render(
        "sign-up.html",
        status,
        headers=problem.headers if problem else {},
        runs=runs(request),
        **fields(request, typed),
        brand_name=settings.brand_name,
        # A browser's own check of addresses knows only ASCII before the @.
        email_type="text" if settings.smtputf8 else "email",
        typed={name: typed.get(name, "") for name in LABELS},
        **faults_of(problem, LABELS, request),
    )
