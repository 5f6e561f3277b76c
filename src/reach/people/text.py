"""What names and descriptions may hold."""

import unicodedata

from reach.people.advertising import SUSPECT, holds_address, holds_domain

NAME_LENGTH = 100
DESCRIPTION_LENGTH = 500
#: Text may shrink when it is trimmed and composed, so some more than its length is looked at. All
#: that came is not: to compose many marks takes time by their square.
MOST_LENGTHS = 4

#: Control, surrogate, line and paragraph separators, private: none is text that people type.
#: Unassigned is: this Python may not know yet what somebody's keyboard has.
REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp", "Co"})
#: Nothing to see: formatting, spaces, marks that stand on nothing.
INVISIBLE_CATEGORIES = frozenset({"Cf", "Zs", "Mn", "Me"})
#: Letters and symbols by category, but nothing to see either: Hangul fillers, a blank Braille cell.
BLANKS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
#: What is not shown, beside formatting: fillers, joiners, variation selectors, and what Unicode
#: keeps free for more of them (Default_Ignorable_Code_Point).
IGNORED = BLANKS | {
    *"\u034f\u17b4\u17b5\u2065",
    *map(chr, range(0x180B, 0x1810)),
    *map(chr, range(0xFE00, 0xFE10)),
    *map(chr, range(0xFFF0, 0xFFF9)),
    *map(chr, range(0xE0000, 0xE1000)),
}
#: Code points that are no characters (Unicode §23.7): these, and the last two of each plane.
NONCHARACTERS = range(0xFDD0, 0xFDF0)
PLANE_END = 0xFFFE
#: They make text read other than it is written (UAX #9).
BIDI_CONTROLS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
NO_ADDRESS = "A name must not hold an address or a link."
NO_DOMAIN = f"{NO_ADDRESS} If it holds none, put a space after each dot."


def clean_name(text: str) -> str:
    """Normalise a name (NFC, trimmed). Raises ValueError saying which rule it breaks."""
    if len(text) <= NAME_LENGTH and text.isascii() and text.isprintable():
        name = text.strip()
    else:
        name = _clean(text, "name", NAME_LENGTH)
    is_ascii = name.isascii()
    if not name or (not is_ascii and all(map(_is_invisible, name))):
        raise ValueError("A name is needed.")
    if not is_ascii or SUSPECT.search(name):
        _refuse_advertising(_as_seen(name))
    return name


def clean_description(text: str) -> str:
    """Normalise a description (NFC, trimmed). Raises ValueError saying which rule it breaks."""
    return _clean(text, "description", DESCRIPTION_LENGTH)


def _refuse_advertising(seen: str) -> None:
    if holds_address(seen):
        raise ValueError(NO_ADDRESS)
    if holds_domain(seen):
        raise ValueError(NO_DOMAIN)


def _clean(text: str, what: str, length: int) -> str:
    too_long = f"A {what} may have at most {length} characters."
    if len(text) > MOST_LENGTHS * length:
        raise ValueError(too_long)
    if not (text.isprintable() if text.isascii() else _is_plain(text)):
        raise ValueError(f"A {what} must not hold control or direction characters.")
    cleaned = unicodedata.normalize("NFC", text).strip()
    if len(cleaned) > length:
        raise ValueError(too_long)
    return cleaned


def _is_plain(text: str) -> bool:
    return not any(
        character in BIDI_CONTROLS
        or unicodedata.category(character) in REFUSED_CATEGORIES
        or _is_noncharacter(ord(character))
        for character in text
    )


def _is_noncharacter(code: int) -> bool:
    return code & PLANE_END == PLANE_END or code in NONCHARACTERS


def _is_invisible(character: str) -> bool:
    return character in IGNORED or unicodedata.category(character) in INVISIBLE_CATEGORIES


def _as_seen(name: str) -> str:
    """What a name looks like: a full-width @ is much like the plain one, a joiner like nothing."""
    if name.isascii():
        return name.lower()
    plain = unicodedata.normalize("NFKC", name).lower().replace("\u3002", ".")
    return "".join(
        character
        for character in plain
        if character not in IGNORED and unicodedata.category(character) != "Cf"
    )
