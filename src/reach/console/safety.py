"""Where the console may be used, and which forms are its own.

A key that is typed must not cross a network in clear. So people come to the console by https, or
from a browser at this machine; and by the name that ``REACH_PUBLIC_URL`` says, which no other web
site can have ("DNS rebinding").
"""

import hmac
import re
from urllib.parse import urlsplit

from fastapi import Request

from reach.mailbox.pages import is_proxied
from reach.network.hosts import Place, is_loopback
from reach.problems import Forbidden, NotFound
from reach.settings import Settings
from reach.settings.urls import as_browsers_write
from reach.web.routes import fields_of, services_of

BEGINS = "/console"
SIGN_IN = "/console/sign-in"
#: Where somebody may be led back to: a path of ours, with a query, and nothing that browsers take
#: for another site's address.
LOCAL = re.compile(r"/console(?:/[A-Za-z0-9_./%~-]*)?(?:\?[!\"$-\[\]-~]*)?")
#: To browsers ``%2e`` is a dot too, and such a path leads out of the console.
UPWARDS = re.compile(r"/(?:\.|%2e){1,2}(?:[/?]|$)", re.IGNORECASE)
MOST_CHARACTERS = 2000
#: The field of each form that only a session's own pages can have.
FIELD = "proof"


class NotSafeHere(Forbidden):
    """Here your key would cross the network in clear, or by a name that is not ours.

    Have Reach reached by https, set `REACH_PUBLIC_URL` to that address, such as
    `https://signup.example.org`, and open the console there. A proxy before Reach must pass on the
    `Host` that the browser named. On your own machine, open `http://127.0.0.1:8000/console`.
    """

    type, title = "not-safe-here", "The console does not open here"


class NotOurForm(Forbidden):
    """What was sent does not come from a page of the console that is signed in now.

    Nothing was done. Go back, load the page again, and send it from there.
    """

    type, title = "not-our-form", "This form is not from the console"


async def offered(request: Request) -> None:
    """Raise NotFound where the console is turned off; NotSafeHere where it may not be used."""
    settings = services_of(request).settings
    if not settings.console:
        raise NotFound
    if not is_safe(request, settings):
        raise NotSafeHere


def is_hidden(request: Request) -> bool:
    """Whether a request is for a console that is turned off."""
    return is_ours(request) and not services_of(request).settings.console


def is_ours(request: Request) -> bool:
    """Whether a request is for the console."""
    return f"{request.scope['path']}/".startswith(f"{BEGINS}/")


def is_safe(request: Request, settings: Settings) -> bool:
    """Whether a key may be typed here: by https at our own name, or at this machine.

    At this machine a proxy may speak to us by a loopback name for anybody in the world: it must say
    that the browser calls it by one, too.
    """
    ours = (urlsplit(as_browsers_write(settings.origin)).hostname or "").rstrip(".")
    asked = [_name(one) for one in fields_of(request, "host")]
    if settings.is_https:
        return len(asked) == 1 and asked[0] == ours
    before = [_name(one) for one in fields_of(request, "x-forwarded-host")]
    if is_proxied(request) and not before:
        return False
    return len(asked) == 1 and all(map(_is_here, (*asked, *before, ours)))


def _is_here(name: str | None) -> bool:
    return name is not None and is_loopback(name)


def _name(host: str) -> str | None:
    """Read a host, in lower case and without a port; None if it is not one name."""
    try:
        return Place.parse(host).host.rstrip(".")
    except ValueError:
        return None


def require_own_page(request: Request) -> None:
    """Raise NotOurForm unless the browser says that a page of ours sends this.

    Every browser says where a form is from. So nobody is signed in by another site's form either.
    """
    settings = services_of(request).settings
    ours = as_browsers_write(settings.origin)
    if not settings.is_https:  # this machine has several names
        ours = f"http://{''.join(fields_of(request, 'host')).lower()}"
    if [one.lower() for one in fields_of(request, "origin")] != [ours]:
        raise NotOurForm
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise NotOurForm


def is_proof(given: str, proof: str) -> bool:
    """Whether a form holds what its session's forms do."""
    return hmac.compare_digest(given.encode(), proof.encode())


def local_path(text: str) -> str:
    """Read where somebody is to be led back to; the console's first page if it is nowhere here."""
    is_local = len(text) <= MOST_CHARACTERS and LOCAL.fullmatch(text) and "//" not in text
    stays = is_local and not UPWARDS.search(text)
    return text if stays and not text.startswith(SIGN_IN) else BEGINS
