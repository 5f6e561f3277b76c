"""What names and descriptions may hold."""

import unicodedata
from typing import NamedTuple

from reach.people.advertising import SUSPECT, holds_address, holds_domain
from reach.texts import N_

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
NEEDED = N_("A name is needed.")
NO_ADDRESS = N_("A name must not hold an address or a link.")
NO_DOMAIN = N_(
    "A name must not hold an address or a link. If it holds none, put a space after each dot."
)


class Rules(NamedTuple):
    """How long a text may be, and what is said to whom it is refused."""

    length: int
    too_long: str
    unprintable: str


NAME = Rules(
    NAME_LENGTH,
    N_("A name may have at most 100 characters."),
    N_("A name must not hold control or direction characters."),
)
DESCRIPTION = Rules(
    DESCRIPTION_LENGTH,
    N_("A note may have at most 500 characters."),
    N_("A note must not hold control or direction characters."),
)


def clean_name(text: str) -> str:
    """Normalise a name (NFC, trimmed). Raises ValueError saying which rule it breaks."""
    if len(text) <= NAME_LENGTH and text.isascii() and text.isprintable():
        name = text.strip()
    else:
        name = _clean(text, NAME)
    is_ascii = name.isascii()
    if not name or (not is_ascii and all(map(_is_invisible, name))):
        raise ValueError(NEEDED)
    if not is_ascii or SUSPECT.search(name):
        _refuse_advertising(_as_seen(name))
    return name


def clean_description(text: str) -> str:
    """Normalise a description (NFC, trimmed). Raises ValueError saying which rule it breaks."""
    return _clean(text, DESCRIPTION)


def _refuse_advertising(seen: str) -> None:
    if holds_address(seen):
        raise ValueError(NO_ADDRESS)
    if holds_domain(seen):
        raise ValueError(NO_DOMAIN)


def _clean(text: str, rules: Rules) -> str:
    if len(text) > MOST_LENGTHS * rules.length:
        raise ValueError(rules.too_long)
    # Most are printable, as Python calls it: so they hold no more than the categories of text.
    if not text.isprintable() and (text.isascii() or not _is_plain(text)):
        raise ValueError(rules.unprintable)
    cleaned = unicodedata.normalize("NFC", text).strip()
    if len(cleaned) > rules.length:
        raise ValueError(rules.too_long)
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
    if plain.isprintable() and IGNORED.isdisjoint(plain):  # no formatting (Cf) is printable
        return plain
    return "".join(
        character
        for character in plain
        if character not in IGNORED and unicodedata.category(character) != "Cf"
    )
