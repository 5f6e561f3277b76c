"""An email for people to read: headers, text and HTML, however broken it is."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.parser import BytesHeaderParser

import structlog

log = structlog.get_logger("reach.mailbox")

#: What the parser is given. Longer headers, and more parts, are only shown as they came: it takes
#: the square of their number (250 boundaries in a megabyte took 13 s).
HEAD_BYTES, VALUE_CHARACTERS, MOST_BOUNDARIES = 64 * 1024, 8 * 1024, 40
BOUNDARY = re.compile(rb"boundary\s{0,9}[=*]", re.IGNORECASE)
#: So much of a text is searched. A thousand emails of this length take 20 MB of memory.
SEARCHED_CHARACTERS = 10_000
TAG = re.compile(r"<[^<>]*>")
SEARCHED_HEADERS = ("subject", "from", "to", "cc", "reply-to")


@dataclass(frozen=True, slots=True)
class Reading:
    """A mail for people: every header in order, decoded; its text and its HTML, if any."""

    headers: Sequence[tuple[str, str]] = field(repr=False)
    text: str | None = field(repr=False)
    html: str | None = field(repr=False)


def read(raw: bytes) -> Reading:
    """Read a whole mail. One that cannot be parsed is shown as it came, as its text."""
    try:
        texts = _texts(raw)
    except Exception as error:  # noqa: BLE001 - the parser fails in many ways on hostile MIME
        log.info("mail unreadable", error_type=type(error).__name__)
        texts = {"plain": readable(raw)}
    headers = [(name, decoded(value)) for name, value in headers_of(raw)]
    return Reading(headers, texts.get("plain"), texts.get("html"))


def searchable(reading: Reading) -> str:
    """Give what an email is found by: subject, addresses, and its text (or that of its HTML)."""
    named = [value for name, value in reading.headers if name.lower() in SEARCHED_HEADERS]
    text = reading.text
    if text is None:
        text = TAG.sub(" ", (reading.html or "")[:SEARCHED_CHARACTERS])
    return "\n".join((*named, text[:SEARCHED_CHARACTERS])).casefold()


def _texts(raw: bytes) -> dict[str, str]:
    """Find the text and the HTML that are meant to be read, no attachments."""
    if len(_head(raw)) > HEAD_BYTES or len(BOUNDARY.findall(raw)) > MOST_BOUNDARIES:
        raise ValueError
    whole = message_from_bytes(raw, policy=policy.default)
    parts = {kind: whole.get_body((kind,)) for kind in ("plain", "html")}
    return {kind: _sound(part.get_content()) for kind, part in parts.items() if part is not None}


def readable(raw: bytes) -> str:
    """Read a mail's source: what is not UTF-8 is U+FFFD."""
    return raw.decode("utf-8", "replace")


def _head(raw: bytes) -> bytes:
    return re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[0]


def headers_of(raw: bytes) -> Sequence[tuple[str, str]]:
    """Split the headers, in order, those of the first 64 KiB."""
    return list(BytesHeaderParser().parsebytes(_head(raw)[:HEAD_BYTES]).raw_items())


def decoded(value: str) -> str:
    """Decode a header's value, whichever it is: folds, RFC 2047's words, what is not ASCII."""
    shown = re.sub(r"[\r\n]+", "", value[:VALUE_CHARACTERS])
    with suppress(Exception):  # of many kinds, for hostile words: they are shown as they came
        shown = str(policy.default.header_factory("subject", shown))
    return _sound(shown).strip()


def _sound(text: str) -> str:
    """Leave out half characters, which no answer can hold."""
    return text.encode("utf-8", "replace").decode()
