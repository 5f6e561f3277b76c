"""Header lines that no input can add to, end or fold (RFC 5322, 2047, 6532)."""

import re
from base64 import b64encode
from email.headerregistry import Address
from functools import lru_cache
from textwrap import wrap

#: Control characters, every Unicode line break, and halves of surrogate pairs.
FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
#: One plain address: neither a second one nor a comment, a quote or a group fits in.
ADDRESS = re.compile(r'([^\s"(),:;<>@\[\\\]]+)@([^\s"(),:;<>@\[\\\]]+)')
#: RFC 5321 §4.5.3.1, RFC 6531 §3.3: of UTF-8. A path is an address between angle brackets.
LOCAL_OCTETS, DOMAIN_OCTETS, ADDRESS_OCTETS = 64, 253, 254
MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,400}>")

LINE_CHARACTERS = 78
#: RFC 2047 §2: of a line that holds an encoded-word, and of the encoded-word.
ENCODED_LINE_CHARACTERS = 76
ENCODED_WORD_CHARACTERS = 75
#: What ``=?utf-8?q?`` and ``?=`` take of it.
ENCODED_WORD_FRAME = 12
#: What a "Q" encoded-word may hold as it is wherever it stands (RFC 2047 §5, rule 3).
LITERAL = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")


class BadHeader(ValueError):
    """A header would hold what none may; the text does not repeat it."""


def refuse_forbidden(value: object) -> str:
    """Give a value as text. Raises BadHeader if it could end a header line, or mangle one."""
    text = str(value)
    if FORBIDDEN.search(text):
        raise BadHeader("a header must not hold control characters, line breaks or half characters")
    return text


def text_header(name: str, text: str) -> str:
    """Write a header of free text, such as Subject, with its CRLF.

    What looks like an encoded-word is encoded, so that it arrives as it was typed.
    """
    line = f"{name}: {refuse_forbidden(text)}"
    if text.isascii() and "=?" not in text:
        if len(line) <= LINE_CHARACTERS:
            return f"{line}\r\n"
        lines = wrap(
            line,
            LINE_CHARACTERS,
            subsequent_indent=" ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        if all(len(part) <= LINE_CHARACTERS for part in lines):
            return "\r\n".join(lines) + "\r\n"
    return f"{name}: {encoded_words(text, len(name) + 2)}\r\n"


def mailbox_header(name: str, mailbox: Address) -> str:
    """Write ``From`` or ``Reply-To``, with its CRLF. Raises BadHeader."""
    display = refuse_forbidden(mailbox.display_name)
    line = f"{name}: {mailbox}"
    if display.isascii() and "=?" not in display and len(line) <= LINE_CHARACTERS:
        return f"{line}\r\n"
    if not display:
        return f"{line}\r\n"
    return f"{name}: {encoded_words(display, len(name) + 2)}\r\n <{mailbox.addr_spec}>\r\n"


def recipient_header(address: str) -> str:
    """Write ``To``, with its CRLF. Raises BadHeader for anything but one plain address.

    A local part that is not ASCII stands as it is (RFC 6532): the one place where a mail is
    not 7-bit, for RFC 2047 knows no encoding for it.
    """
    if not ADDRESS.fullmatch(refuse_forbidden(address)) or is_too_long(address):
        raise BadHeader("the recipient is not one plain address")
    return f"To: {address}\r\n"


def is_too_long(address: str) -> bool:
    """Whether an address is longer than mail servers must take, in octets."""
    local, _, domain = address.encode("utf-8", "surrogatepass").rpartition(b"@")
    return (
        len(local) > LOCAL_OCTETS
        or len(domain) > DOMAIN_OCTETS
        or len(local) + len(b"@") + len(domain) > ADDRESS_OCTETS
    )


def message_id_header(message_id: str) -> str:
    """Write ``Message-ID``, with its CRLF. Raises BadHeader."""
    if not MESSAGE_ID.fullmatch(message_id):
        raise BadHeader("the Message-ID is not one")
    return f"Message-ID: {message_id}\r\n"


def encoded_words(text: str, column: int) -> str:
    """Encode and fold ``text``, whose first line starts at ``column``, never within a character.

    "Q" where it is no longer than "B": then those who read the source can read it.
    """
    raw = text.encode()
    quoted = [_quoted(character) for character in text]
    sizes = [len(unit) for unit in quoted]
    first = min(ENCODED_WORD_CHARACTERS, ENCODED_LINE_CHARACTERS - column) - ENCODED_WORD_FRAME
    rest = ENCODED_WORD_CHARACTERS - ENCODED_WORD_FRAME
    if sum(sizes) * 3 <= len(raw) * 4:
        ends = _ends(sizes, first, rest)
        words = [f"=?utf-8?q?{''.join(quoted[start:end])}?=" for start, end in ends]
    else:
        sizes = [len(character.encode()) for character in text]
        ends = _ends(sizes, first // 4 * 3, rest // 4 * 3)
        parts = [b64encode(text[start:end].encode()).decode() for start, end in ends]
        words = [f"=?utf-8?b?{part}?=" for part in parts]
    return "\r\n ".join(words)


def _ends(sizes: list[int], first: int, rest: int) -> list[tuple[int, int]]:
    """Share out characters to lines: ``first`` is the first line's room, ``rest`` the others'."""
    lines = []
    start, room = 0, first
    for position, size in enumerate(sizes):
        if size > room:
            lines.append((start, position))
            start, room = position, rest
        room -= size
    return [*lines, (start, len(sizes))]


@lru_cache(maxsize=4096)
def _quoted(character: str) -> str:
    if character in LITERAL:
        return character
    return "_" if character == " " else "".join(f"={byte:02X}" for byte in character.encode())
