"""Pages as answers: the templates, their policy, and who prefers a page to JSON."""

import secrets
from collections.abc import Mapping
from functools import lru_cache
from inspect import cleandoc
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from reach.db.errors import OUTCOME_UNKNOWN
from reach.problems import Problem, ServiceUnavailable
from reach.web.html import asset

#: Where a request keeps what was the matter, for its log line.
REASON = "reach.reason"

HERE = Path(__file__).parent
JSON_TYPES = ("application/json", "application/problem+json")

#: A page may load our stylesheet and icon, send a form here, and frame a mail: nothing else.
PAGE_POLICY = {
    "default-src": "'none'",
    "style-src": "'self'",
    "img-src": "'self'",
    "frame-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
#: For everything that pages answer, of whatever type; the envelope adds what all answers have.
HEADERS = {"Cache-Control": "no-store"}


def render(
    name: str,
    status: int = 200,
    *,
    headers: Mapping[str, str] | None = None,
    runs: Mapping[str, str] | None = None,
    **values: object,
) -> HTMLResponse:
    """Answer with a template. It escapes every value, and fails if one that it uses is missing.

    A page with scripts says in ``runs`` what they need beyond ``PAGE_POLICY``, if only ``{}``:
    its template gets a ``nonce``, and each ``<script nonce="{{ nonce }}">`` of it may run.
    """
    policy = PAGE_POLICY
    if runs is not None:
        values["nonce"] = nonce = secrets.token_urlsafe(16)
        policy = {**PAGE_POLICY, "script-src": f"'nonce-{nonce}'", **runs}
    text = _templates.get_template(name).render(values)
    return _page(text, status, policy, headers or {})


def _page(
    text: str, status: int, policy: Mapping[str, str], headers: Mapping[str, str]
) -> HTMLResponse:
    written = "; ".join(f"{directive} {sources}" for directive, sources in policy.items())
    return HTMLResponse(
        # Half of a surrogate pair has no UTF-8; it becomes "?" and not a 500.
        text.encode("utf-8", "replace"),
        status_code=status,
        headers={**HEADERS, "Content-Security-Policy": written, **headers},
    )


def problem_page(problem: Problem, *, brand_name: str = "Reach") -> HTMLResponse:
    """Answer with a page for what ``app`` otherwise answers as problem+json."""
    kind: Any = type(problem)  # mypy takes no class for hashable
    text = _problem_text(kind, public_detail(problem), brand_name)
    return _page(text, problem.status, PAGE_POLICY, problem.headers)


@lru_cache(64)
def _problem_text(kind: type[Problem], detail: str | None, brand_name: str) -> str:
    """Write the page, once: a flood of what is refused costs less than to serve it."""
    values = {"kind": kind, "detail": detail, "explanation": explain(kind)}
    return _templates.get_template("problem.html").render(values, brand_name=brand_name)


def public_detail(problem: Problem) -> str | None:
    """What a stranger is told: whether a change was made, but not what is the matter with ours.

    Nobody out there can mend a disk or a lock, and some would like to know of it.
    """
    is_ours = isinstance(problem, ServiceUnavailable) and problem.detail != OUTCOME_UNKNOWN
    return None if is_ours else problem.detail


def explain(kind: type[Problem]) -> list[Markup]:
    """Make paragraphs of a problem's docstring, in which `…` is code."""
    paragraphs = cleandoc(kind.__doc__ or "").replace("``", "`").split("\n\n")
    return [_with_code(" ".join(paragraph.split())) for paragraph in paragraphs]


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
            found = (_weight(parameters), closeness)
    return found


def _weight(parameters: list[str]) -> float:
    """Read ``q=0.5``; what cannot be read counts for nothing."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def _with_code(text: str) -> Markup:
    words = text.split("`")
    marked = [
        Markup("<code>{}</code>").format(w) if n % 2 else escape(w) for n, w in enumerate(words)
    ]
    return Markup("").join(marked)


_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["asset"] = asset
