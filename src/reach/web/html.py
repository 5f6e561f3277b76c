"""Pages as answers: in whose language, with what policy, and what browsers may keep."""

import secrets
from collections.abc import Mapping
from inspect import cleandoc
from urllib.parse import parse_qs

from fastapi import Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup, escape

from reach.web.policy import EMBED, PAGE_POLICY
from reach.web.routes import fields_of, services_of
from reach.web.templates import IS_CHOSEN

#: For everything that pages answer, of whatever type; see ``web.security`` for all answers'.
HEADERS = {"Cache-Control": "no-store"}
#: Where a request has the language of its page, and whether its address says which.
LANGUAGE = "reach.language"


def language_of(request: Request) -> str:
    """Choose the language of a page: ``?lang=``, then ``Accept-Language``, then the default."""
    return _language(request)[0]


def is_language_chosen(request: Request) -> bool:
    """Whether a page's language is said by its address: where it leads to has that language too."""
    return _language(request)[1]


def speak(request: Request, language: str | None) -> None:
    """Have a page in the language of a person whom it is about, unless another one was chosen.

    What the page leads to has it too, though nothing may be known of the person there.
    """
    known = services_of(request).pages.catalogues.known(language)
    if known and not is_language_chosen(request) and known != language_of(request):
        request.scope[LANGUAGE] = known, True


def _language(request: Request) -> tuple[str, bool]:
    found: tuple[str, bool] | None = request.scope.get(LANGUAGE)
    if found is None:
        catalogues, query = services_of(request).pages.catalogues, request.scope["query_string"]
        asked = parse_qs(query.decode("latin-1")).get("lang", [""])[-1] if query else ""
        chosen = catalogues.known(asked)
        accepted = None if chosen else catalogues.preferred(",".join(_accepted(request)))
        found = chosen or accepted or catalogues.default, chosen is not None
        request.scope[LANGUAGE] = found
    return found


def _accepted(request: Request) -> list[str]:
    return fields_of(request, "accept-language")


def is_loaded_ahead(request: Request) -> bool:
    """Whether a browser loads a page before anybody wants to see it."""
    purposes = (request.headers.get(name, "") for name in ("sec-purpose", "purpose"))
    return any("prefetch" in purpose for purpose in purposes)


def render(  # noqa: PLR0913 - what an answer and a template each need
    request: Request,
    name: str,
    status: int = 200,
    *,
    headers: Mapping[str, str] | None = None,
    runs: Mapping[str, str] | None = None,
    is_blank: bool = False,
    **values: object,
) -> HTMLResponse:
    """Answer with a template, in the language of the request.

    ``is_blank``: it is a form that nobody has typed into (see ``Pages.render_blank``).

    A page with scripts says in ``runs`` what they need beyond ``PAGE_POLICY``, if only ``{}``:
    its template gets a ``nonce``, and each ``<script nonce="{{ nonce }}">`` of it may run. It may
    say there other directives, too.
    """
    policy, framed = page_policy(request), is_framed(request)
    if framed:
        runs = runs or {}  # it says how high it is
    if runs is not None:
        values["nonce"] = nonce = secrets.token_urlsafe(16)
        policy = {**policy, "script-src": f"'nonce-{nonce}'", **runs}
    language = language_of(request)
    values.setdefault("path", request.scope["path"])
    values |= {IS_CHOSEN: is_language_chosen(request), "framed": framed}
    pages = services_of(request).pages
    fill = pages.render_blank if is_blank else pages.render
    text = fill(name, language, **values)
    return page(text, status, language, policy=policy, headers=headers or {})


def page_policy(request: Request) -> Mapping[str, str]:
    """Give what the page of a request may do, whatever it answers."""
    pages = services_of(request).pages
    return pages.framed_policy if is_framed(request) else pages.policy


def is_framed(request: Request) -> bool:
    """Whether a page is for a frame in somebody else's page."""
    return bool(request.scope["path"] == EMBED)


def page(
    text: str,
    status: int,
    language: str,
    *,
    policy: Mapping[str, str] = PAGE_POLICY,
    headers: Mapping[str, str],
) -> HTMLResponse:
    """Answer with the text of a page."""
    written = "; ".join(f"{directive} {sources}" for directive, sources in policy.items())
    said = {"Content-Language": language, "Vary": "Accept-Language"}
    return HTMLResponse(
        # Half of a surrogate pair has no UTF-8; it becomes "?" and not a 500.
        text.encode("utf-8", "replace"),
        status_code=status,
        headers={**HEADERS, "Content-Security-Policy": written, **said, **headers},
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
