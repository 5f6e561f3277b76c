"""Addresses, as reports write them."""

import re

from reach.auth.return_path import CHARACTERS, DELIMITER
from reach.reports.parts import Fields

MAX_CHARACTERS = 320
#: What may be an address in a text. Its length is bounded: a long text takes no longer than it is.
ADDRESS = re.compile(
    r"(?<![^\s<>()\[\]{},;:\"'`=|])([^\s<>()\[\],;:\"'`=|@]{1,128}@[^\s<>()\[\],;:\"'`|@]{1,255})"
)
#: ``utf-8-addr-xtext`` of RFC 6533 §3: ``\x{EB}`` for ``ë``.
CODE_POINT = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")
#: Exim writes the bytes of what is not ASCII so, in the text and in X-Failed-Recipients.
OCTAL = re.compile(r"(?:\\[0-3][0-7]{2})+")
BLANKS = re.compile(r"[\n\t]")
#: RFC 3461 §4: what xtext has to write otherwise.
XTEXT = re.compile(r"\+([0-9A-F]{2})")
#: Of an address: what it must write otherwise, and nothing that it would not. A tag may be ``+2``.
MAY_BE_XTEXT = re.compile(r"[^+=]*(?:\+(?:2B|3D)[^+=]*)+")
LAST_CODE_POINT, SURROGATES = 0x10FFFF, range(0xD800, 0xE000)
#: The part of our return path that is signed, whatever the rest is called.
TOKEN = re.compile(rf"{re.escape(DELIMITER)}[A-Za-z2-7]{{{CHARACTERS}}}@")

#: Who put the mail into the mailbox writes to whom it was; the surest first.
RECEIVED_BY = ("x-original-to", "envelope-to", "x-envelope-to", "x-delivered-to", "delivered-to")


def typed(text: str | None) -> str | None:
    """Read ``rfc822; ada@example.org`` (RFC 3464 §2.3.1, RFC 6533 §3); None if there is none."""
    if not text:
        return None
    kind, separator, rest = text.partition(";")
    rest = rest if separator and re.fullmatch(r"[\w.-]+", kind.strip()) else text
    plain = readable(rest).strip().removeprefix("<").removesuffix(">")
    is_quoted = plain.startswith('"') and "@" in plain
    return plain[:MAX_CHARACTERS] if is_quoted else one_in(rest)


def from_orcpt(text: str | None) -> str | None:
    """Read ``Original-Recipient``, of which some servers leave the xtext as it came (ORCPT)."""
    address = typed(text)
    if address is None or MAY_BE_XTEXT.fullmatch(address) is None:
        return address
    return address.replace("+3D", "=").replace("+2B", "+")


def one_in(text: str) -> str | None:
    """Find the first address in a text."""
    found = ADDRESS.search(readable(text))
    return found[1].rstrip(".")[:MAX_CHARACTERS] if found else None


def all_in(text: str) -> list[str]:
    """Find every address in a text that is readable, each once, as it is written first."""
    found: dict[str, str] = {}
    for match in ADDRESS.finditer(text):
        address = match[1].rstrip(".")
        found.setdefault(address.casefold(), address)
    return list(found.values())


def readable(text: str) -> str:
    """Write as they are meant the characters that somebody wrote by their numbers."""
    if text.isascii() and BLANKS.sub("", text).isprintable() and "\\" not in text:
        return text
    if "\\" in text:
        text = OCTAL.sub(_from_octal, CODE_POINT.sub(_from_code_point, text))
    return "".join(one for one in text if one.isprintable() or one in "\n\t")


def from_xtext(text: str) -> str:
    """Decode xtext (RFC 3461 §4), of an envelope id."""
    plain = XTEXT.sub(lambda found: chr(int(found[1], 16)), text)
    return plain if plain.isprintable() else text


def return_path(headers: Fields, *more: str | None) -> str | None:
    """Say to which address a report was sent.

    ``more`` are others that may be it, the surest first; what bears a token of ours is surer still,
    as it is signed.
    """
    values = (value for name in RECEIVED_BY for one, value in headers if one == name)
    to = (value for one, value in headers if one == "to")
    found = [address for text in (*more, *values, *to) if text and (address := one_in(text))]
    signed = (address for address in found if TOKEN.search(address))
    return next(signed, found[0] if found else None)


def _from_code_point(found: re.Match[str]) -> str:
    number = int(found[1], 16)
    is_character = number <= LAST_CODE_POINT and number not in SURROGATES
    return chr(number) if is_character else found[0]


def _from_octal(found: re.Match[str]) -> str:
    octets = bytes(int(one, 8) for one in found[0].split("\\")[1:])
    return octets.decode("utf-8", "replace")
