"""A figure is held against its goal the right way round, and written where it is looked for."""

import json
from xml.etree import ElementTree as ET

import pytest

from benchmarks.figures import BEFORE, Figure, Goal, written
from benchmarks.page import BEGIN, DATA, END, PAGE, PICTURE, Report, put_into
from benchmarks.picture import draw, share_before
from benchmarks.quotes import QUOTES, found

LEAST, MOST = Goal(1.25, is_least=True, beside="peer"), Goal(250, is_least=False)


@pytest.mark.parametrize(
    ("figure", "is_met"),
    [
        (Figure("a", "/s", [125, 130, 120], {"peer": [100, 100, 100]}, LEAST), True),
        (Figure("a", "/s", [124, 124, 124], {"peer": [100, 100, 100]}, LEAST), False),
        (Figure("a", "/s", [125], {}, LEAST), None),
        (Figure("a", "µs", [249.0], {}, MOST), True),
        (Figure("a", "µs", [251.0], {}, MOST), False),
        (Figure("a", "", [0.0], {}, Goal(0, is_least=False)), True),
        (Figure("a", "", [1.0], {}, Goal(0, is_least=False)), False),
        (Figure("a", "/s", [1.0]), None),
    ],
)
def test_a_goal_is_a_bound_from_below_or_from_above(figure: Figure, is_met: bool | None) -> None:
    """And without a peer or a goal nothing is judged."""
    assert figure.is_met is is_met


def test_what_was_before_is_held_against_the_same_goal() -> None:
    """Half the speed reaches half as much; twice the time does too."""
    figure = Figure("a", "/s", [100], {"peer": [80], BEFORE: [50]}, LEAST)
    assert (figure.share, share_before(figure)) == (1.0, 0.5)
    figure = Figure("a", "µs", [250], {BEFORE: [500]}, MOST)
    assert (figure.share, share_before(figure)) == (1.0, 0.5)


def test_a_row_has_what_was_before_in_its_own_column() -> None:
    """The others stand beside it, with what the figure is to them."""
    figures = [Figure("sign-ups/s", "/s", [2698], {"peer": [2000], BEFORE: [1349]}, LEAST)]
    table = Report({"client": "wrk"}, figures).as_markdown()
    times = "\N{MULTIPLICATION SIGN}"
    row = f"| sign-ups/s | 2,698 | 1,349 | 1.35 {times} peer, 2,000 | ≥ 1.25 {times} peer | yes |"
    assert row in table.splitlines()


def test_the_page_keeps_its_prose() -> None:
    """Only what the command has written is written again."""
    part = f"{BEGIN}\nnew \\1\n{END}"
    assert put_into(f"# A\n\n{BEGIN}\nold\n{END}\n\nB\n", part) == f"# A\n\n{part}\n\nB\n"
    with pytest.raises(ValueError, match="no place"):
        put_into("# A\n", part)


def test_what_was_written_is_of_one_run() -> None:
    """The page's table has the figures of the JSON, and the picture those that have a goal."""
    data = json.loads(DATA.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    rows = [line.split(" | ")[0].removeprefix("| ") for line in page.splitlines()]
    names = [figure["name"] for figure in data["figures"]]
    assert names
    assert [name for name in names if name not in rows] == []
    picture = PICTURE.read_text(encoding="utf-8")
    ET.fromstring(picture)  # noqa: S314 - it is ours
    judged = [one["name"] for one in data["figures"] if one["is_met"] is not None]
    assert [name for name in judged if f">{name}: " not in picture] == []


def test_what_other_pages_quote_is_what_was_measured() -> None:
    """Each in its place: README and the page about sizes have no figures of their own."""
    figures = json.loads(DATA.read_text(encoding="utf-8"))["figures"]
    values = {one["name"]: written(one["value"], one["unit"]) for one in figures}
    assert [(found(page, place), name) for page, place, name in QUOTES] == [
        (values[name], name) for _, _, name in QUOTES
    ]


def test_a_picture_is_whole_whatever_is_in_it() -> None:
    """Names with signs of XML, a share of nothing, one beyond the edge."""
    figures = [
        Figure("a < b & c", "/s", [1.0], {"peer": [100.0]}, LEAST),
        Figure("d", "/s", [1000.0], {"peer": [1.0], BEFORE: [900.0]}, LEAST),
        Figure("e", "", [0.0], {}, Goal(0, is_least=False)),
    ]
    root = ET.fromstring(draw(figures))  # noqa: S314 - it is ours
    words = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert words[0] == "2 of 3 goals reached"
    assert "a < b & c: 1" in words
    sides = [float(one.get("width", "0")) for one in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert max(sides[1:]) < sides[0]
