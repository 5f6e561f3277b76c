"""How problems are answered: RFC 9457, or a page where the caller prefers one."""

from functools import lru_cache
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import Match

from reach.db.errors import OUTCOME_UNKNOWN
from reach.problems import MethodNotAllowed, NotFound, Problem, ServiceUnavailable, Unprocessable
from reach.shapes import weight_of
from reach.web.body import in_plain_words
from reach.web.html import is_framed, is_language_chosen, language_of, page, page_policy
from reach.web.routes import services_of
from reach.web.templates import IS_CHOSEN, Pages

#: Where a request keeps what was the matter, for its log line.
REASON = "reach.reason"
#: Where it says that an operator makes it, who may be told what is the matter with ours.
IS_OPERATOR = "reach.is_operator"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
JSON_TYPES = ("application/json", "application/problem+json")


async def answer_problem(request: Request, problem: Problem) -> Response:
    """RFC 9457; a page where the caller prefers one, but never below ``/v1``."""
    settings = services_of(request).settings
    in_json = f"{request.scope['path']}/".startswith("/v1/")
    request.scope[REASON] = problem.detail
    if not in_json and prefers_html(request):
        return problem_page(request, problem)
    body: dict[str, Any] = {
        "type": problem.address(settings.origin),
        "title": problem.title,
        "status": problem.status,
    }
    detail = problem.detail if IS_OPERATOR in request.scope else public_detail(problem)
    if detail:
        body["detail"] = detail
    return JSONResponse(
        body | problem.members,
        problem.status,
        {"Cache-Control": "no-store", **problem.headers},
        media_type="application/problem+json",
    )


def problem_page(request: Request, problem: Problem) -> HTMLResponse:
    """Answer with a page for what others get as problem+json."""
    kind: Any = type(problem)  # mypy takes no class for hashable
    language, pages = language_of(request), services_of(request).pages
    spoken = language, is_language_chosen(request)
    text = _problem_text(pages, kind, public_detail(problem), spoken, framed=is_framed(request))
    policy = page_policy(request)
    return page(text, problem.status, language, policy=policy, headers=problem.headers)


@lru_cache(64)
def _problem_text(
    pages: Pages, kind: type[Problem], detail: str | None, spoken: tuple[str, bool], *, framed: bool
) -> str:
    """Write the page, once: a flood of what is refused costs less than to serve it."""
    language, is_chosen = spoken
    values = {"path": "/", "kind": kind, "detail": detail, "framed": framed, IS_CHOSEN: is_chosen}
    return pages.render("problem.html", language, **values)


def public_detail(problem: Problem) -> str | None:
    """What a stranger is told: whether a change was made, but not what is the matter with ours.

    Nobody out there can mend a disk or a lock, and some would like to know of it.
    """
    is_ours = isinstance(problem, ServiceUnavailable) and problem.detail != OUTCOME_UNKNOWN
    return None if is_ours else problem.detail


def problem_of(request: Request, error: HTTPException) -> Problem:
    """What the framework itself refuses: an unknown path, a method that is not for it."""
    if error.status_code == MethodNotAllowed.status:
        return MethodNotAllowed(headers={"Allow": ", ".join(allowed_methods(request))})
    if error.status_code == NotFound.status:
        return NotFound()
    problem = Problem()
    problem.status, problem.title = error.status_code, "The request was refused"  # type: ignore[misc]
    return problem


def invalid_parameters(error: RequestValidationError) -> Problem:
    """A query parameter that breaks a rule. What was sent is not repeated."""
    errors = [
        {"parameter": str(fault["loc"][-1]), "detail": in_plain_words(fault)}
        for fault in error.errors()
    ]
    return Unprocessable(errors=errors)


def allowed_methods(request: Request) -> list[str]:
    """List a path's methods: the framework lists only those of the first route that has it.

    What some route says by this very name, is no other's id.
    """
    routes, scope = request.app.router.routes, request.scope
    named = [one for one in iter_route_contexts(routes) if one.path_format == scope["path"]]
    own = {method for one in named for method in one.methods or ()}

    def is_taken(method: str) -> bool:
        is_head = method == "HEAD" and scope["path"].startswith("/v1/")
        asked = "GET" if is_head else method  # see ``web.middleware.as_get``
        if own:
            return asked in own
        return any(route.matches({**scope, "method": asked})[0] is Match.FULL for route in routes)

    return [method for method in METHODS if is_taken(method)]


def prefers_html(request: Request) -> bool:
    """Whether ``Accept`` asks for HTML more than for JSON (RFC 9110 §12.5.1).

    A type asked for by name beats one that only ``*/*`` admits with the same weight.
    """
    accept = ",".join(request.headers.getlist("accept"))
    html = _weigh(accept, "text/html")
    return html[0] > 0 and html > max(_weigh(accept, kind) for kind in JSON_TYPES)


def _weigh(accept: str, kind: str) -> tuple[float, int]:
    """Find the weight of a type, and how closely it was named: by the closest range."""
    ranges = {"*/*": 1, f"{kind.partition('/')[0]}/*": 2, kind: 3}
    found = (0.0, 0)
    for part in accept.split(","):
        name, *parameters = (word.strip().lower() for word in part.split(";"))
        closeness = ranges.get(name, 0)
        if closeness > found[1]:
            found = (weight_of(parameters), closeness)
    return found
