"""The pages that everybody may see: sign up, check your inbox, what a problem means."""

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from reach.bodies.guard import read_form, validate
from reach.pages import hidden
from reach.pages.assets import static_file
from reach.pages.forms import faults_of
from reach.pages.mailbox import may_read
from reach.pages.render import HEADERS, explain, render
from reach.people.bodies import DoorSignUp
from reach.problems import NotFound, Problem, Unavailable, Unprocessable, all_problems

READ = ["GET", "HEAD"]
LABELS = {
    "name": "Your name",
    "email": "Your email address",
    "description": "Anything we should know?",
}
NEEDED = ("name", "email")

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=READ)
async def get_sign_up(request: Request) -> Response:
    """Show the form."""
    return _form(request, 200, typed={})


@router.post("/")
async def post_sign_up(request: Request) -> Response:
    """Sign up. The 303 means the person and their email are on disk; it says no more.

    Otherwise the form comes back as it was filled in, with what is wrong beside each field.
    """
    typed = await read_form(request)
    try:
        # A form cannot leave a field out: an empty note is none, and so is what is hidden.
        given = {name: text for name, text in typed.items() if name in NEEDED or text.strip()}
        await request.app.state.sign_up(validate(DoorSignUp, given, request))
    except Unprocessable as problem:
        return _form(request, 422, typed=typed, problem=problem)
    except Unavailable as problem:
        return _form(request, 503, typed=typed, problem=problem)
    return RedirectResponse("/check-your-inbox", status_code=303, headers=HEADERS)


@router.api_route("/check-your-inbox", methods=READ)
async def get_check_your_inbox(request: Request) -> Response:
    """Say the same to everybody, whether their address was known or not.

    What is true for whoever signed up is another thing than for whoever asked for a link.
    """
    return render(
        "check-your-inbox.html",
        for_link=request.query_params.get("for") == "link",
        brand_name=request.app.state.settings.brand_name,
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
        brand_name=request.app.state.settings.brand_name,
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
    settings = request.app.state.settings
    return render(
        "sign-up.html",
        status,
        headers=problem.headers if problem else {},
        runs=hidden.runs(request),
        **hidden.fields(request, typed),
        brand_name=settings.brand_name,
        # A browser's own check of addresses knows only ASCII before the @.
        email_type="text" if settings.smtputf8 else "email",
        typed={name: typed.get(name, "") for name in LABELS},
        **faults_of(problem, LABELS, request),
    )
