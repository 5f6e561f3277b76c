"""Moving windows in memory: never more than the quota in any of them, and bounded."""

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reach.limits.limiter import Windows
from reach.settings.types import Policy


def windows(text: str, **bounds: int) -> Windows:
    """Start empty windows."""
    return Windows(Policy.parse("test", text), **bounds)


def names(full: object) -> list[tuple[str, float]]:
    """Shorten what is full, for a comparison."""
    return [(one.window.name, one.seconds) for one in full]  # type: ignore[attr-defined]


def test_a_place_is_free_when_the_oldest_leaves() -> None:
    """Not at the minute's turn: the window moves."""
    two = windows("2/minute")
    assert [names(two.take("a", at)) for at in (0, 50, 59)] == [[], [], [("minute", 1)]]
    assert names(two.take("a", 60)) == []
    assert names(two.take("a", 61)) == [("minute", 49)]


def test_keys_do_not_meet() -> None:
    """One's quota is nothing to another."""
    one = windows("1/minute")
    assert not one.take("a", 0)
    assert not one.take("b", 0)
    assert one.full("a", 0)
    assert not one.full("c", 0)


def test_all_that_is_full_is_named() -> None:
    """And for how long each is."""
    both = windows("1/minute;2/hour")
    assert not both.take("a", 0)
    assert not both.take("a", 100)
    assert names(both.full("a", 101)) == [("minute", 59), ("hour", 3499)]
    assert names(both.full("a", 160)) == [("hour", 3440)]


def test_who_is_refused_has_taken_nothing() -> None:
    """Asking again and again does not make it later."""
    one = windows("1/minute")
    one.take("a", 0)
    for at in range(1, 60):
        assert names(one.take("a", at)) == [("minute", 60 - at)]
    assert not one.take("a", 60)


def test_what_another_found_full_is_full_here() -> None:
    """Until the time it said, and for that key."""
    there, here = windows("1/minute"), windows("1/minute")
    there.take("a", 10)
    here.close("a", there.full("a", 30), 30)
    assert names(here.full("a", 31)) == [("minute", 39)]
    assert not here.full("b", 31)
    assert not here.full("a", 70)


def test_who_was_given_a_place_there_gets_it_here() -> None:
    """Another's refusal may be heard sooner than that; what is full here is full all the same."""
    there, here = windows("1/minute"), windows("1/minute")
    there.take("a", 10)
    here.close("a", there.full("a", 11), 11)
    assert not here.take("a", 10)
    assert names(here.take("a", 12)) == [("minute", 58)]


@given(
    st.lists(st.integers(0, 200), max_size=300).map(sorted),
    st.sampled_from(["3/minute", "1/second;5/minute", "2/5second;3/minute;10/hour", "40/minute"]),
)
def test_no_window_ever_holds_more(times: list[int], text: str) -> None:
    """And who is refused would have been one too many in a window that is named."""
    here = windows(text)
    admitted: list[int] = []
    for now in times:
        inside = {
            w: len(admitted) - bisect_left(admitted, now - w.seconds + 1)
            for w in here.policy.windows
        }
        full = here.take("a", now)
        assert [f.window for f in full] == [w for w, n in inside.items() if n >= w.quota]
        if not full:
            admitted.append(now)


def test_keys_are_bounded() -> None:
    """Who has not come for longest is forgotten first; a refusal counts as coming."""
    few = windows("1/hour", most_keys=3)
    for key in "abc":
        few.take(key, 0)
    few.full("a", 1)
    few.take("d", 2)
    assert len(few) == 3
    assert few.full("a", 3)
    assert not few.full("b", 3)


def test_stamps_are_bounded() -> None:
    """Many who take much cost no more memory than that; the one at hand is kept."""
    few = windows("10/hour", most_stamps=25)
    for key in "abcdef":
        for at in range(10):
            assert not few.take(key, at)
        assert few.full(key, 10)
        assert len(few) <= 3


def test_a_lone_key_is_kept_however_large() -> None:
    """It is the others that make room."""
    few = windows("10/hour", most_keys=0, most_stamps=5)
    for at in range(10):
        assert not few.take("a", at)
    assert few.full("a", 10)


def test_those_whose_time_is_over_are_forgotten() -> None:
    """By those who come later: no timer, no thread."""
    here = windows("1/minute")
    for number in range(100):
        here.take(str(number), 0)
    for number in range(100, 160):
        here.take(str(number), 61)
    assert len(here) == 60


@pytest.mark.parametrize("order", [(0, 5, 3), (5, 0, 3), (5, 3, 0)])
def test_what_was_begun_earlier_may_arrive_later(order: tuple[int, ...]) -> None:
    """Answers of Redis overtake each other; the oldest is still the one that leaves first."""
    here = windows("3/minute")
    for at in order:
        assert not here.take("a", at)
    assert names(here.full("a", 10)) == [("minute", 50)]
