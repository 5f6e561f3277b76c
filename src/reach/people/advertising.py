"""Web addresses in names: an open form must not carry a stranger's advertising.

A name goes into the subject of an email, so it may hold no link, and no bare domain of a top-level
domain that exists. Names have dots too: of initials (``J.R.R. Tolkien``), of titles and degrees
(``Dr.med.``, ``M.Sc``), of legal forms (``Co.KG``, ``Inc.Ltd``), and some of what follows them is
a top-level domain. So a domain is what has a word before its last dot that is none of these.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

#: Without one of these a text in ASCII holds no address of any kind.
SUSPECT = re.compile("[.@:]")
LINK = re.compile(r"://|www\.|@|https?:")
#: A dot that was moved out of sight of programs, but not of people: ``xyz[.]biz``, ``xyz . biz``.
#: A space after it alone is how names are written, and nothing that a mail program makes a link of.
HIDDEN_DOT = re.compile(r"\s*[(\[{]\s*\.\s*[)\]}]\s*|\s+\.\s*")
#: All that may stand in a label, and more: no space, and no punctuation of ASCII but a hyphen.
_LABEL = r"[^\s!-,./:-@\[-`{-~]+"
WORDS_WITH_DOTS = re.compile(rf"({_LABEL}(?:\.{_LABEL})+)(/?)")
#: A label of Latin letters ends where those of another script begin, as in running Chinese.
LATIN_LABEL = re.compile(
    r"(?:xn--[a-z0-9-]++|[a-z0-9]++)(?![\u00df-\u024f\u0300-\u036f\u1e00-\u1eff])"
)


def _words(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


#: Nobody's surname: after an initial too, they make a domain.
NO_NAMES = _words("biz click com info link net online org shop site store website xyz")
TITLES = _words(
    "ao ass avv capt col cpt dipl dott dr dra drs emer fr gen habil hon jr jur lic lt mag maj med",
    "mr mrs ms mx nat oec phil pol prof rer rev sgt sig sr sra srta sta ste st sto theol",
    # Short for names, and initials of two letters.
    "chas chr ch dj dz geo jas joh jos kh ma ph sh th thos ts wm ya yu zh",
)
LEGAL_FORMS = _words(
    "ab ag aps as assn assoc bhd bros bv cia co corp dept gmbh inc intl kg kk llc llp lp ltd ltda",
    "mbh mfg nv ohg oy plc pte pty pvt sa sarl sas sdn se spa srl ug",
)
DEGREES = _words("arch des div ed eng ing litt ll min mus pharm phd phil psy sc tech th")
ABBREVIATIONS = TITLES | LEGAL_FORMS | DEGREES
#: Bachelors and masters of commerce.
COMMERCE = (["b"], ["m"])


def holds_address(seen: str) -> bool:
    """Whether a text holds a link or an ``@``, as it is seen: see ``text``."""
    return LINK.search(seen) is not None


def holds_domain(seen: str) -> bool:
    """Whether a text holds a bare domain, with a path or without, as it is seen: see ``text``."""
    found = WORDS_WITH_DOTS.findall(HIDDEN_DOT.sub(".", seen))
    return any(_is_domain(words.split("."), has_path=bool(path)) for words, path in found)


def _is_domain(labels: Sequence[str], *, has_path: bool) -> bool:
    """Whether one of these labels is a top-level domain, and one before it is a word."""
    before: list[str] = []
    for label in labels:
        word = "".join(filter(str.isalnum, label))
        is_last = len(before) == len(labels) - 1
        has_more = has_path and is_last
        if before and _ends_domain(label) and not _is_name(before, word, has_path=has_more):
            return True
        before.append(word)
    return False


def _is_name(before: Sequence[str], word: str, *, has_path: bool) -> bool:
    """Whether a top-level domain may stand here as a name, a degree, or a legal form."""
    if word == "com" and before in COMMERCE:
        return True
    if word in NO_NAMES or not all(map(_is_abbreviation, before)):
        return False
    if not has_path:
        return True
    # ``M.Sc/Ph.D``, and ``Inc.Ltd/Co``; but ``t.co/xyz`` is a link.
    return word in DEGREES or (word in ABBREVIATIONS and any(len(one) > 1 for one in before))


def _is_abbreviation(word: str) -> bool:
    return word in ABBREVIATIONS or (len(word) == 1 and word.isalpha()) or word == "com"


def _ends_domain(label: str) -> bool:
    match = LATIN_LABEL.match(label)
    if match is None and label.isascii():
        return False
    return (match[0] if match else _without_punctuation(label)) in top_level_domains()


def _without_punctuation(label: str) -> str:
    """Drop what follows a label of other letters: quotation marks, say, or an emoji."""
    while label and unicodedata.category(label[-1])[0] in "PS":
        label = label[:-1]
    return label


@cache
def top_level_domains() -> frozenset[str]:
    """Every top-level domain there is, as people and as machines write it.

    Of the Public Suffix List, as the package ``publicsuffixlist`` has it, only the file is read:
    to make its index of all suffixes takes 0.4 s, and to read the last labels 10 ms.
    """
    text = (files("publicsuffixlist") / "public_suffix_list.dat").read_text("utf-8")
    rules = text.partition("// ===END ICANN DOMAINS===")[0].splitlines()
    found = {rule.split()[0].rpartition(".")[2] for rule in rules if rule and rule[:2] != "//"}
    others = [name for name in found if not name.isascii()]
    return frozenset(found | {f"xn--{name.encode('punycode').decode()}" for name in others})
