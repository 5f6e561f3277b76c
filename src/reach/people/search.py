"""People by any part of an address or a name: how a text is read, and whom it finds.

What is looked for is split at blanks, and each word must be found somewhere, whatever its case and
accents: `jose` finds José, and `strasse` Straße. A word of one or two characters finds how an
address, or a word of a name, begins: anything else would find nearly everybody.
"""

import unicodedata
from collections.abc import Iterable, Sequence

#: A shorter word is looked for at the beginning of words alone.
GRAM = 3
#: So many parts of a word are looked up, and the last one: who has them has nearly always the word.
MOST_GRAMS = 6
#: Before the beginning of a word: no text that is stored has it.
START = "\x02"


def fold(text: str) -> str:
    """Write a text as it is compared: without accents, and in the one case there is.

    Compatibility forms are what they stand for (full-width letters, ligatures); Cyrillic й is и.
    """
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(c for c in plain if not unicodedata.combining(c))


def words_of(text: str) -> Sequence[str]:
    """Read what is looked for: its words, folded."""
    return tuple(dict.fromkeys(fold(text).split()))


def text_of(email: str, email_key: str, name: str) -> str:
    """Write down all that somebody is found by; each beginning of a word is marked.

    The key is not how the address was typed where its domain is not ASCII: both find it.
    """
    addresses = dict.fromkeys(map(fold, (email, email_key)))
    return START + f" {START}".join([*addresses, *fold(name).split()])


def is_match(words: Iterable[str], text: str) -> bool:
    """Whether every word is in a text of ``text_of``."""
    return all((word in text if len(word) >= GRAM else f"{START}{word}" in text) for word in words)


def grams_of(text: str) -> set[str]:
    """Take a text of ``text_of`` apart: every three characters, and how each word begins."""
    found: set[str] = set()
    for part in text.split(f" {START}"):
        marked = START + part.removeprefix(START)
        found.update(marked[:length] for length in range(2, GRAM + 1))
        found.update(marked[n : n + GRAM] for n in range(1, len(marked) - GRAM + 1))
    return found


def wanted_grams(words: Iterable[str]) -> set[str]:
    """Name what a text of these words has, some of it: to have all of it is for ``is_match``."""
    found: set[str] = set()
    for word in words:
        if len(word) < GRAM:
            found.add(START + word)
        else:
            ends = range(0, len(word) - GRAM, GRAM)
            found.update(word[n : n + GRAM] for n in (*ends[:MOST_GRAMS], len(word) - GRAM))
    return found
