"""The documentation says one thing by one word: see the glossary of docs/architecture.md."""

import re
from pathlib import Path

from tests.support.documentation import FENCE, PAGES, each_page

#: Words that a reader who is not a native speaker stumbles over, and words that we had before.
NOT_OURS = re.compile(
    r"\b(?:whoever|whomever|anew|lest|likewise|reckon\w*|oftener|of oneself|doors?|knock\w*"
    r"|settl\w+|lanes?|knobs?|tall(?:y|ies)|envelopes?|turn(?:s|ed|ing)? (?:\w+ )?away|away|edges?"
    r"|unsure|paused?|robots?)\b",
    re.IGNORECASE,
)
#: These pages are made of comments in the source.
IS_WRITTEN = "<!-- Written by `make reference`, from the source."


def prose(text: str) -> str:
    """Leave out what is code: settings, commands and values have names of their own."""
    return re.sub(r"`[^`\n]+`|^(?: {4}|\t).*$", "", FENCE.sub("", text), flags=re.MULTILINE)


@each_page
def test_no_page_has_a_word_that_is_not_ours(page: Path) -> None:
    """A page that says a thing by another word speaks of another thing."""
    text = page.read_text(encoding="utf-8")
    if IS_WRITTEN not in text[:300]:
        assert NOT_OURS.findall(prose(text)) == []


def test_a_word_that_is_not_ours_is_found() -> None:
    """In prose, and not in code."""
    text = "Whoever knocks:\n\n    edge\n\n`edge.kind` and the edge; turned two away.\n"
    assert NOT_OURS.findall(prose(text)) == ["Whoever", "knocks", "edge", "turned two away"]
    assert len(PAGES) > 80
