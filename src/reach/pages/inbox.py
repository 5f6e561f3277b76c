"""Whose inbox to check: what somebody typed a moment ago, which their own browser keeps.

So the page can say to which address an email goes, and send it again; the address is in no URL and
in no history. See docs/decisions/0059-pages.md.
"""

import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from fastapi import Request, Response
from itsdangerous import BadSignature
from itsdangerous.encoding import base64_decode, base64_encode

from reach.web.routes import services_of

COOKIE, PATH = "reach-inbox", "/check-your-inbox"
#: As long as somebody may look for an email.
KEPT_SECONDS = 900
#: A browser keeps cookies of 4 KiB; an address, a name and a note are shorter, or are not kept.
MOST_CHARACTERS = 3500
KEPT_FIELDS = ("email", "name", "description")


def remember(request: Request, answer: Response, typed: Mapping[str, str]) -> Response:
    """Have the browser keep what was typed, for the next page alone."""
    services = services_of(request)
    kept = {name: typed[name] for name in KEPT_FIELDS if typed.get(name)}
    text = services.inbox.sign(base64_encode(json.dumps(kept)).decode())
    if len(text) <= MOST_CHARACTERS:
        answer.set_cookie(
            COOKIE,
            text,
            max_age=KEPT_SECONDS,
            path=PATH,
            secure=urlsplit(services.settings.origin).scheme == "https",
            httponly=True,
            samesite="lax",
        )
    return answer


def remembered(request: Request) -> Mapping[str, str]:
    """Give what was typed a moment ago in this browser; nothing if that is not known."""
    try:
        text = services_of(request).inbox.unsign(request.cookies.get(COOKIE, ""))
    except BadSignature:
        return {}
    found: dict[str, str] = json.loads(base64_decode(text))
    return found
