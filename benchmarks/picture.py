"""The picture of a run: each figure that has a goal, as a share of it. Plain SVG."""

from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.figures import BEFORE, Figure, written

WIDTH, NAMES, ROW, TOP = 940, 470, 22, 64
#: A share this large fills the picture; a larger one is cut off, and its number says so.
MOST = 2.0
#: So wide is a number with what is round it.
NUMBER = 40
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
    has_before = any(BEFORE in figure.beside for figure in judged)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    words = f"{reached} of {len(judged)} goals reached"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{words}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="16" y="26">{words}</text>',
        f'<text x="{goal:.0f}" y="48" text-anchor="middle">goal</text>',
        *([f'<text x="16" y="48">thin and grey: {BEFORE}</text>'] if has_before else []),
        *(line for n, figure in enumerate(judged) for line in _bar(figure, TOP + ROW * n)),
        f'<line class="goal" x1="{goal:.0f}" y1="54" x2="{goal:.0f}" y2="{height - 12}"/>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _bar(figure: Figure, y: int) -> Iterator[str]:
    """One figure: its name and value, what it reaches, and what was reached before."""
    share, before = figure.share or 0.0, share_before(figure)
    label = escape(f"{figure.name}: {written(figure.value, figure.unit)}")
    yield f'<text x="{NAMES - 10}" y="{y + 13}" text-anchor="end">{label}</text>'
    kind = "reached" if figure.is_met else "missed"
    yield _rectangle(kind, share, y + 2, 11)
    if before is not None:
        yield _rectangle("before", before, y + 14, 4)
    end = max(_x(share), _x(before or 0.0))
    # The number keeps clear of the goal's line.
    if _x(1) - NUMBER < end < _x(1):
        end = _x(1)
    yield f'<text x="{end + 6:.1f}" y="{y + 13}">{share:.2f}</text>'


def _rectangle(kind: str, share: float, y: int, height: int) -> str:
    width = _x(share) - NAMES
    return f'<rect class="{kind}" x="{NAMES}" y="{y}" width="{width:.1f}" height="{height}"/>'


def share_before(figure: Figure) -> float | None:
    """How far the version before reached the same goal."""
    ratio = figure.to(BEFORE)
    if not ratio or figure.share is None or figure.goal is None:
        return None
    return figure.share / ratio if figure.goal.is_least else figure.share * ratio


def _x(share: float) -> float:
    return NAMES + min(share, MOST) / MOST * (WIDTH - NAMES - 80)
