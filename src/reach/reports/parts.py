"""An email's parts, as far as a report needs them: in bounded time, whatever the bytes are.

The standard library's parser reads each line of a part nested ``n`` deep ``n`` times, makes an
object of every part, and takes ``message/global-delivery-status`` for an email. So parts are found
here, by their boundaries; headers and encodings are read by the standard library.
"""

import binascii
import quopri
import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from functools import cached_property

#: An email is looked at so far. Intakes refuse larger ones; 10 MB are read in a tenth of a second.
MAIL_BYTES = 32 << 20
#: Of each part, as it was sent. Reports are small; what is larger is what was returned.
PART_BYTES = 256 << 10
HEADER_BYTES = 64 << 10
HEADER_CHARACTERS = 4000
#: Reports have three parts, and forwarded ones a few more.
PARTS = 64
DEPTH = 6

FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,76})[ \t]*:(.*)", re.DOTALL)
CHARSET = re.compile(
    r"iso-?8859-\d{1,2}|windows-12\d\d|koi8-[ru]|gb2312|gbk|gb18030|big5|shift_jis"
    r"|euc-(jp|kr)|iso-2022-(jp|kr)",
    re.IGNORECASE,
)
#: What other emails are in. None of them is looked into for a report.
RETURNED = {"message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers"}

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Part:
    """A part that is no multipart: its headers, and what it holds (``content``, undecoded)."""

    headers: Fields
    raw: bytes
    content: bytes

    @cached_property
    def type(self) -> str:
        """Its media type, in lower case; text/plain if it says none."""
        return _typed(self.headers).get_content_type()

    @cached_property
    def text(self) -> str:
        """What it holds, decoded, as far as it is looked at."""
        charset = str(_typed(self.headers).get_content_charset("utf-8"))
        return decoded(self._bytes, charset)

    @cached_property
    def is_encoded(self) -> bool:
        """Whether it says that it is base64 or quoted-printable."""
        return self._encoding in {"base64", "quoted-printable"}

    @property
    def _encoding(self) -> str:
        return (first(self.headers, "content-transfer-encoding") or "").strip().lower()

    @property
    def _bytes(self) -> bytes:
        match self._encoding:
            case "base64":
                return _from_base64(self.content)
            case "quoted-printable":
                return quopri.decodestring(self.content)
        return self.content


@dataclass(frozen=True)
class Mail:
    """An email: its headers, its type, and its parts in their order."""

    headers: Fields
    type: str
    report_type: str
    parts: Sequence[Part]


def split(mail: bytes) -> Mail:
    """Find the parts of an email."""
    whole = _with_newlines(mail[:MAIL_BYTES])
    headers, _ = _headers(whole, 0, len(whole))
    typed = _typed(headers)
    report_type = typed.get_param("report-type", "")
    parts: list[Part] = []
    for part in _parts(whole, 0, len(whole), 0):
        parts.append(part)
        if len(parts) == PARTS:
            break
    return Mail(headers, typed.get_content_type(), str(report_type).lower(), parts)


def fields(text: str) -> Fields:
    """Read fields, ``Name: value`` each, their names in lower case.

    A line that is none goes on with the one before, folded as it should be or not; blank lines are
    fields without a name.
    """
    found: list[tuple[str, str]] = []
    for line in text.split("\n"):
        match = None if line[:1] in {" ", "\t"} else FIELD.match(line)
        if match:
            found.append((match[1].lower(), match[2].strip()))
        elif not line.strip():
            found.append(("", ""))
        elif found and len(found[-1][1]) < HEADER_CHARACTERS:
            name, value = found[-1]
            if name:
                found[-1] = (name, f"{value} {line.strip()}".strip())
    return [(name, value[:HEADER_CHARACTERS]) for name, value in found]


def first(headers: Fields, name: str) -> str | None:
    """The first header of that name (in lower case), as it was sent; None if there is none."""
    return next((value for one, value in headers if one == name), None)


def words(text: str) -> str:
    """Decode the words of a header that are encoded (RFC 2047)."""
    try:
        return str(make_header(decode_header(text[:1000])))
    except (MessageError, ValueError, LookupError, binascii.Error):
        return text


def decoded(content: bytes, charset: str = "utf-8") -> str:
    """Read text, which is UTF-8 in spite of its charset where it can be."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        known = charset if CHARSET.fullmatch(charset) else "utf-8"
    try:
        return content.decode(known, "replace")
    except (LookupError, ValueError):
        return content.decode("utf-8", "replace")


def _with_newlines(mail: bytes) -> bytes:
    if b"\r" not in mail:
        return mail
    return mail.replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _headers(whole: bytes, start: int, end: int) -> tuple[Fields, int]:
    """Read the headers that begin at ``start``, and say where the content does."""
    if whole[start : start + 1] == b"\n":
        return (), start + 1
    found = whole.find(b"\n\n", start, end)
    stop = end if found < 0 else found
    text = decoded(whole[start : min(stop, start + HEADER_BYTES)])
    read = [one for one in fields(text) if one[0]]
    return read, end if found < 0 else min(found + 2, end)


def _parts(whole: bytes, start: int, end: int, depth: int) -> Iterator[Part]:
    """Give what lies between ``start`` and ``end``, and is no multipart, in order."""
    headers, content = _headers(whole, start, end)
    typed = _typed(headers)
    if typed.get_content_maintype() == "multipart" and depth < DEPTH:
        boundary = _boundary(typed, whole, content, end)
        for begin, stop in _between(whole, boundary, content, end):
            yield from _parts(whole, begin, stop, depth + 1)
        return
    raw = whole[start : min(end, start + PART_BYTES)]
    yield Part(headers, raw, whole[content : min(end, content + PART_BYTES)])


def _boundary(typed: Message, whole: bytes, content: int, end: int) -> bytes:
    """Say which lines part it; if its header does not, or says a wrong one, the first that may."""
    named = typed.get_boundary()
    if isinstance(named, str) and named.strip():
        line = b"--" + named.strip().encode("utf-8", "replace")
        if whole.find(line, content, end) >= 0:
            return line
    found = re.compile(rb"^--[^\s-][^\n]{0,200}", re.MULTILINE).search(
        whole, content, min(end, content + PART_BYTES)
    )
    return found[0].rstrip() if found else b""


def _between(whole: bytes, line: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Say where the parts between lines that are ``line`` begin and end; the last may have none."""
    begin = None if line else start
    at = start
    for _ in range(4 * PARTS):
        found = whole.find(line, at, end) if line else -1
        if found < 0:
            break
        at = found + len(line)
        after = whole[at : at + 80].partition(b"\n")[0]
        is_line = (found == 0 or whole[found - 1 : found] == b"\n") and not after.strip(b" \t-")
        if not is_line:
            continue
        if begin is not None:
            yield begin, max(begin, found - 1)
        at = min(at + len(after) + 1, end)
        begin = at
        if after.startswith(b"--"):
            return
    if begin is not None and begin < end:
        yield begin, end


def _typed(headers: Fields) -> Message:
    """Let the standard library read what a part says of its type."""
    message: Message = Message()
    message["Content-Type"] = (first(headers, "content-type") or "text/plain")[:1000]
    return message


def _from_base64(content: bytes) -> bytes:
    clean = re.sub(rb"[^A-Za-z0-9+/]", b"", content)
    if len(clean) % 4 == 1:
        clean = clean[:-1]
    return b64decode(clean + b"=" * (-len(clean) % 4))
