"""Finds in a report what a mail server said: its reply's code, enhanced code and words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from reach.reports.addresses import readable

#: So much of what was said is looked at: more than is kept.
CHARACTERS = 2000
#: ``smtp; 550 5.1.1 …``: the type of a diagnostic code (RFC 3464 §2.3.6).
TYPE = re.compile(r"\s*([A-Za-z][\w.-]{0,40})\s*;\s*")
#: A reply's code, and its enhanced code. Not a part of a number, an address or a time.
REPLY = re.compile(
    r"(?<![\w.:/@+-])([245][0-5]\d|57[01])(?![\w./@%]|:\S)"
    r"(?:[ -]{1,3}\(?#?([245]\.\d{1,3}\.\d{1,3})(?![\w.]))?"
)
#: What stands before a code that is a server's reply, and not a number in a sentence.
SAID = re.compile(
    r"(?:said|says|responded(?: with)?|reply(?: was)?|respon(?:se|ded)(?: was)?|returned|error"
    r"|answer(?:ed)?|reason|smtp|diagnostic[- ]code|status|server|code|failure|message|command"
    r"|refused|because|<<<|->|[:;>('\"*|-])\s*$",
    re.IGNORECASE,
)
ENHANCED = re.compile(r"(?<![\w.@-])#?([245]\.\d{1,3}\.\d{1,3})(?![\w.-])")
#: The code once more, as at the beginning of each line of a reply.
CONTINUED = r" {code}[ -](?:[245]\.\d{{1,3}}\.\d{{1,3}}(?: |$))?"
BLANKS = re.compile(r"\s+")


@dataclass(frozen=True)
class Said:
    """What a mail server said: ``code`` and ``enhanced`` if it said any, and the words after."""

    code: int | None = None
    enhanced: str | None = None
    text: str = ""

    @property
    def is_reply(self) -> bool:
        """Whether a server's reply was found, and not only words."""
        return self.code is not None


def diagnosed(values: Sequence[str]) -> Said:
    """Read the fields ``Diagnostic-Code`` of one recipient: the first that holds a reply."""
    found = [_diagnosed(value) for value in values]
    return next((one for one in found if one.is_reply), found[0] if found else Said())


def _diagnosed(value: str) -> Said:
    match = TYPE.match(value)
    text = value[match.end() :] if match else value
    is_smtp = match is not None and match[1].lower() in {"smtp", "lmtp", "esmtp"}
    return in_text(text, is_reply=is_smtp)


def in_text(text: str, *, is_reply: bool = False) -> Said:
    """Find the first reply in a text. ``is_reply``: it is one, and so begins with its code."""
    text = clean(text)
    for match in REPLY.finditer(text[:4000]):
        before = text[: match.start()]
        is_sure = is_reply or not before.strip() or match[2] or SAID.search(before[-40:])
        if is_sure:
            return _said(match, text)
    found = ENHANCED.search(text[:4000])
    return Said(None, found[1] if found else None, text[:CHARACTERS])


def _said(match: re.Match[str], text: str) -> Said:
    begun = text[: match.end()][match.start() :]
    rest = begun + re.sub(CONTINUED.format(code=match[1]), " ", text[match.end() :][:4000])
    enhanced = match[2]
    if enhanced is None and (hashed := ENHANCED.search(rest[:1000])):
        enhanced = hashed[1]
    return Said(int(match[1]), enhanced, rest[:CHARACTERS])


def clean(text: str) -> str:
    """Put a text on one line, printable."""
    return BLANKS.sub(" ", readable(text)).strip()
