"""What the sign-up page says, as text: part of the evidence of a consent."""

import time
from collections.abc import Mapping
from functools import lru_cache
from html.parser import HTMLParser

from fastapi import Request

from reach.people.consent import Wording
from reach.web.html import is_framed, language_of
from reach.web.routes import services_of
from reach.web.templates import Pages

#: What a page's template is given where nobody has typed anything and nothing is wrong.
BLANK = {
    "typed": {"name": "", "email": "", "description": ""},
    "sure": "",
    "started": "",
    "nonce": "",
    "next": "",
    "site": "",
    "action": "/",
    "path": "/",
    "email_type": "email",
    "needs_proof": False,
    "faults": [],
    "errors": {},
    "title": None,
    "may_repeat": False,
    "wait_minutes": 0,
    "is_fine": False,
}
#: For how long a page is taken to say the same, where templates of the operator's own may change.
SECONDS = 60
#: Elements that end a line; those whose text nobody sees, and those that have no end.
LINES = ("p", "h1", "h2", "label", "button", "li", "div")
UNSEEN = ("script", "style", "template")
EMPTY = ("input", "br", "img", "hr", "link", "meta")


def wording_of(request: Request, labels: Mapping[str, str]) -> Wording:
    """Give what the form said that a request sends, in the language of the request."""
    services = services_of(request)
    age = int(time.monotonic() / SECONDS) if services.settings.pages_dir else 0
    named = tuple(labels.items())
    framed = "framed" if is_framed(request) else ""
    return _wording(services.pages, language_of(request), framed, named, age)


@lru_cache(64)
def _wording(
    pages: Pages, language: str, framed: str, labels: tuple[tuple[str, str], ...], _age: int
) -> Wording:
    values = {**BLANK, "labels": dict(labels), "framed": framed}
    reader = _Reader()
    reader.feed(pages.render("sign-up.html", language, **values))
    reader.close()
    return Wording.of(reader.text)


class _Reader(HTMLParser):
    """Reads what people see of a page's main part: its text, and where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[str] = []
        self._is_main = False
        #: How deep in something that nobody sees.
        self._unseen = 0

    @property
    def text(self) -> str:
        """All of it, a line for each block."""
        lines = (" ".join(line.split()) for line in "".join(self._parts).splitlines())
        return "\n".join(filter(None, lines))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element."""
        given = dict(attrs)
        if tag == "main":
            self._is_main = True
        if tag in EMPTY:
            return
        if self._unseen or tag in UNSEEN or given.get("aria-hidden") == "true":
            self._unseen += 1
        elif self._is_main and tag in LINES:
            self._parts.append("\n")
        elif self._is_main and tag == "a" and (given.get("href") or "").startswith("http"):
            self._parts.append(f"<{given['href']}> ")

    def handle_endtag(self, tag: str) -> None:
        """End one."""
        if tag == "main":
            self._is_main = False
        if tag in EMPTY:
            return
        if self._unseen:
            self._unseen -= 1
        elif self._is_main and tag in LINES:
            self._parts.append("\n")

    def handle_data(self, data: str) -> None:
        """Take text."""
        if self._is_main and not self._unseen:
            self._parts.append(data.replace("\n", " "))
