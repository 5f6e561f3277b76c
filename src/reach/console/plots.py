"""Plots of counts over time: bars in SVG that the server makes, and the figures beside them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

#: What may be counted of an hour or a day, and what it is called; in the order of the plots.
SERIES = {
    "sign_ups": "Signed up",
    "deliveries": "Emails sent",
    "failures": "Emails failed",
    "bounces": "Emails bounced",
    "complaints": "Complaints",
}
HEIGHT = 100
#: Of a bar's width, so much is left between two.
GAP = 0.22
#: What is not nothing can be seen.
LEAST_HEIGHT = 2.5


@dataclass(frozen=True, slots=True)
class Bar:
    """One count: where it begins and ends from the left, how high it is, and what it says."""

    x: float
    width: float
    height: float
    label: str
    count: int


@dataclass(frozen=True, slots=True)
class Plot:
    """One series: its bars, how many in all, and what the highest bar stands for."""

    name: str
    title: str
    bars: Sequence[Bar]
    total: int
    most: int

    @property
    def path(self) -> str:
        """All bars as one shape."""
        return "".join(
            f"M{bar.x:.2f} {HEIGHT}v{-bar.height:.1f}h{bar.width:.2f}v{bar.height:.1f}z"
            for bar in self.bars
            if bar.count
        )


@dataclass(frozen=True, slots=True)
class Period:
    """Some hours or days: their plots, and a table of the same for those who do not see them."""

    name: str
    title: str
    unit: str
    plots: Sequence[Plot]
    starts: Sequence[datetime]
    labels: Sequence[str]

    @property
    def rows(self) -> Sequence[tuple[str, Sequence[int]]]:
        """List the counts by time, the newest first."""
        counts = zip(*([bar.count for bar in plot.bars] for plot in self.plots), strict=True)
        return list(zip(self.labels, counts, strict=True))[::-1]

    @property
    def ticks(self) -> Sequence[str]:
        """What stands below the plots: the first, the middle and the last time."""
        return [self.labels[0], self.labels[len(self.labels) // 2], self.labels[-1]]


def period(name: str, title: str, rows: Sequence[Any], label: Callable[[datetime], str]) -> Period:
    """Plot rows of counts that begin at ``row.<name>``: hours or days, the oldest first."""
    starts = [getattr(row, name) for row in rows]
    labels = [label(start) for start in starts]
    plots = [
        _plot(series, said, [getattr(row, series) for row in rows], labels)
        for series, said in SERIES.items()
    ]
    return Period(name, title, name.capitalize(), plots, starts, labels)


def _plot(name: str, title: str, counts: Sequence[int], labels: Sequence[str]) -> Plot:
    most = max(counts, default=0)
    bars = [
        Bar(
            x=n + GAP / 2,
            width=1 - GAP,
            height=max(count / most * HEIGHT, LEAST_HEIGHT) if count else 0,
            label=label,
            count=count,
        )
        for n, (count, label) in enumerate(zip(counts, labels, strict=True))
    ]
    return Plot(name, title, bars, sum(counts), most)
