"""The page where a new link is asked for."""

from collections.abc import Mapping
from types import MappingProxyType

from fastapi import APIRouter, Request, Response

from reach.pages import public
from reach.pages.link_cookie import CHALLENGE, see
from reach.pages.public import faults_of
from reach.people.schemas import LinkRequestForm
from reach.problems import Problem, ServiceUnavailable, Unprocessable
from reach.web.body import read_form, validate
from reach.web.html import render
from reach.web.routes import services_of

READ = ["GET", "HEAD"]
LABELS = {"email": "Your email address"}
NOTHING: Mapping[str, str] = MappingProxyType({})

router = APIRouter(include_in_schema=False)


@router.api_route("/links", methods=READ)
async def get_links(request: Request) -> Response:
    """Show the form."""
    return link_form(request)


@router.post("/links")
async def post_links(request: Request) -> Response:
    """Have a link sent. The 303 is the same whether the address is known or not."""
    services, typed = services_of(request), await read_form(request)
    try:
        # What is hidden may be left empty: it is not there then.
        given = {name: text for name, text in typed.items() if name in LABELS or text.strip()}
        await services.request_link(validate(LinkRequestForm, given, services.settings))
    except (Unprocessable, ServiceUnavailable) as problem:
        return link_form(request, problem.status, typed=typed, problem=problem)
    return see("/check-your-inbox?for=link")


async def no_link(request: Request) -> Response:
    """Say that a link does not work, or no longer, and offer a new one."""
    answer = link_form(request, 401, is_void=True)
    answer.headers["WWW-Authenticate"] = CHALLENGE
    return answer


def link_form(
    request: Request,
    status: int = 200,
    *,
    typed: Mapping[str, str] = NOTHING,
    problem: Problem | None = None,
    is_void: bool = False,
) -> Response:
    """Show the form, as it was filled in, with what is wrong: with it, or with a link."""
    settings = services_of(request).settings
    return render(
        "links.html",
        status,
        headers=problem.headers if problem else {},
        brand_name=settings.brand_name,
        email_type="text" if settings.smtputf8 else "email",
        runs=public.runs(request),
        **public.fields(request, typed),
        typed=typed.get("email", ""),
        is_void=is_void,
        **faults_of(problem, LABELS, request),
    )
