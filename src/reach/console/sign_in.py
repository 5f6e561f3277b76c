"""Signing in at the console with an API key, and signing out."""

from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import Depends, Query, Request, Response

from reach.auth.keys import Operator
from reach.console import sessions
from reach.console.guard import (
    READ,
    Requires,
    Visit,
    console_router,
    forget,
    put,
    session_of,
    session_seconds,
)
from reach.console.layout import places_of, see, show
from reach.console.safety import BEGINS, SIGN_IN, local_path, require_own_page
from reach.console.sessions import Session
from reach.db.transaction import Transaction
from reach.problems import QuotaExceeded, Unauthorised
from reach.web.body import read_form
from reach.web.guard import operator_of
from reach.web.routes import services_of

Signed = Annotated[Visit, Depends(Requires())]

#: What the page says above the form; from "out" on, of a sign-in by OpenID Connect.
Saying = Literal[
    "",
    "wrong",
    "empty",
    "often",
    "ended",
    "no-cookies",
    "out",
    "not-begun",
    "declined",
    "not-proven",
    "not-granted",
    "no-provider",
]

router = console_router()


Next = Annotated[str, Query(alias="next")]


@router.api_route("/sign-in", methods=READ)
async def get_sign_in(
    request: Request, back: Next = "", ended: str = "", kept: str = "", out: str = ""
) -> Response:
    """Show the form; who is signed in is led on.

    Who was signed in a moment ago (``kept``) and is not has a browser that keeps no cookies.
    """
    session = await session_of(request)
    if session is not None:
        return see(request, first_page(session, local_path(back)))
    is_out = bool(out) and services_of(request).provider is not None
    say: Saying = "no-cookies" if kept else "ended" if ended else "out" if is_out else ""
    return show_form(request, back, say)


@router.post("/sign-in")
async def post_sign_in(request: Request) -> Response:
    """Sign in: begin a session with the scopes of the key that was typed."""
    require_own_page(request)
    form = await read_form(request)
    text, back = form.get("key", "").strip(), form.get("next", "")
    try:
        operator = await operator_of(request, text)
    except Unauthorised as problem:
        say: Saying = "wrong" if text else "empty"
        return show_form(request, back, say, problem.status, problem.headers)
    except QuotaExceeded as problem:
        return show_form(request, back, "often", problem.status, problem.headers)
    services = services_of(request)
    before = await session_of(request)
    seconds = session_seconds(services.settings)
    token = await services.database.write(_begin, operator, seconds, before)
    answer = see(request, SIGN_IN, next=local_path(back), kept="yes")
    return put(services.settings, answer, token, seconds)


@router.post("/sign-out")
async def post_sign_out(request: Request, visit: Signed) -> Response:
    """End the session; or all of the same operator's, in other browsers too.

    At an OpenID provider one stays signed in, for other sites' sake: the page says so.
    """
    services = services_of(request)
    work = sessions.end_all if visit.form.get("everywhere") else sessions.end
    await services.database.write(work, visit.session)
    out = "yes" if visit.actor.kind == "oidc" else None
    return forget(services.settings, see(request, SIGN_IN, out=out))


def first_page(session: Session, wanted: str) -> str:
    """Choose where to lead somebody: the first page that they may see, if they want none."""
    return places_of(session)[0].path if wanted == BEGINS else wanted


def _begin(tx: Transaction, operator: Operator, seconds: float, before: Session | None) -> str:
    if before is not None:
        sessions.end(tx, before)
    return sessions.start(
        tx,
        actor_kind="key",
        actor_id=str(operator.id),
        scopes=operator.scopes,
        key_id=operator.id,
        seconds=seconds,
    )


def show_form(
    request: Request,
    back: str,
    say: Saying = "",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Show the page to sign in at; ``back`` is where to lead then."""
    provider, settings = services_of(request).provider, services_of(request).settings
    return show(
        request,
        "sign-in.html",
        status,
        headers=headers,
        next=local_path(back),
        say=say,
        form_origin=settings.origin if settings.is_https else "",
        provider=provider.name if provider else "",
    )
