"""The ids by which a report's message may be found, the surest first."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reach.auth.return_path import CHARACTERS, HEADER
from reach.reports.addresses import TOKEN as SIGNED
from reach.reports.addresses import from_xtext, one_in
from reach.reports.model import Clues
from reach.reports.parts import HEADER_CHARACTERS, RETURNED, Fields, Mail, decoded, fields, first

IDS = 24
ID_CHARACTERS = 250
#: Emails that somebody returned hold these, in this order.
OURS = HEADER.lower()
MESSAGE_ID = re.compile(r"<[^<>\s]{1,250}>")
TOKEN = re.compile(r"[A-Za-z0-9+._=-]{1,250}")
OWN = re.compile(rf"[A-Za-z2-7]{{{CHARACTERS}}}")
KINDS = ("token", "message-id", "other-id")
#: Headers in a text: as they are, quoted, or put in.
IN_TEXT = re.compile(
    rf"^[>|\s]{{0,20}}({HEADER}|Message-ID|Return-Path|To)[ \t]*:"
    r"([^\n]{0,1000}(?:\n[ \t][^\n]{0,500})?)",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Returned:
    """What is needed of the message that was returned, whole or its headers."""

    tokens: Sequence[str] = ()
    message_ids: Sequence[str] = ()
    return_path: str | None = None
    recipient: str | None = None


def returned_in(mail: Mail, text: str) -> Returned:
    """Find the message that was returned: as a part, else in the text."""
    for part in mail.parts:
        if part.type in RETURNED:
            content = part.text if part.is_encoded else decoded(part.content)
            found = _returned(_headers(content))
            if found.tokens or found.message_ids:
                return found
    return _returned([(one[1].lower(), one[2]) for one in IN_TEXT.finditer(text)])


def ids_of(
    mail: Mail, returned: Returned, *, own: Iterable[str] = (), envelope: Iterable[str] = ()
) -> tuple[str, ...]:
    """List them: of our header, ``Message-ID``, then ``References``, then the envelope id."""
    told = [*_ids(mail.headers, "in-reply-to"), *reversed(_ids(mail.headers, "references"))]
    extra = [one for value in own for one in MESSAGE_ID.findall(value) or [value]]
    decoded_ids = [from_xtext(one) for one in envelope]
    every = (*returned.tokens, *returned.message_ids, *extra, *told, *decoded_ids)
    clean = (one.strip() for one in every)
    usable = (one for one in clean if 0 < len(one) <= ID_CHARACTERS and one.isprintable())
    return tuple(dict.fromkeys(usable))[:IDS]


def _headers(content: str) -> Fields:
    """Read the headers that a content begins with."""
    head = content.lstrip("\n").replace("\r\n", "\n").partition("\n\n")[0]
    return fields(head)


def _returned(headers: Fields) -> Returned:
    tokens = [
        found[0]
        for name, value in headers
        if name == OURS and (found := TOKEN.search(value[:HEADER_CHARACTERS]))
    ]
    path = first(headers, "return-path")
    to = first(headers, "x-hmxmroriginalrecipient") or first(headers, "to")
    return Returned(
        tokens[:4],
        _ids(headers, "message-id")[:4],
        one_in(path) if path else None,
        one_in(to) if to else None,
    )


def _ids(headers: Fields, name: str) -> list[str]:
    return [one for of, value in headers if of == name for one in MESSAGE_ID.findall(value)]


def kinds(clues: Clues) -> Iterator[str]:
    """Say by which kinds of clue a message may be found, the surest first."""
    if clues.return_path and SIGNED.search(clues.return_path):
        yield "return-path"
    of = dict.fromkeys(_kind(one) for one in clues.ids)
    yield from (one for one in KINDS if one in of)


def _kind(text: str) -> str:
    if MESSAGE_ID.fullmatch(text):
        return "message-id"
    return "token" if OWN.fullmatch(text) else "other-id"
