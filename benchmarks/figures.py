"""A figure: what was measured, beside what, and whether it reaches its goal."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.rounds import ratio

#: The unit, and how a figure of it is written.
FORMS = {
    "/s": "{:,.0f}",
    "µs": "{:,.0f} µs",
    "ms": "{:,.1f} ms",
    "s": "{:.2f} s",
    "MB": "{:,.0f} MB",
    "": "{:.3g}",
}
BEFORE = "before"
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Goal:
    """What a figure has to reach: a bound, times that of ``beside`` if it is named.

    ``is_least`` is for what may not be less, else it may not be more.
    """

    bound: float
    is_least: bool
    beside: str = ""

    @property
    def words(self) -> str:
        """The goal as it is written."""
        sign = "≥" if self.is_least else "≤"
        return f"{sign} {self.bound:g}{f' {TIMES} {self.beside}' if self.beside else ''}"

    def share(self, value: float) -> float:
        """How far it is reached: 1 and more is all the way."""
        if not value:
            return 1.0 if not self.is_least else 0.0
        return value / self.bound if self.is_least else self.bound / value


@dataclass(frozen=True)
class Figure:
    """One line of the table: the rounds of Reach, and those of what stands beside it.

    A single one stands for all, where there were no rounds.
    """

    name: str
    unit: str
    rounds: Sequence[float]
    beside: Mapping[str, Sequence[float]] = field(default_factory=dict)
    goal: Goal | None = None
    note: str = ""

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.rounds)

    def to(self, name: str) -> float | None:
        """What it is to another one's; None if that is not here."""
        if name not in self.beside:
            return None
        others = self.beside[name]
        if len(others) != len(self.rounds):
            return self.value / statistics.median(others)
        return ratio(self.rounds, others)

    @property
    def share(self) -> float | None:
        """How far the goal is reached; None without one, or without what it is measured by."""
        if self.goal is None:
            return None
        value = self.to(self.goal.beside) if self.goal.beside else self.value
        return None if value is None else self.goal.share(value)

    @property
    def goal_words(self) -> str:
        """The goal with its unit; empty if there is none."""
        if self.goal is None:
            return ""
        unit = "" if self.goal.beside or self.unit == "/s" else f" {self.unit}"
        return f"{self.goal.words}{unit}".strip()

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is reached."""
        return None if self.share is None else self.share >= 1

    def as_json(self) -> dict[str, Any]:
        """The figure for programs."""
        return {
            "name": self.name,
            "unit": self.unit,
            "value": round(self.value, 4),
            "rounds": [round(one, 4) for one in self.rounds],
            "beside": {
                name: {
                    "value": round(statistics.median(some), 4),
                    "ratio": _rounded(self.to(name)),
                    "rounds": [round(one, 4) for one in some],
                }
                for name, some in self.beside.items()
            },
            "goal": self.goal_words or None,
            "reached": _rounded(self.share),
            "is_met": self.is_met,
            "note": self.note,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def written(value: float, unit: str) -> str:
    """Write a value with its unit."""
    return FORMS.get(unit, "{:,.2f} " + unit).format(value).strip()
