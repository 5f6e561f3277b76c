"""Pages as answers: the templates, the headers, and who prefers a page to JSON."""

import hashlib
from collections.abc import Mapping
from inspect import cleandoc
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from reach.db.away import UNKNOWN
from reach.problems import Problem, Unavailable

#: Where a request keeps what was the matter, for its log line.
REASON = "reach.reason"

HERE = Path(__file__).parent
YEAR_SECONDS = 365 * 24 * 3600
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
JSON_TYPES = ("application/json", "application/problem+json")

#: A page may load our stylesheet and icon, send a form here, and frame a mail: nothing else.
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; frame-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
#: For everything that pages answer, of whatever type.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def render(
    name: str,
    status: int = 200,
    *,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> HTMLResponse:
    """Answer with a template. It escapes every value, and fails if one that it uses is missing."""
    text = _templates.get_template(name).render(values)
    return HTMLResponse(
        # Half of a surrogate pair has no UTF-8; it becomes "?" and not a 500.
        text.encode("utf-8", "replace"),
        status_code=status,
        headers={**HEADERS, "Content-Security-Policy": PAGE_POLICY, **(headers or {})},
    )


def problem_page(problem: Problem, *, brand_name: str = "Reach") -> HTMLResponse:
    """Answer with a page for what ``app`` otherwise answers as problem+json."""
    return render(
        "problem.html",
        problem.status,
        headers=problem.headers,
        brand_name=brand_name,
        kind=type(problem),
        detail=public_detail(problem),
        explanation=explain(type(problem)),
    )


def public_detail(problem: Problem) -> str | None:
    """What a stranger is told: whether a change was made, but not what is the matter with ours.

    Nobody out there can mend a disk or a lock, and some would like to know of it.
    """
    is_ours = isinstance(problem, Unavailable) and problem.detail != UNKNOWN
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


def static_file(name: str) -> Response | None:
    """Answer with ``name-<hash>.css``, to be kept for ever; None if there is no such file.

    With another version's hash (two versions may run at once) it is ours, and not to be kept.
    """
    asked = Path(name)
    stem, _, digest = asked.stem.rpartition("-")
    content = _static.get(f"{stem}{asked.suffix}")
    if content is None:
        return None
    headers = dict(HEADERS)
    if digest == _digest(content):
        headers["Cache-Control"] = f"public, max-age={YEAR_SECONDS}, immutable"
    return Response(content, headers=headers, media_type=MEDIA_TYPES[asked.suffix])


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


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _asset(name: str) -> str:
    """Write the address of a static file of this version."""
    path = Path(name)
    return f"/static/{path.stem}-{_digest(_static[name])}{path.suffix}"


_static = {path.name: path.read_bytes() for path in sorted((HERE / "static").iterdir())}
_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["asset"] = _asset
