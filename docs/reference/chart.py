"""The page of the chart's values, from its values.yaml: its comments are the words."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from docs.reference.markdown import page, table

VALUES = Path(__file__).parents[2] / "deploy" / "chart" / "values.yaml"
WORDS = """
What can be set when the chart is installed, with `--set` or in a file (`--values`). What is
required says so; what is misspelt is refused. How to install it: [the chart's
README](../../deploy/chart/README.md).
"""
LINE = re.compile(r"( *)([A-Za-z]\w*):( .*)?")
#: What begins the words of a value; those of a section begin without it.
MARK = "-- "
DEFAULT_CHARACTERS = 60


@dataclass(frozen=True)
class Value:
    """One value: its name with those of its sections, its words (or its section's) and default."""

    name: str
    words: str
    default: Any


def values() -> Iterator[Value]:
    """Read the values, in the order of the file."""
    text = VALUES.read_text(encoding="utf-8")
    defaults = yaml.safe_load(text)
    sections: list[tuple[int, str, str]] = []
    comments: list[str] = []
    inside = -1  # the indentation of a value that has lines of its own, which are its default
    for line in text.splitlines():
        bare = line.strip()
        indentation = len(line) - len(line.lstrip())
        if bare.startswith("#"):
            comments.append(bare.removeprefix("#").strip())
            continue
        found = LINE.fullmatch(line)
        if not found or indentation > inside >= 0:
            comments = []
            continue
        inside = -1
        words = " ".join(comments)
        comments = []
        sections = [one for one in sections if one[0] < indentation]
        names = [name for _, name, _ in sections] + [found[2]]
        if found[3] is None and not words.startswith(MARK):
            sections.append((indentation, found[2], words or (sections[-1][2] if sections else "")))
            continue
        inside = indentation
        own = words.removeprefix(MARK) or (sections[-1][2] if sections else "")
        yield Value(".".join(names), own, reduce(lambda at, name: at[name], names, defaults))


def written() -> str:
    """Write the page."""
    rows = [(f"`{one.name}`", _shown(one.default), one.words) for one in values()]
    return page("The chart's values", WORDS, table(("value", "default", ""), rows))


def _shown(default: Any) -> str:
    if default in ("", None):
        return ""
    text = default if isinstance(default, str) else json.dumps(default)
    return f"`{text}`" if len(text) <= DEFAULT_CHARACTERS else "see values.yaml"
