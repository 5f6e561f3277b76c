"""What a run has to say: a table for the terminal, one for the page, JSON, and a picture."""

import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import BEFORE, TIMES, Figure, written
from benchmarks.picture import draw
from benchmarks.quotes import quote
from tests.support.root import ROOT

PAGE = ROOT / "docs/reference/speed.md"
DATA = ROOT / "docs/reference/speed.json"
PICTURE = ROOT / "docs/images/speed.svg"
BEGIN, END = "<!-- Written by `make bench ARGS=--write`. -->", "<!-- End. -->"
WORDS = {True: "yes", False: "no", None: ""}


@dataclass(frozen=True)
class Report:
    """A whole run: its figures, and where, when and by what they were measured."""

    facts: dict[str, str]
    figures: Sequence[Figure]

    def as_text(self) -> str:
        """The table for the terminal."""
        lines = [f"{name}: {value}" for name, value in self.facts.items()]
        for figure in self.figures:
            lines.append(f"\n{figure.name}: {_value(figure)}{_judged(figure)}")
            lines += [f"    {line}" for line in _beside(figure)]
            lines += [f"    {figure.note}"] if figure.note else []
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The run for programs."""
        return {"facts": self.facts, "figures": [one.as_json() for one in self.figures]}

    def as_markdown(self) -> str:
        """The part of the page that is written."""
        facts = "\n".join(f"- {name}: {value}" for name, value in self.facts.items())
        return "\n".join(
            (
                BEGIN,
                "",
                "![Each figure that has a goal, as a share of it](../images/speed.svg)",
                "",
                facts,
                "",
                f"| figure | Reach | {BEFORE} | beside it | goal | reached |",
                "| --- | --- | --- | --- | --- | --- |",
                *map(_row, self.figures),
                "",
                *_notes(self.figures),
                "",
                END,
            )
        )

    def write(self) -> None:
        """Write the page's part, the JSON and the picture."""
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(put_into(page, self.as_markdown()), encoding="utf-8")
        words = json.dumps(self.as_json(), indent=1, ensure_ascii=False)
        DATA.write_text(words + "\n", encoding="utf-8")
        PICTURE.write_text(draw(self.figures), encoding="utf-8")
        quote({figure.name: _value(figure) for figure in self.figures})

    def save(self, path: Path) -> None:
        """Write the JSON alone."""
        path.write_text(json.dumps(self.as_json(), indent=1, ensure_ascii=False) + "\n", "utf-8")


def put_into(page: str, part: str) -> str:
    """Put the written part where the page has room for it. Raises ValueError if it has none."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise ValueError("the page has no place for what is measured, or more than one")
    return pattern.sub(lambda _: part, page)


def _value(figure: Figure) -> str:
    return written(figure.value, figure.unit)


def _judged(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    judged = {True: "reached", False: "MISSED", None: "cannot be judged"}[figure.is_met]
    return f"   goal {figure.goal_words}: {judged}"


def _beside(figure: Figure) -> list[str]:
    """What stands beside it, and what the figure is to it."""
    return [
        f"{figure.to(name):.2f} {TIMES} {name}, {written(statistics.median(some), figure.unit)}"
        for name, some in figure.beside.items()
    ]


def _row(figure: Figure) -> str:
    """The figure's row: before has a column of its own."""
    old = figure.beside.get(BEFORE)
    cells = [
        figure.name,
        _value(figure),
        written(statistics.median(old), figure.unit) if old else "",
        "; ".join(line for line in _beside(figure) if not line.startswith(_before(figure))),
        figure.goal_words,
        WORDS[figure.is_met],
    ]
    return f"| {' | '.join(cells)} |"


def _before(figure: Figure) -> str:
    ratio = figure.to(BEFORE)
    return f"{ratio:.2f} {TIMES} {BEFORE}, " if ratio is not None else "\0"


def _notes(figures: Sequence[Figure]) -> list[str]:
    """What is to be known of figures, below the table."""
    return [f"- {figure.name}: {figure.note}" for figure in figures if figure.note]
