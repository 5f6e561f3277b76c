"""What the pages are made of."""

from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent
GENERATED = "<!-- Written by `make reference`, from the source. Change that. -->"


def page(title: str, words: str, *parts: str) -> str:
    """Put a page together."""
    return "\n\n".join((f"# {title}", GENERATED, words.strip(), *parts)) + "\n"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table."""
    lines = [tuple(heads)]
    lines.append(("---",) * len(lines[0]))
    lines += [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def codes(words: Iterable[str]) -> str:
    """List words as they are written in code."""
    return ", ".join(f"`{word}`" for word in words)
