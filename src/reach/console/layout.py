"""What the console's pages are made of: one layout, its navigation, and what a page may do."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reach.console.guard import SESSION, is_by_script
from reach.console.safety import BEGINS, FIELD
from reach.console.sessions import Session
from reach.web.html import HEADERS
from reach.web.policy import PAGE_POLICY
from reach.web.routes import services_of

FOLDER = Path(__file__).parent
#: Without a referrer, browsers do not say where a form is from; others are told nothing.
REFERRER = {"Referrer-Policy": "same-origin"}
LANGUAGE = "en"


@dataclass(frozen=True, slots=True)
class Place:
    """A part of the console: where it is, and the scopes without which it is not shown."""

    path: str
    title: str
    icon: str
    scopes: tuple[str, ...] = ()


#: In the order of the navigation. A part that is new is named here.
PLACES = (
    Place(BEGINS, "Overview", "overview", ("people:read", "messages:read")),
    Place(f"{BEGINS}/people", "People", "people", ("people:read",)),
    Place(f"{BEGINS}/messages", "Messages", "messages", ("messages:read",)),
    Place(f"{BEGINS}/suppressions", "Suppressions", "suppressions", ("messages:read",)),
    Place(f"{BEGINS}/templates", "Templates", "templates", ("messages:read",)),
    Place(f"{BEGINS}/keys", "Keys", "keys", ("keys:write",)),
    Place(f"{BEGINS}/webhooks", "Webhooks", "webhooks", ("webhooks:read",)),
    Place(f"{BEGINS}/audit", "Audit", "audit", ("audit:read",)),
    Place(f"{BEGINS}/site", "For your site", "site"),
)


def places_of(session: Session) -> list[Place]:
    """List the parts that somebody may see."""
    return [place for place in PLACES if session.may(*place.scopes)]


def show(
    request: Request,
    name: str,
    status: int = 200,
    *,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> HTMLResponse:
    """Answer with a page of the console: with its navigation, if somebody is signed in."""
    nonce = secrets.token_urlsafe(16)
    text = fill(request, name, nonce=nonce, **values)
    said = {"Content-Security-Policy": _policy(nonce), "Content-Language": LANGUAGE}
    return HTMLResponse(
        text.encode("utf-8", "replace"),  # half of a surrogate pair has no UTF-8
        status_code=status,
        headers={**HEADERS, **REFERRER, **said, **(headers or {})},
    )


def _policy(nonce: str) -> str:
    """Let the scripts run that the layout names, and ask Reach: no other page's, and no answer."""
    allowed = {**PAGE_POLICY, "script-src": f"'nonce-{nonce}'", "connect-src": "'self'"}
    return "; ".join(f"{directive} {sources}" for directive, sources in allowed.items())


def fill(request: Request, name: str, **values: object) -> str:
    """Fill a template in: a page, or what a page is made of."""
    services, session = services_of(request), request.scope.get(SESSION)
    common: dict[str, Any] = {
        "asset": services.pages.asset,
        "brand_name": services.settings.brand_name,
        "origin": services.settings.origin,
        "session": session,
        "places": places_of(session) if session else [],
        "path": request.scope["path"],
        "proof_field": FIELD,
    }
    return environment().get_template(name).render({**common, **values})


def see(request: Request, path: str, **query: str | None) -> Response:
    """Lead on, after something was done: what follows can be loaded again without harm."""
    return _lead(request, at(path, **query))


def at(path: str, **query: str | None) -> str:
    """Write the address of a page, with what of its query says something."""
    said = urlencode({name: value for name, value in query.items() if value})
    return f"{path}?{said}" if said else path


def _lead(request: Request, url: str) -> Response:
    if is_by_script(request):  # which would follow by itself, and show the page inside this one
        return Response(status_code=200, headers={**HEADERS, "HX-Redirect": url})
    return RedirectResponse(url, status_code=303, headers=HEADERS)


def moment(value: datetime) -> str:
    """Write a time for people: its day and minute, in UTC."""
    return value.strftime("%Y-%m-%d %H:%M")


def number(value: float) -> str:
    """Write a number with its thousands apart."""
    return f"{value:,}".replace(",", "\u202f")


def machine(value: datetime) -> str:
    """Write a time for programs, as ``<time datetime>`` has it."""
    return value.isoformat(timespec="seconds").replace("+00:00", "Z")


@cache
def environment() -> Environment:
    """Read the templates of this version, once each."""
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(moment=moment, machine=machine, number=number)
    made.globals.update(at=at, zip=zip)
    return made
