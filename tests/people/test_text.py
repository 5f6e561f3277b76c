"""What names and descriptions may hold."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reach.people.text import clean_description, clean_name

TAKEN = {
    "ordinary": ("Ada Lovelace", "Ada Lovelace"),
    "one letter": ("A", "A"),
    "trimmed": ("  Ada ", "Ada"),
    "trimmed of other spaces": ("\u3000Ada\u00a0", "Ada"),
    "composed": ("Zoe\u0308", "Zo\u00eb"),
    "a hundred": ("a" * 100, "a" * 100),
    "a hundred code points beyond the BMP": ("\U0001f600" * 100, "\U0001f600" * 100),
    "a hundred once composed": ("e\u0301" * 100, "\u00e9" * 100),
    "a hundred once trimmed": (" " * 50 + "a" * 100, "a" * 100),
    "right to left": ("עדה", "עדה"),
    "joined": ("\u0646\u0627\u0645\u0647\u200c\u06cc", "\u0646\u0627\u0645\u0647\u200c\u06cc"),
    "a family": ("👩\u200d👧", "👩\u200d👧"),
    "a flag of tags": ("🏴\U000e0067\U000e007f", "🏴\U000e0067\U000e007f"),
    "younger than this Python": ("\U0001fae8 Ada \U0001fac8", "\U0001fae8 Ada \U0001fac8"),
    "punctuation": ("O'Brien-Smith, Jr. (PhD) & Co: /\\", "O'Brien-Smith, Jr. (PhD) & Co: /\\"),
    "markup": ("<b>{{ 7 * 7 }}</b>", "<b>{{ 7 * 7 }}</b>"),
    "wwww": ("Awww", "Awww"),
    "initials": ("J.R. Smith", "J.R. Smith"),
    "a saint": ("St. John", "St. John"),
    "a title": ("Dr.M\u00fcller", "Dr.M\u00fcller"),
    "a degree": ("Ada Lovelace, Ph.D", "Ada Lovelace, Ph.D"),
    "a letter in another shape": ("\u845b\U000e0100\u57ce", "\u845b\U000e0100\u57ce"),
    "a full stop of the east": ("\u30e2\u30fc\u5a18\u3002", "\u30e2\u30fc\u5a18\u3002"),
}
CONTROL = ["\0", "\x07", "\t", "\n", "\r\n", "\x0b", "\x0c", "\x1b", "\x1c", "\x7f", "\x85", "\x9f"]
LINES = ["\u2028", "\u2029"]
DIRECTIONS = [*"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"]
OTHERS = ["\ud800", "\udfff", "\ue000", "\ufdd0", "\ufffe", "\uffff", "\U0010ffff"]
LINKS = {
    "a link": "see http://example.com",
    "a link of another kind": "tg://resolve",
    "a site": "www.example.com",
    "a site in upper case": "WWW.EXAMPLE.COM",
    "an address": "ada@example.com",
    "an @ alone": "@",
    "a full-width @": "ada\uff20example.com",
    "a small @": "ada\ufe6bexample.com",
    "a full-width site": "\uff57\uff57\uff57\uff0eexample.com",
    "a full-width link": "http\uff1a\uff0f\uff0fexample",
    "a site in bold": "\U0001d430" * 3 + ".example.com",
    "a site with a joiner": "w\u200dww.example.com",
    "a link with a soft hyphen": "http:\u00ad//example.com",
    "a scheme": "https:example",
    "a domain with a path": "win at example.com/now",
    "a domain with a path in capitals": "EXAMPLE.COM/NOW",
    **{
        f"a site with {ord(unseen):x}": f"w{unseen}ww.example.com"
        for unseen in "\u034f\u180b\u180f\ufe00\ufe0f\U000e0100\U000e01ef\u3164\u115f"
    },
    **{f"a site with {ord(dot):x}": f"www{dot}example" for dot in "\u3002\uff0e\uff61"},
}
NOTHING = ["", " ", "\u3000\u00a0", "\u200b", "\u200b \u2060", "\ufeff", "\u0301", "\u00ad"]
NOTHING += [
    "\u115f",
    "\u1160",
    "\u3164",
    "\uffa0",
    "\u2800",
    "\u3164 \u2800",
    "\u2065",
    "\U000e01f0",
]


@pytest.mark.parametrize(("given_text", "kept"), TAKEN.values(), ids=TAKEN)
def test_names_that_people_have_are_taken(given_text: str, kept: str) -> None:
    """Trimmed and composed, and otherwise as they were typed."""
    assert clean_name(given_text) == kept


@pytest.mark.parametrize("character", CONTROL + LINES + DIRECTIONS + OTHERS, ids=ascii)
@pytest.mark.parametrize("where", ["{}Ada", "A{}da", "Ada{}"])
def test_no_character_that_is_not_text(character: str, where: str) -> None:
    """At either end as in the middle: trimming hides none."""
    for clean in (clean_name, clean_description):
        with pytest.raises(ValueError, match="must not hold control or direction"):
            clean(where.format(character))


@pytest.mark.parametrize("text", LINKS.values(), ids=LINKS)
def test_no_link_in_a_name(text: str) -> None:
    """However it is spelled; a description may have them, for it goes into no mail."""
    with pytest.raises(ValueError, match="must not hold an address or a link"):
        clean_name(text)
    assert clean_description(text)


@pytest.mark.parametrize("text", NOTHING, ids=ascii)
def test_a_name_can_be_seen(text: str) -> None:
    """Spaces, joiners and marks that stand on nothing are no name."""
    with pytest.raises(ValueError, match="A name is needed"):
        clean_name(text)


def test_lengths_are_counted_in_code_points() -> None:
    """A name has 100 at most, a description 500, once they are composed and trimmed."""
    assert clean_description("é" * 500 + " ") == "é" * 500
    assert clean_description("") == clean_description("  ") == ""
    with pytest.raises(ValueError, match="at most 100"):
        clean_name("\U0001f600" * 101)
    with pytest.raises(ValueError, match="at most 100"):
        clean_name("\u0958" * 51)  # it composes to two code points
    with pytest.raises(ValueError, match="at most 500"):
        clean_description("a" * 501)


def test_what_is_far_too_long_is_not_composed() -> None:
    """It is refused by its length as it came: to compose many marks takes seconds."""
    assert clean_name(" " * 397 + "Ada") == "Ada"
    with pytest.raises(ValueError, match="at most 100"):
        clean_name(" " * 398 + "Ada")
    assert clean_description(" " * 1999 + "a") == "a"
    with pytest.raises(ValueError, match="at most 500"):
        clean_description(" " * 2000 + "a")


@settings(derandomize=True, database=None, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_taken_is_clean(text: str) -> None:
    """Whatever is taken can be stored, put into a header's word, and cleaned again unchanged."""
    try:
        name = clean_name(text)
    except ValueError:
        return
    assert 1 <= len(name) <= 100
    assert clean_name(name) == name == unicodedata.normalize("NFC", name)
    assert len(name.splitlines()) == 1
    assert name.encode()
