"""What an email says to people, without what was returned in it."""

import html
import re

from reach.reports.parts import Mail

TEXT_CHARACTERS = 64 << 10
TAG = re.compile(r"<[a-zA-Z/!][^<>]{0,2000}>")
BREAK = re.compile(r"<(?:br|/p|/div|/tr|/h\d|/li)\b[^<>]{0,200}>", re.IGNORECASE)
#: Where a server that returns the message in its text begins with it: qmail, Exim, and others.
COPY = re.compile(
    r"^[ \t]*(?:-+ ?Below this line is a copy of the message"
    r"|-+ ?(?:This is a|The following is a|Start of|Returned|Original|Message header|"
    r"Undelivered|Unsent|Headers of)[^\n]{0,80}(?:copy|message|header|mail)[^\n]{0,80}-*"
    r"|Received: (?:from|by) |Return-Path: )",
    re.IGNORECASE | re.MULTILINE,
)


def text_of(mail: Mail) -> str:
    """Put its plain parts together; of an email that has none, its HTML without the tags."""
    plain = [part.text for part in mail.parts if part.type == "text/plain"]
    if not plain:
        plain = [_plain(part.text) for part in mail.parts if part.type == "text/html"]
    return "\n".join(plain)[:TEXT_CHARACTERS]


def for_people(text: str) -> str:
    """What a text says before a copy of the message that was returned in it."""
    found = COPY.search(text)
    return text[: found.start()] if found else text


def _plain(text: str) -> str:
    marked = TAG.sub(" ", BREAK.sub("\n", text[:TEXT_CHARACTERS]))
    return html.unescape(marked)
