"""Waiting, as the other tests do it."""

import pytest

from tests.support.clock import eventually, wait_until


async def test_it_waits_for_functions_and_coroutines() -> None:
    """Both kinds of condition are asked again until they give something true, which is returned."""
    answers = iter([0, "", "yes"])

    async def later() -> object:
        return next(answers)

    assert await eventually(later) == "yes"
    numbers = iter([0, 0, 3])
    assert await eventually(lambda: next(numbers)) == 3
    numbers = iter([0, 4])
    assert wait_until(lambda: next(numbers)) == 4


async def test_the_deadline_names_what_was_waited_for() -> None:
    """A time-out shows the condition's own source and its last value."""
    mails: list[str] = []
    with pytest.raises(AssertionError, match=r"still \[\] after 0\.02 s: .*lambda: mails"):
        await eventually(lambda: mails, seconds=0.02)
    with pytest.raises(AssertionError, match=r"still False after 0\.02 s"):
        wait_until(lambda: False, seconds=0.02)
