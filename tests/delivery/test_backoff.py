"""When to try again: doubling to a cap, with jitter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reach.delivery.attempt import next_delay_seconds

SAMPLES = 2000


def delays(failures: int, first: float = 30, cap: float = 14_400) -> list[float]:
    """Choose a delay many times."""
    return [
        next_delay_seconds(failures, first_seconds=first, cap_seconds=cap) for _ in range(SAMPLES)
    ]


@pytest.mark.parametrize(
    ("failures", "middle"),
    [(1, 30), (2, 60), (3, 120), (9, 7680), (10, 14_400), (11, 14_400), (10**6, 14_400)],
)
def test_delays_double_up_to_the_cap(failures: int, middle: float) -> None:
    """Each is twice the one before it, at most the cap; 20 % more or less, and all of that."""
    found = delays(failures)
    assert middle * 0.8 <= min(found) < middle * 0.82
    assert middle * 1.18 < max(found) <= middle * 1.2
    assert sum(found) / SAMPLES == pytest.approx(middle, rel=0.03)


def test_delays_are_minutes_and_hours_if_nothing_is_said() -> None:
    """From half a minute to four hours."""
    assert 24 <= next_delay_seconds(1) <= 36
    assert 0.8 * 14_400 <= next_delay_seconds(50) <= 1.2 * 14_400


@given(
    failures=st.integers(1, 10**400),
    first=st.floats(0.001, 1e6),
    longer=st.floats(1, 1e6),
)
def test_no_number_of_failures_is_too_many(failures: int, first: float, longer: float) -> None:
    """However often it failed: a delay between the first and the cap, never an overflow."""
    cap = first * longer
    delay = next_delay_seconds(failures, first_seconds=first, cap_seconds=cap)
    assert 0.79 * first <= delay <= 1.21 * cap


@pytest.mark.parametrize("failures", [0, -1, -(10**9)])
def test_what_has_not_failed_is_not_delayed(failures: int) -> None:
    """It is the caller's mistake, and said so."""
    with pytest.raises(ValueError, match="failed"):
        next_delay_seconds(failures)
