"""The words of docs/architecture.md are used everywhere, and no other ones for the same things."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.documentation import FENCE, PAGES, each_page
from tests.support.root import ROOT

#: What not to write, and what to write instead.
INSTEAD = {
    "whoever": "who, or anybody who",
    "whomever": "anybody whom",
    "anew": "again",
    "lest": "so that … not",
    "likewise": "the reason itself",
    "reckon": "count, measure",
    "reckons": "counts, measures",
    "reckoned": "counted, measured",
    "reckoning": "counting, measuring",
    "oftener": "more often",
    "of oneself": "one's own",
    "door": "sign-up, the sign-up endpoint",
    "doors": "sign-up endpoints",
    "knock": "request",
    "knocks": "requests",
    "knocking": "asking",
    "settle": "record the outcome",
    "settled": "finished, recorded",
    "settles": "records the outcome",
    "settler": "recorder",
    "settling": "recording the outcome",
    "settlement": "outcome",
    "unsettled": "unrecorded",
    "unsure": "unknown",
    "lane": "circuit breaker",
    "lanes": "circuit breakers",
    "tally": "counter",
    "tallies": "counters",
    "knob": "setting",
    "knobs": "settings",
    "robot": "spam",
    "robots": "spam protection, programs",
    "turned away": "refused, taken for spam",
    "turns away": "refuses",
    "turn away": "refuse",
    "on trial": "half-open",
    "effective settings": "settings",
    "effective configuration": "settings",
    "as above": "what is meant",
    "see above": "what is meant",
    "is away": "is unavailable",
    "are away": "are unavailable",
    "was away": "was unavailable",
    "were away": "were unavailable",
    "be away": "be unavailable",
    "been away": "been unavailable",
}
#: What is only wrong in such a place, as it is written there.
NAMES = {
    r"\b(?:Later|Unsure|Paused)\(": "Deferred, Unknown, Unavailable",
    r"\boutcome\W{1,4}(?:later|refused|unsure|paused)\b": "deferred, rejected, unknown …",
}
#: Where such a word is somebody else's, or history.
EXCEPT = re.compile(
    r"""
    meta\ name=\\?"robots\\?" | block\ robots      # HTML's
    | robots\.txt | X-Robots-Tag | x-robots-tag
    """,
    re.VERBOSE,
)
#: History; the words themselves; what others wrote.
SKIPPED = (
    "docs/architecture.md",
    "findings/",
    "requirements/",
    "src/reach/console/static/vendor/",
    "src/reach/db/migrations/versions/",
    "tests/db/test_words.py",
    "tests/docs/test_vocabulary.py",
)
TEXT = (
    *(".py", ".md", ".html", ".txt", ".css", ".js", ".yaml", ".yml", ".toml", ".sh", ".tpl"),
    *(".json", ".ndjson", ".service", ".subject", ".mako", "Makefile", "Dockerfile", ".ci/run"),
)
#: How no docstring begins: its first line says what the thing is or does.
BEGINNINGS = ("As ", "Likewise", "See ", "The same")
_WORDS = re.compile(rf"(?<![a-z])({'|'.join(INSTEAD)})(?![a-z])")


def split(text: str) -> str:
    """Put a space between the words of ``a_name`` and of ``AName``, in lower case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", text).lower()


def files() -> list[str]:
    """Name the files that are ours, and text."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    return [
        name
        for name in found.stdout.splitlines()
        if name.endswith(TEXT) and not name.startswith(SKIPPED) and (ROOT / name).is_file()
    ]


def found_in(text: str) -> Iterator[tuple[int, str, str]]:
    """Find words not to write: the number of the line, the word, and what to write."""
    for number, line in enumerate(text.splitlines(), 1):
        for match in _WORDS.finditer(split(EXCEPT.sub("", line))):
            yield number, match[1], INSTEAD[match[1]]
        for pattern, instead in NAMES.items():
            for match in re.finditer(pattern, line):
                yield number, match[0], instead


def docstrings(source: str) -> Iterator[str]:
    """List the docstrings of a module, its classes and functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("class DoorSignUp:", ["door"]),
        ("is_settled = True", ["settled"]),
        ("Whoever asks is turned away.", ["whoever", "turned away"]),
        ('<meta name="robots" content="none">', []),
        ("An indoor lanewise reckoner", []),
        ("return Later(450)", ["Later("]),
        ('attempts_total{outcome="refused"}', ['outcome="refused']),
        ("The outcome is later refused by nobody.", []),
    ],
)
def test_what_is_found(line: str, words: list[str]) -> None:
    """Names are read word by word; a word inside a longer one is another word."""
    assert [word for _, word, _ in found_in(line)] == words


def test_no_other_words() -> None:
    """One word for one thing, in code, tests, docs, metrics, logs and pages."""
    found = [
        f"{name}:{number}: {word}: write {instead}"
        for name in files()
        for number, word, instead in found_in((ROOT / name).read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


def test_docstrings_begin_with_what_it_is() -> None:
    """The first line stands alone: not "as above", "likewise" or "the same"."""
    found = [
        f"{name}: {text.splitlines()[0]}"
        for name in files()
        if name.startswith(("src/", "clients/")) and name.endswith(".py")
        for text in docstrings((ROOT / name).read_text(encoding="utf-8"))
        if text.startswith(BEGINNINGS)
    ]
    assert not found, "\n".join(found)


#: Names of settings and commands have these words; what pages say in prose has others for them.
NOT_IN_PROSE = re.compile(
    r"\b(?:envelopes?|turn(?:s|ed|ing)? (?:\w+ )?away|away|edges?|paused?)\b", re.IGNORECASE
)
#: These pages are made of comments in the source.
IS_WRITTEN = "<!-- Written by `make reference`, from the source."


def prose(text: str) -> str:
    """Leave out what is code."""
    return re.sub(r"`[^`\n]+`|^(?: {4}|\t).*$", "", FENCE.sub("", text), flags=re.MULTILINE)


@each_page
def test_no_page_has_such_a_word_in_its_prose(page: Path) -> None:
    """A page that says a thing by another word speaks of another thing."""
    text = page.read_text(encoding="utf-8")
    if IS_WRITTEN not in text[:300]:
        found = [word for _, word, _ in found_in(prose(text))]
        assert found + NOT_IN_PROSE.findall(prose(text)) == []


def test_no_setting_has_a_comment_behind_its_value() -> None:
    """A systemd environment file would take it for a part of the value."""
    behind = re.compile(r"^ *REACH_[A-Z_]+=.*\s# .*$", re.MULTILINE)
    assert behind.search("    REACH_NOTIFY_EVERY=day   # or hour\n")
    found = {str(page): behind.findall(page.read_text(encoding="utf-8")) for page in PAGES}
    assert {page: lines for page, lines in found.items() if lines} == {}


def test_prose_is_what_is_not_code() -> None:
    """A setting's name may have a word that a sentence may not."""
    text = "A door:\n\n    edge\n\n`edge.kind` and the edge; turned two away.\n"
    assert NOT_IN_PROSE.findall(prose(text)) == ["edge", "turned two away"]
    assert [word for _, word, _ in found_in(prose(text))] == ["door"]
    assert len(PAGES) > 80
