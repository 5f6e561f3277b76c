"""What names and descriptions may hold."""

import unicodedata

NAME_LENGTH = 100
DESCRIPTION_LENGTH = 500

#: Control, surrogate, line and paragraph separators, private: none is text that people type.
#: Unassigned is: this Python may not know yet what somebody's keyboard has.
REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp", "Co"})
#: Nothing to see: formatting, spaces, marks that stand on nothing.
INVISIBLE_CATEGORIES = frozenset({"Cf", "Zs", "Mn", "Me"})
#: They make text read other than it is written (UAX #9).
BIDI_CONTROLS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
#: An open door must not carry a stranger's links into somebody's inbox.
LINK_SIGNS = ("://", "www.", "@")


def clean_name(text: str) -> str:
    """Normalise a name (NFC, trimmed). Raises ValueError saying which rule it breaks."""
    name = _clean(text, "name", NAME_LENGTH)
    if all(unicodedata.category(character) in INVISIBLE_CATEGORIES for character in name):
        raise ValueError("A name is needed.")
    if any(sign in _as_seen(name) for sign in LINK_SIGNS):
        raise ValueError("A name must not hold an address or a link.")
    return name


def clean_description(text: str) -> str:
    """Normalise a description (NFC, trimmed). Raises ValueError saying which rule it breaks."""
    return _clean(text, "description", DESCRIPTION_LENGTH)


def _clean(text: str, what: str, length: int) -> str:
    cleaned = unicodedata.normalize("NFC", text).strip() if _is_plain(text) else None
    if cleaned is None:
        raise ValueError(f"A {what} must not hold control or direction characters.")
    if len(cleaned) > length:
        raise ValueError(f"A {what} may have at most {length} characters.")
    return cleaned


def _is_plain(text: str) -> bool:
    if text.isascii():
        return text.isprintable()
    return not any(
        character in BIDI_CONTROLS
        or unicodedata.category(character) in REFUSED_CATEGORIES
        or _is_noncharacter(ord(character))
        for character in text
    )


def _is_noncharacter(code: int) -> bool:
    return code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF  # noqa: PLR2004 - Unicode §23.7


def _as_seen(name: str) -> str:
    """What a name looks like: a full-width @ is much like the plain one, a joiner like nothing."""
    if name.isascii():
        return name.lower()
    plain = unicodedata.normalize("NFKC", name).lower()
    return "".join(character for character in plain if unicodedata.category(character) != "Cf")
