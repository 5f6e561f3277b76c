"""Signing in at the console by OpenID Connect: to the provider, and back.

The browser keeps what a sign-in began with in a cookie of its own, until it comes back: without it
the answer is nobody's (login CSRF).
"""

from collections import Counter
from collections.abc import Mapping
from typing import get_args
from urllib.parse import quote, unquote, urlsplit

import structlog
from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from reach.auth.oidc.model import (
    Declined,
    Identity,
    NotBegunHere,
    NotGranted,
    NotProven,
    ProviderUnavailable,
    SignInFailed,
)
from reach.auth.oidc.provider import SIGN_IN_SECONDS, Provider
from reach.console import sessions
from reach.console.guard import console_router, put, session_of, session_seconds
from reach.console.layout import see
from reach.console.safety import SIGN_IN, local_path
from reach.console.sessions import Session
from reach.console.sign_in import Next, Saying, first_page, show_form
from reach.db.transaction import Transaction
from reach.problems import NotFound, QuotaExceeded
from reach.settings import Settings
from reach.web.guard import hit
from reach.web.html import HEADERS
from reach.web.routes import Services, services_of

log = structlog.get_logger("reach.console")

#: Between what the provider needs to see again and where to lead back to: in neither of them.
BETWEEN = "~"
#: What the page says, and its status, by what went wrong.
FAILURES: Mapping[type[SignInFailed], tuple[Saying, int]] = {
    NotBegunHere: ("not-begun", 400),
    Declined: ("declined", 403),
    NotProven: ("not-proven", 403),
    NotGranted: ("not-granted", 403),
    ProviderUnavailable: ("no-provider", 503),
}
#: Failures that nobody comes to by chance, again and again: they count as wrong keys do. Who only
#: has a browser open the address here, from another site, gets to none of them.
COUNTED = (NotProven, NotGranted)
assert {saying for saying, _ in FAILURES.values()} <= set(get_args(Saying))

router = console_router("/oidc")


@router.get("/start")
async def get_start(request: Request, back: Next = "") -> Response:
    """Lead to the provider. By a link: browsers would hold a form's answer to ``form-action``.

    Who is signed in is led on: any site can have their browser open this address, and it is not to
    change who they are here.
    """
    services, session = services_of(request), await session_of(request)
    if session is not None:
        return see(request, first_page(session, local_path(back)))
    try:
        begun = await _provider(services).begin()
    except SignInFailed as failed:
        return _failed(request, failed, back)
    answer = RedirectResponse(begun.url, status_code=303, headers=HEADERS)
    kept = f"{begun.kept}{BETWEEN}{quote(local_path(back), safe='')}"
    return _keep(services.settings, answer, kept, SIGN_IN_SECONDS)


@router.get("/callback")
async def get_callback(request: Request) -> Response:
    """Begin a session of whom the provider has sent back, if they may do anything here."""
    services = services_of(request)
    provider, settings = _provider(services), services.settings
    kept, _, path = request.cookies.get(cookie_name(settings), "").partition(BETWEEN)
    back = local_path(unquote(path))
    try:
        identity = await _identity(request, provider, kept)
    except QuotaExceeded as problem:
        return show_form(request, back, "often", problem.status, problem.headers)
    except SignInFailed as failed:
        return _keep(settings, _failed(request, failed, back), "", 0)
    before, seconds = await session_of(request), session_seconds(settings)
    token = await services.database.write(_begin, identity, seconds, before, provider.mark)
    answer = _keep(settings, see(request, SIGN_IN, next=back, kept="yes"), "", 0)
    return put(settings, answer, token, seconds)


def cookie_name(settings: Settings) -> str:
    """Name the cookie: as the session's, no neighbour of ours can set it."""
    if settings.is_https:
        return "__Host-reach-oidc"
    return f"reach-oidc-{urlsplit(settings.origin).port or 80}"


def _keep(settings: Settings, answer: Response, value: str, seconds: int) -> Response:
    """Have the browser keep this for so long; for no time: forget what it has.

    Not "strict": the way back leads from another site.
    """
    answer.set_cookie(
        cookie_name(settings),
        value,
        max_age=seconds,
        path="/",
        secure=settings.is_https,
        httponly=True,
        samesite="lax",
    )
    return answer


def _provider(services: Services) -> Provider:
    if services.provider is None:
        raise NotFound
    return services.provider


async def _identity(request: Request, provider: Provider, kept: str) -> Identity:
    """Find out who comes back. Raises SignInFailed; QuotaExceeded."""
    services = services_of(request)
    client = services.limiter.clients.of_request(request.scope)
    if refusal := services.limiter.is_known_full("failed_keys", client):
        raise QuotaExceeded(refusal.violated, refusal.headers)
    try:
        return await provider.finish(kept, _answer_in(request))
    except COUNTED:
        await hit(services, "failed_keys", client)
        raise


def _answer_in(request: Request) -> Mapping[str, str]:
    """Read what the provider has to say, of which nothing may come twice (RFC 6749 §3.1)."""
    given = request.query_params.multi_items()
    if any(times > 1 for times in Counter(name for name, _ in given).values()):
        raise NotBegunHere("the answer says something twice")
    return dict(given)


def _begin(
    tx: Transaction, identity: Identity, seconds: float, before: Session | None, mark: str
) -> str:
    if before is not None:
        sessions.end(tx, before)
    return sessions.start(
        tx,
        actor_kind="oidc",
        actor_id=identity.subject,
        scopes=identity.scopes,
        key_id=None,
        seconds=seconds,
        mark=mark,
    )


def _failed(request: Request, failed: SignInFailed, back: str) -> Response:
    if isinstance(failed, ProviderUnavailable):
        log.warning("the OpenID provider cannot be used", reason=failed.reason)
    else:
        log.info("an operator's sign-in failed", reason=failed.reason)
    say, status = FAILURES[type(failed)]
    return show_form(request, back, say, status)
