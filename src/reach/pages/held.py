"""A link that a browser holds: in a cookie, so that its token is in no address and no history.

Forms that lean on the cookie prove that they are ours: by ``Origin``, and by a field that only
the page that holds the same link can have.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from reach.access.links import BadLink, Link, Links, Scope
from reach.access.signing import Signer
from reach.bodies.guard import read_form
from reach.limits import guard as limits
from reach.pages.render import HEADERS, render
from reach.people.links import LinkVoid
from reach.problems import Problem
from reach.urls import as_browsers_write

#: The browser may be a shared one; the email with the link stays where it is.
MOST_SECONDS = 3600
#: A page's own address says nothing here; and without a referrer browsers hide a form's Origin.
REFERRER = {"Referrer-Policy": "same-origin"}
FIELD = "form"
#: What a 401 must say (RFC 9110 §11.6.1).
CHALLENGE = 'Bearer realm="reach"'
#: In the address while it is not yet known whether the browser keeps what it was given.
KEPT = "kept"


class ForeignForm(Problem):
    """The form does not come from the page of the link that this browser holds.

    Nothing was done. Open the link in your email again, and use the page that it leads to.
    """

    status, type, title = 403, "foreign-form", "This form is not from here"


@dataclass(frozen=True)
class Held:
    """A link that works by its signature and date, and what was typed into its form."""

    link: Link
    proof: str
    typed: Mapping[str, str] = field(default_factory=dict, repr=False)


Answer = Callable[[Request, Held], Awaitable[Response]]
Route = Callable[[Request], Awaitable[Response]]


def holding(scope: Scope, without: Route) -> Callable[[Answer], Route]:
    """Make the answer to those who hold a link of this scope; others get that of ``without``.

    Who comes from ``keep`` and holds nothing has a browser that keeps no cookies, and is told so.
    A form is read and checked before the answer is made. Raises ForeignForm.
    """

    def wrap(answer: Answer) -> Route:
        async def route(request: Request) -> Response:
            if request.method != "POST" and KEPT in request.query_params:
                is_kept = _name(scope) in request.cookies
                return see(f"/{scope}") if is_kept else _no_cookies(request)
            try:
                return await answer(request, await _find(request, scope))
            except LinkVoid:
                return forget(await without(request), scope)

        return route

    return wrap


async def _find(request: Request, scope: Scope) -> Held:
    is_form = request.method == "POST"
    if is_form:
        _check_origin(request)
    token = request.cookies.get(_name(scope), "")
    link = await read(request, token)
    if link.scope != scope:
        raise LinkVoid
    signer = Signer(request.app.state.settings, "forms")
    typed = await read_form(request) if is_form else {}
    if is_form and not signer.is_ours(token, typed.pop(FIELD, "")):
        raise ForeignForm
    return Held(link, signer.sign(token), typed)


def _check_origin(request: Request) -> None:
    """Raise ForeignForm unless the browser says that the form is on a page of ours."""
    ours = as_browsers_write(request.app.state.settings.origin)
    if request.headers.getlist("origin") != [ours]:
        raise ForeignForm


async def read(request: Request, token: str) -> Link:
    """Read a token. Raises LinkVoid; QuotaExceeded. The database may know more against it."""
    await limits.may_try(request)
    links: Links = request.app.state.links
    try:
        link = links.read(token)
    except BadLink:
        if token:
            await limits.failed(request)
        raise LinkVoid from None
    await limits.hit_api(request, link.holder)
    return link


def keep(request: Request, token: str, scope: Scope) -> Response:
    """Have the browser hold a token, and lead to the page without it.

    By way of a look at whether it is held: what follows could not tell a browser that keeps no
    cookies from one that came without a link.
    """
    links: Links = request.app.state.links
    origin: str = request.app.state.settings.origin
    answer = see(f"/{scope}?{KEPT}")
    answer.set_cookie(
        _name(scope),
        token,
        max_age=min(links.seconds_left(token), MOST_SECONDS),
        path=f"/{scope}",
        secure=urlsplit(origin).scheme == "https",
        httponly=True,
        # Not "strict": then it would be missing when a link is followed from a web mail.
        samesite="lax",
    )
    return answer


def forget(answer: Response, scope: Scope) -> Response:
    """Have the browser forget what it holds."""
    answer.delete_cookie(_name(scope), path=f"/{scope}", httponly=True, samesite="lax")
    return answer


def see(path: str) -> Response:
    """Lead on, after something was done: what follows can be reloaded without harm."""
    return RedirectResponse(path, status_code=303, headers=HEADERS)


def _no_cookies(request: Request) -> Response:
    """Say that the browser kept nothing, and what to do; nothing is known of the link any more."""
    settings = request.app.state.settings
    host = urlsplit(settings.origin).netloc
    answer = render("no-cookies.html", 401, brand_name=settings.brand_name, host=host)
    answer.headers["WWW-Authenticate"] = CHALLENGE
    return answer


def _name(scope: Scope) -> str:
    return f"reach-{scope}"
