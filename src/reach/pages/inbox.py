"""Whose inbox to check: what somebody typed a moment ago, which their own browser keeps.

So the page can say to which address an email goes, and send it again; the address is in no URL and
in no history. See docs/decisions/0059-pages.md.
"""

from collections.abc import Mapping, Sequence

import orjson
from fastapi import Request, Response
from itsdangerous import BadSignature
from itsdangerous.encoding import base64_decode, base64_encode

from reach.web.routes import services_of

COOKIE, PATH = "reach-inbox", "/check-your-inbox"
#: As long as somebody may look for an email.
KEPT_SECONDS = 900
KEPT = f"; HttpOnly; Max-Age={KEPT_SECONDS}; Path={PATH}; SameSite=lax"
#: A browser keeps cookies of 4 KiB; of a longer form only the address is kept.
MOST_CHARACTERS = 3500
KEPT_FIELDS = ("email", "name", "description", "sure")


def remember(request: Request, answer: Response, typed: Mapping[str, str]) -> Response:
    """Have the browser keep what was typed, for the next page alone."""
    text = _written(request, typed, KEPT_FIELDS)
    if len(text) > MOST_CHARACTERS:
        text = _written(request, typed, KEPT_FIELDS[:1])
    secure = "; Secure" if services_of(request).settings.is_https else ""
    # Of base64 and a dot: nothing is to be quoted. ``set_cookie`` takes as long as all else here.
    answer.headers["set-cookie"] = f"{COOKIE}={text}{KEPT}{secure}"
    return answer


def forget(request: Request, answer: Response) -> Response:
    """Have the browser forget what was typed before, if it knows of something."""
    if COOKIE in request.cookies:
        answer.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="lax")
    return answer


def _written(request: Request, typed: Mapping[str, str], fields: Sequence[str]) -> str:
    kept = {name: typed[name] for name in fields if typed.get(name)}
    return services_of(request).inbox.sign(base64_encode(orjson.dumps(kept)).decode())


def remembered(request: Request) -> Mapping[str, str]:
    """Give what was typed a moment ago in this browser; nothing if that is not known."""
    try:
        text = services_of(request).inbox.unsign(request.cookies.get(COOKIE, ""))
    except BadSignature:
        return {}
    found: dict[str, str] = orjson.loads(base64_decode(text))
    return found
