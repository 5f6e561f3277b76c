"""Reading an email for people: never failing, however broken or hostile it is."""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.errors import HeaderParseError
from email.header import decode_header
from email.parser import BytesHeaderParser, BytesParser

import structlog

log = structlog.get_logger("reach.mailbox")

#: How much of a header's value is read.
VALUE_CHARACTERS = 8 * 1024
#: Parsing takes the square of the number of boundaries: 250 in a megabyte took 13 s.
MOST_BOUNDARIES = 40
BOUNDARY = re.compile(rb"boundary\s{0,9}[=*]", re.IGNORECASE)

#: Encodings of text in use. Python has others that are slow to read or yield half a character.
CHARSETS = re.compile(
    r"ascii|utf-(8|8-sig|16|16-be|16-le|32)|iso8859-\d+|cp\d+|mac-\w+|koi8-\w|tis-620|ptcp154"
    r"|big5\w*|gb\w+|hz|euc_\w+|iso2022_\w+|johab|shift_jis\w*"
)


class UnreadableMime(Exception):  # noqa: N818 - expected, and caught here
    """The mail is made to be hard to parse."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A mail for people: every header in order, decoded; its first text and HTML, if any."""

    headers: Sequence[tuple[str, str]] = field(repr=False)
    text: str | None = field(repr=False)
    html: str | None = field(repr=False)


def read(raw: bytes) -> Reading:
    """Read a whole mail. One that cannot be parsed is shown as it came, as its text."""
    try:
        texts = _texts(raw)
    except Exception as error:  # noqa: BLE001 - the parser fails in many ways on hostile MIME
        log.info("mail unreadable", error_type=type(error).__name__)
        texts = {"text/plain": decode(raw)}
    return Reading(read_headers(raw), texts.get("text/plain"), texts.get("text/html"))


def read_headers(content: bytes) -> Sequence[tuple[str, str]]:
    """Read the headers, which end at the first empty line: nothing there is hard to parse."""
    head = re.split(rb"\r?\n\r?\n", content, maxsplit=1)[0]
    message = BytesHeaderParser().parsebytes(head)
    return [(name, _shown(value)) for name, value in message.raw_items()]


def decode(content: bytes, charset: str | None = None) -> str:
    """Read text as well as may be: what cannot be read, or in no charset we know, is U+FFFD."""
    try:
        name = codecs.lookup(charset or "utf-8").name
    except (LookupError, ValueError):
        name = "utf-8"
    return content.decode(name if CHARSETS.fullmatch(name) else "utf-8", "replace")


def _texts(raw: bytes) -> dict[str, str]:
    """Find the first part of each type that is text and no attachment, by type."""
    if len(BOUNDARY.findall(raw)) > MOST_BOUNDARIES:
        raise UnreadableMime
    found: dict[str, str] = {}
    for part in BytesParser().parsebytes(raw).walk():
        kind = part.get_content_type()
        if part.is_multipart() or part.get_content_disposition() == "attachment":
            continue
        if kind in ("text/plain", "text/html") and kind not in found:
            content = part.get_payload(decode=True)
            if isinstance(content, bytes):
                found[kind] = decode(content, part.get_content_charset())
    return found


def _shown(value: str) -> str:
    """Decode a header's value: folds, RFC 2047 words, and bytes that are not ASCII."""
    text = decode(value[:VALUE_CHARACTERS].encode("utf-8", "surrogateescape"))
    try:
        words = decode_header(text) if "=?" in text else [(text, None)]
    except HeaderParseError:
        words = [(text, None)]
    whole = "".join(_word(word, charset) for word, charset in words)
    return re.sub(r"[\r\n]+", "", whole.encode("utf-8", "replace").decode()).strip()


def _word(word: str | bytes, charset: str | None) -> str:
    """Decode what ``decode_header`` found: plain words beside encoded ones are bytes too."""
    if isinstance(word, str):
        return word
    return decode(word, charset) if charset else word.decode("raw-unicode-escape", "replace")
