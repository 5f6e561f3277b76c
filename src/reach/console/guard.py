"""Who is signed in at the console, and what may they do: ``Requires`` is each route's one guard."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response

from reach.auth import keys
from reach.auth.audit import Actor
from reach.auth.keys import Scope
from reach.console import sessions
from reach.console.safety import (
    BEGINS,
    FIELD,
    NotOurForm,
    is_proof,
    local_path,
    offered,
    require_own_page,
)
from reach.console.sessions import Session
from reach.problems import Forbidden, Problem
from reach.settings import Settings
from reach.web.body import read_form
from reach.web.errors import IS_OPERATOR
from reach.web.guard import hit
from reach.web.routes import services_of

READ = ["GET", "HEAD"]
SAFE = frozenset(READ)
MINUTE_SECONDS, HOUR_SECONDS = 60, 3600
#: Where a request has the session that it was let in by.
SESSION = "reach.console.session"


class SignedOut(Problem):
    """Nobody is signed in at the console with this browser, or no longer.

    A session ends after a while, when nobody uses it, and with the key that it was begun with.
    """

    status, type, title = 401, "signed-out", "Sign in at the console first"

    def __init__(self, back: str = BEGINS, *, has_ended: bool = False) -> None:
        """Take where to lead back to; ``has_ended``: the browser shows a session that is over."""
        super().__init__(headers={"WWW-Authenticate": 'Bearer realm="reach"'})
        self.back, self.has_ended = back, has_ended


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of somebody who is signed in and may make it; and the form that they sent."""

    session: Session
    form: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def actor(self) -> Actor:
        """Who the audit trail says it was."""
        return self.session.actor


class Requires:
    """The dependency that lets in who is signed in with all of ``scopes``; with none, anybody.

    Of a request that may change something it reads the form, which must be one of the session's.
    What a page asks for by itself ``is_use`` of nobody's: it keeps no session going.
    """

    def __init__(self, *scopes: Scope, is_use: bool = True) -> None:
        """Name the scopes. Raises ValueError for one that there is not."""
        if unknown := set(scopes) - set(keys.SCOPES):
            raise ValueError(f"no scope is called {', '.join(unknown)}")
        self.scopes, self._is_use = scopes, is_use

    async def __call__(self, request: Request) -> Visit:
        """Let them in. Raises SignedOut; QuotaExceeded; Forbidden; NotOurForm; BadRequest."""
        changes = request.method not in SAFE
        if changes:
            require_own_page(request)
        session = await session_of(request)
        if session is None:
            raise SignedOut(back_to(request), has_ended=bool(token_of(request)))
        services = services_of(request)
        await hit(services, "api", f"console {session.actor.kind} {session.actor.id}")
        for scope in self.scopes:
            if scope not in session.scopes:
                raise Forbidden(f"This needs the scope {scope}, which you do not have.")
        form = dict(await read_form(request)) if changes else {}
        if changes and not is_proof(form.pop(FIELD, ""), session.proof):
            raise NotOurForm
        if self._is_use:
            services.session_uses.note(session)
        return Visit(session, form)


def console_router(prefix: str = "") -> APIRouter:
    """Make a router of the console, whose routes are there only where it may be used."""
    return APIRouter(
        prefix=f"{BEGINS}{prefix}", include_in_schema=False, dependencies=[Depends(offered)]
    )


async def session_of(request: Request) -> Session | None:
    """Find the session of a request, if there is one that goes on."""
    known: Session | None = request.scope.get(SESSION)
    token = token_of(request)
    if known is not None or not token:
        return known
    services = services_of(request)
    idle_seconds = services.settings.console_idle_minutes * MINUTE_SECONDS
    session = await services.database.read(sessions.find, token, idle_seconds=idle_seconds)
    if session is not None and session.actor.kind == "oidc":
        provider = services.provider
        if provider is None or not provider.has_granted(token):
            return None  # nobody signs in so any more
    if session is not None:
        request.scope[SESSION] = session
        request.scope[IS_OPERATOR] = True
    return session


def token_of(request: Request) -> str:
    """The session's token that the browser shows; empty if there is none."""
    return request.cookies.get(cookie_name(services_of(request).settings), "")


def cookie_name(settings: Settings) -> str:
    """Name the session's cookie.

    By ``__Host-`` browsers take it from this very host alone, and only by https. At one machine
    several Reaches may run, whose ports are nothing to a cookie: so each has a name of its own.
    """
    if settings.is_https:
        return "__Host-reach-console"
    return f"reach-console-{urlsplit(settings.origin).port or 80}"


def put(settings: Settings, answer: Response, token: str, seconds: float) -> Response:
    """Have the browser keep a session's token.

    Not "strict": a link to the console in an email would open a page to sign in, and so would the
    way back from an identity provider. What changes something asks for more than the cookie.
    """
    answer.set_cookie(
        cookie_name(settings),
        token,
        max_age=int(seconds),
        path="/",
        secure=settings.is_https,
        httponly=True,
        samesite="lax",
    )
    return answer


def forget(settings: Settings, answer: Response) -> Response:
    """Have the browser forget it."""
    name = cookie_name(settings)
    answer.delete_cookie(name, path="/", secure=settings.is_https, httponly=True, samesite="lax")
    return answer


def session_seconds(settings: Settings) -> float:
    """How long a session lasts at most."""
    return settings.console_hours * HOUR_SECONDS


def is_by_script(request: Request) -> bool:
    """Whether htmx sends this, which shows only a part of the answer."""
    return request.headers.get("hx-request") == "true"


def back_to(request: Request) -> str:
    """Find where somebody is, to be led back there once they are signed in."""
    if request.method in SAFE and not is_by_script(request):
        query = request.scope["query_string"].decode("latin-1")
        return local_path(request.scope["path"] + (f"?{query}" if query else ""))
    said = request.headers.get("hx-current-url") or request.headers.get("referer", "")
    try:
        parts = urlsplit(said)
    except ValueError:  # half of an address in brackets, say
        return BEGINS
    return local_path(parts.path + (f"?{parts.query}" if parts.query else ""))
