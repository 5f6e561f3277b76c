"""Pages as answers: the templates, their policy, and the files that they load."""

import hashlib
import secrets
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from inspect import cleandoc
from pathlib import Path

from fastapi import Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

#: Where the pages have their templates, our stylesheet and our icon.
PAGES = Path(__file__).parent.parent / "pages"
YEAR_SECONDS = 365 * 24 * 3600
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
#: The page of the API comes as a package.
SWAGGER_UI = ("swagger-ui-bundle.js", "swagger-ui.css")

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
#: For everything that pages answer, of whatever type; see ``web.security`` for all answers'.
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
    return page(text_of(name, **values), status, policy=policy, headers=headers or {})


def text_of(name: str, **values: object) -> str:
    """Fill a template in."""
    return _templates.get_template(name).render(values)


def page(
    text: str,
    status: int,
    *,
    policy: Mapping[str, str] = PAGE_POLICY,
    headers: Mapping[str, str],
) -> HTMLResponse:
    """Answer with the text of a page."""
    written = "; ".join(f"{directive} {sources}" for directive, sources in policy.items())
    return HTMLResponse(
        # Half of a surrogate pair has no UTF-8; it becomes "?" and not a 500.
        text.encode("utf-8", "replace"),
        status_code=status,
        headers={**HEADERS, "Content-Security-Policy": written, **headers},
    )


def explain(kind: type[object]) -> list[Markup]:
    """Make paragraphs of a problem's docstring, in which `…` is code."""
    paragraphs = cleandoc(kind.__doc__ or "").replace("``", "`").split("\n\n")
    return [_with_code(" ".join(paragraph.split())) for paragraph in paragraphs]


def _with_code(text: str) -> Markup:
    words = text.split("`")
    marked = [
        Markup("<code>{}</code>").format(w) if n % 2 else escape(w) for n, w in enumerate(words)
    ]
    return Markup("").join(marked)


def asset(name: str) -> str:
    """Write the address of a static file of this version."""
    path = Path(name)
    return f"/static/{path.stem}-{_digest(name)}{path.suffix}"


def static_file(name: str) -> Response | None:
    """Answer with ``name-<hash>.css``, to be kept for ever; None if there is no such file.

    With another version's hash (two versions may run at once) it is ours, and not to be kept.
    """
    asked = Path(name)
    stem, _, digest = asked.stem.rpartition("-")
    found = f"{stem}{asked.suffix}"
    if found not in _static:
        return None
    is_this = digest == _digest(found)
    kept = f"public, max-age={YEAR_SECONDS}, immutable" if is_this else "no-store"
    return Response(
        _static[found], headers={"Cache-Control": kept}, media_type=MEDIA_TYPES[asked.suffix]
    )


@cache
def _digest(name: str) -> str:
    """Digest a file, once: Swagger UI's script has 1.7 MB."""
    return hashlib.sha256(_static[name]).hexdigest()[:12]


_static = {path.name: path.read_bytes() for path in sorted((PAGES / "static").iterdir())}
_static |= {
    name: (files("fastapi_swagger") / "resources" / name).read_bytes() for name in SWAGGER_UI
}
_templates = Environment(
    loader=FileSystemLoader(PAGES / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["asset"] = asset
