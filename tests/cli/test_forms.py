"""How commands write what they found, and read times: nothing is lost, and nothing acts."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
import typer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reach.cli.forms import PAGE, UNSAFE, Pages, as_json, visible
from reach.cli.options import read_moment

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS)
@example("\x1b]0;title\x07\u202e\u2069\x9b\U000f0000\ufffe \t\r\n")
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_seen_and_can_be_read_again(text: str) -> None:
    """JSON holds just what there was; neither it nor a line holds what acts on a terminal."""
    for indent in (None, 2):
        written = as_json({"name": text}, indent=indent)
        assert json.loads(written) == {"name": text}
        assert not UNSAFE.search(written.replace("\n", ""))
    assert not UNSAFE.search(visible(text))
    if not UNSAFE.search(text):
        assert visible(text) == text


@pytest.mark.parametrize("most", [1, PAGE, PAGE + 1, 3 * PAGE, None])
def test_a_list_is_read_in_parts_up_to_what_is_asked_for(most: int | None) -> None:
    """Each thing once, in order; it knows whether there would be more."""
    everything = list(range(2 * PAGE + 7))
    asked: list[int] = []

    def fetch(limit: int, after: int | None) -> tuple[Sequence[int], int | None]:
        asked.append(limit)
        begin = 0 if after is None else after + 1
        # As a search may, where few of many fit: fewer than were asked for, and more to come.
        found = everything[begin : begin + max(limit - 1, 1)]
        is_last = found[-1] == everything[-1]
        return found, None if is_last else found[-1]

    pages = Pages(fetch, most)
    found = [one for page in pages for one in page]
    assert found == everything[:most]
    assert pages.is_cut == (most is not None and most < len(everything))
    assert max(asked) <= PAGE


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-03-04", datetime(2026, 3, 4, tzinfo=UTC)),
        ("2026-03-04T05:06:07Z", datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)),
        ("2026-03-04T05:06:07+01:00", datetime(2026, 3, 4, 4, 6, 7, tzinfo=UTC)),
    ],
)
def test_a_time_is_read(text: str, time: datetime) -> None:
    """A day, from its beginning in UTC; or a time with its offset."""
    assert read_moment(text) == time


@pytest.mark.parametrize(("text", "hours"), [("90m", 1.5), ("36h", 36), ("7d", 168)])
def test_a_time_is_read_that_was_so_long_ago(text: str, hours: float) -> None:
    """To now, as the command is given."""
    read = read_moment(text)
    ago = datetime.now(UTC) - read
    assert timedelta() <= ago - timedelta(hours=hours) < timedelta(minutes=1)


@pytest.mark.parametrize("text", ["", "7", "7w", "-7d", "999999d", "yesterday", "2026-02-30"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """In words that say what would do."""
    with pytest.raises(typer.BadParameter, match="how long ago"):
        read_moment(text)
