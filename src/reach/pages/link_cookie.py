"""A link that a browser holds: in a cookie, so that its token is in no address and no history.

Forms that lean on the cookie prove that they are ours: by ``Origin``, and by a field that only
the page that holds the same link can have.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from reach.auth.links import BadLink, Link, Links, Scope
from reach.people.links import LinkVoid
from reach.problems import Forbidden, Problem
from reach.settings.urls import as_browsers_write
from reach.texts import N_
from reach.web.body import read_form
from reach.web.guard import failed_link, hit
from reach.web.html import HEADERS, is_language_chosen, is_loaded_ahead, language_of, render
from reach.web.routes import services_of

#: Requests of our own pages, and of nobody's: typed, or opened from a bookmark or a mail program.
OURS = frozenset(("", "same-origin", "none"))


class LoadedFromElsewhere(Forbidden):
    """Another web site tried to load this page inside itself, or in the background.

    Nothing was done. If you meant to come here, open the link in your email.
    """

    type, title = "loaded-from-elsewhere", N_("This page opens only when you click a link to it")


async def refuse_loads_from_elsewhere(request: Request) -> None:
    """Raise LoadedFromElsewhere for what another site loads other than by leading here.

    First of all, with no look at a link and with nothing counted: the visitor, in whose name the
    browser asks, has done nothing. To lead here is to open this page in place of the other, or in
    a window of its own: by a click in a web mail, say. A sibling (``same-site``) is elsewhere too.
    """
    said = request.headers
    if said.get("sec-fetch-site", "") in OURS:
        return
    leads_here = said.get("sec-fetch-mode", "navigate") == "navigate"
    # Frames, objects and the like are navigated too. The first browsers did not say it.
    is_seen = said.get("sec-fetch-dest", "document") == "document"
    # A browser that loads ahead of the click drops what is refused, and asks again when it comes.
    if not (leads_here and is_seen) or is_loaded_ahead(request):
        raise LoadedFromElsewhere


#: The browser may be a shared one; the email with the link stays where it is.
MOST_SECONDS = 3600
#: How long somebody may think about whose record to see: see ``pages.me``.
OFFER_SECONDS = 600
#: Of the tokens in one address no more are looked at: a program that mangles links makes two.
MOST_TOKENS = 4
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

    status, type, title = 403, "foreign-form", N_("This form is not from here")


@dataclass(frozen=True)
class FromCookie:
    """A link that works by its signature and date, and what was typed into its form."""

    link: Link
    proof: str
    typed: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Cookie:
    """What a browser keeps a link in: below which path it is sent, and for how long at most."""

    name: str
    path: str
    most_seconds: int


def link_cookie(scope: Scope) -> Cookie:
    """The cookie of the link that the browser keeps."""
    return Cookie(f"reach-{scope}", f"/{scope}", MOST_SECONDS)


def offer_cookie(scope: Scope) -> Cookie:
    """The cookie of another person's link, until somebody says whether it is to be kept."""
    return Cookie(f"reach-{scope}-offer", f"/{scope}/switch", OFFER_SECONDS)


Answer = Callable[[Request, FromCookie], Awaitable[Response]]
Route = Callable[[Request], Awaitable[Response]]


def holding(scope: Scope, without: Route) -> Callable[[Answer], Route]:
    """Make the answer to those who hold a link of this scope; others get that of ``without``.

    Who comes from ``keep`` and holds nothing has a browser that keeps no cookies, and is told so.
    A form is read and checked before the answer is made. Raises ForeignForm.
    """
    cookie = link_cookie(scope)

    def wrap(answer: Answer) -> Route:
        async def route(request: Request) -> Response:
            if request.method != "POST" and KEPT in request.query_params:
                is_kept = cookie.name in request.cookies
                return see(request, f"/{scope}") if is_kept else _no_cookies(request)
            try:
                return await answer(request, await find(request, scope, cookie))
            except LinkVoid:
                return forget(await without(request), cookie)

        return route

    return wrap


async def find(request: Request, scope: Scope, cookie: Cookie) -> FromCookie:
    """Find the link in a cookie; a form must be ours. Raises LinkVoid; ForeignForm."""
    is_form = request.method == "POST"
    if is_form:
        _check_origin(request)
    token = request.cookies.get(cookie.name, "")
    link = await read(request, token)
    if link.scope != scope:
        raise LinkVoid
    links = services_of(request).links
    if not is_form:
        return FromCookie(link, links.form_proof(token))
    typed = await read_form(request)
    proof = typed.pop(FIELD, "")
    if not links.is_form_of(token, proof):
        raise ForeignForm
    # If the form is shown again, its proof is as good as before.
    return FromCookie(link, proof, typed)


def _check_origin(request: Request) -> None:
    """Raise ForeignForm unless the browser says that the form is on a page of ours."""
    ours = as_browsers_write(services_of(request).settings.origin)
    if request.headers.getlist("origin") != [ours]:
        raise ForeignForm


async def read(request: Request, token: str) -> Link:
    """Read a token, if it is one of ours; the database may know more against it.

    Raises LinkVoid; QuotaExceeded.
    """
    link = look(request, token)
    if link is not None:
        await hit(services_of(request), "api", link.holder)
        return link
    if token:
        await failed_link(request)
    raise LinkVoid


def look(request: Request, token: str) -> Link | None:
    """Read a token, if it is one of ours; it counts for nothing."""
    links: Links = services_of(request).links
    try:
        return links.read(token)
    except BadLink:
        return None


def keep(request: Request, token: str, scope: Scope) -> Response:
    """Have the browser hold a token, and lead to the page without it.

    By way of a look at whether it is held: what follows could not tell a browser that keeps no
    cookies from one that came without a link.
    """
    return put(request, see(request, f"/{scope}?{KEPT}"), token, link_cookie(scope))


def put(request: Request, answer: Response, token: str, cookie: Cookie) -> Response:
    """Have the browser keep a token in a cookie."""
    links: Links = services_of(request).links
    answer.set_cookie(
        cookie.name,
        token,
        max_age=min(links.seconds_left(token), cookie.most_seconds),
        path=cookie.path,
        secure=services_of(request).settings.is_https,
        httponly=True,
        # Not "strict": then it would be missing when a link is followed from a web mail.
        samesite="lax",
    )
    return answer


def forget(answer: Response, cookie: Cookie) -> Response:
    """Have the browser forget what it keeps in a cookie."""
    answer.delete_cookie(cookie.name, path=cookie.path, httponly=True, samesite="lax")
    return answer


def see(request: Request, path: str) -> Response:
    """Lead on, after something was done: what follows can be reloaded without harm."""
    if is_language_chosen(request):
        path = f"{path}{'&' if '?' in path else '?'}lang={language_of(request)}"
    return RedirectResponse(path, status_code=303, headers=HEADERS)


def _no_cookies(request: Request) -> Response:
    """Say that the browser kept nothing, and what to do; nothing is known of the link any more."""
    host = urlsplit(services_of(request).settings.origin).netloc
    answer = render(request, "no-cookies.html", 401, host=host)
    answer.headers["WWW-Authenticate"] = CHALLENGE
    return answer
