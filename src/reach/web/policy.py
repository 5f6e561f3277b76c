"""What browsers let a page do (its Content-Security-Policy), and who may show it in a frame."""

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from reach.settings import Settings
from reach.settings.urls import as_browsers_write

#: A page may load our stylesheet and icon, send a form here, and frame a mail: nothing else.
PAGE_POLICY = {
    "default-src": "'none'",
    "style-src": "'self'",
    "img-src": "'self'",
    "frame-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
#: The one page that others may frame; and where a script of theirs sends what was typed.
EMBED, EMBED_JSON = "/embed", "/embed.json"


def policies(settings: Settings) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Make the policy of all pages, and that of the page that may be framed.

    A logo may be elsewhere. Browsers hold where a form's answer leads to against ``form-action``,
    so that admits the sites that people are led to.
    """
    logo = settings.brand.logo
    led_to = filter(None, (*sorted(settings.returns), settings.confirmed_url))
    policy = {
        **PAGE_POLICY,
        "img-src": _sources("'self'", [logo.origin] if logo and logo.origin else []),
        "form-action": _sources("'self'", map(_origin, led_to)),
    }
    embedders = [*map(as_browsers_write, settings.embedders)]
    framed = {**policy, "frame-ancestors": " ".join(embedders) or "'none'"}
    return policy, framed


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return as_browsers_write(f"{parts.scheme}://{parts.netloc}")


def _sources(first: str, others: Iterable[str]) -> str:
    return " ".join(dict.fromkeys((first, *others)))
