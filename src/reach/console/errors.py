"""How the console answers problems: as a page of its own, or by leading to the sign-in."""

from contextlib import suppress

from fastapi import Request, Response

from reach.console.guard import SignedOut, cookie_name, is_by_script, session_of
from reach.console.layout import see, show
from reach.console.safety import SIGN_IN
from reach.problems import Forbidden, NotFound, Problem, ServiceUnavailable
from reach.web.errors import REASON
from reach.web.html import explain
from reach.web.routes import services_of

#: For a request of a script's, which would show a part of the answer in a part of the page.
WHOLE = {"HX-Retarget": "#main", "HX-Reselect": "#main", "HX-Reswap": "outerHTML"}
#: What these say of themselves is meant for those who call the API.
FOR_PROGRAMS = (Forbidden, NotFound)


async def answer_problem(request: Request, problem: Problem) -> Response:
    """Answer with a page that has the session's navigation; who is signed out is led to sign in."""
    request.scope[REASON] = problem.detail
    if isinstance(problem, SignedOut):
        has_ended = "yes" if problem.has_ended else None
        return see(request, SIGN_IN, next=problem.back, ended=has_ended)
    await _find_session(request, problem)
    headers = dict(problem.headers)
    if is_by_script(request):
        headers |= WHOLE
    return show(
        request,
        "problem.html",
        problem.status,
        headers=headers,
        problem=problem,
        words=[] if type(problem) in FOR_PROGRAMS else explain(type(problem)),
        errors=problem.members.get("errors", []),
    )


async def _find_session(request: Request, problem: Problem) -> None:
    """Have the page know who is signed in, unless the database is what the problem is."""
    settings = services_of(request).settings
    shows_one = cookie_name(settings) in request.cookies
    if settings.console and shows_one and not isinstance(problem, ServiceUnavailable):
        with suppress(ServiceUnavailable):  # then the page tells of the problem, without navigation
            await session_of(request)
