"""The picture of a run: each figure that has a goal, as a share of it. Plain SVG."""

from collections.abc import Sequence
from html import escape

from benchmarks.figures import BEFORE, Figure, written

WIDTH, NAMES, ROW, TOP = 940, 470, 22, 64
#: A share this large fills the picture; a larger one is cut off, and its number says so.
MOST = 2.0
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; }
  .reached { fill: #1a7f37; } .missed { fill: #bf5b04; } .before { fill: #8c959f; }
  .goal { stroke: #1f2328; stroke-width: 1.5; stroke-dasharray: 4 3; }
  .back { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .back { fill: #0d1117; } .goal { stroke: #e6edf3; }
    .reached { fill: #3fb950; } .missed { fill: #f0883e; } .before { fill: #6e7681; }
  }
"""


def draw(figures: Sequence[Figure]) -> str:
    """Draw them: a bar each, grey below it what the version before reached."""
    judged = [figure for figure in figures if figure.share is not None]
    height = TOP + ROW * len(judged) + 16
    goal = _x(1)
    reached = sum(figure.is_met is True for figure in judged)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" role="img">',
        f"<title>{reached} of {len(judged)} goals reached</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="16" y="26">{reached} of {len(judged)} goals reached</text>',
        f'<text x="{goal:.0f}" y="48" text-anchor="middle">goal</text>',
        f'<text x="16" y="48">grey: {BEFORE}</text>'
        if any(BEFORE in figure.beside for figure in judged)
        else "",
        *(_bar(figure, TOP + ROW * number) for number, figure in enumerate(judged)),
        f'<line class="goal" x1="{goal:.0f}" y1="54" x2="{goal:.0f}" y2="{height - 12}"/>',
        "</svg>",
    ]
    return "\n".join(filter(None, lines)) + "\n"


def _bar(figure: Figure, y: int) -> str:
    """One figure: its name and value, what it reaches, and what was reached before."""
    share = figure.share or 0.0
    before = share_before(figure)
    kind = "reached" if share >= 1 else "missed"
    label = f"{figure.name}: {written(figure.value, figure.unit)}"
    number = f"{share:.2f}" if share < 100 else "far more"
    end = max(_x(share), _x(before or 0), _x(1) + 4 if 0.85 < share < 1 else 0)
    old = f'<rect class="before" x="{NAMES}" y="{y + 15}" width="{_x(before) - NAMES:.1f}" height="3"/>'
    return "\n".join(
        (
            f'<text x="{NAMES - 10}" y="{y + 13}" text-anchor="end">{escape(label)}</text>',
            f'<rect class="{kind}" x="{NAMES}" y="{y + 2}" width="{_x(share) - NAMES:.1f}"'
            ' height="12"/>',
            *([old] if before is not None else []),
            f'<text x="{end + 6:.1f}" y="{y + 13}">{number}</text>',
        )
    )


def share_before(figure: Figure) -> float | None:
    """How far the version before reached the same goal."""
    ratio = figure.to(BEFORE)
    if not ratio or figure.share is None or figure.goal is None:
        return None
    return figure.share / ratio if figure.goal.is_least else figure.share * ratio


def _x(share: float | None) -> float:
    return NAMES + min(share or 0.0, MOST) / MOST * (WIDTH - NAMES - 80)
