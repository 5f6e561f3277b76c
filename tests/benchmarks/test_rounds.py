"""A round is refused if what was answered is not stored, or if more is than was asked."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from benchmarks.client import Refused, Work
from benchmarks.rounds import QUICK, compare, ratio, take_turn
from benchmarks.servers import Server
from tests.support.http.answering import Start


def server(answering: Start, *, keeps: Callable[[int], int], name: str = "one") -> Server:
    """A server that says 202 to everybody, and has ``keeps(asked)`` rows."""
    base, asked = answering(lambda _: 202)
    works = {"sign-up": Work("POST", base, "/", 202)}
    return Server(
        name, base, works, lambda: float(len(asked)), lambda: {"people": keeps(len(asked))}
    )


def test_a_server_that_stores_what_it_answers_passes(answering: Start) -> None:
    """Its answers are counted over all its turns, and its processor time is of its own turn."""
    one, other = (server(answering, keeps=lambda n: n, name=name) for name in ("one", "other"))
    size = replace(QUICK, rounds=2)
    found = compare((one, other), "sign-up", size, connections=2)
    assert [len(turns.per_second) for turns in found.values()] == [2, 2]
    # A second of it for each that was asked, so one for each answer: but for the last ones.
    assert found["one"].microseconds == pytest.approx([1e6, 1e6], rel=0.1)
    assert one.answered > found["one"].per_second[0]


@pytest.mark.parametrize("keeps", [lambda _: 0, lambda n: n - n // 100 - 5, lambda n: n + 5])
def test_a_server_that_stores_less_or_more_fails(
    answering: Start, keeps: Callable[[int], int]
) -> None:
    """A 202 that is nowhere, for all or for one in a hundred; and rows that nobody asked for."""
    with pytest.raises(Refused, match="people has"):
        take_turn(server(answering, keeps=keeps), "sign-up", seconds=1, connections=2)


def test_one_row_for_each_that_was_not_waited_for_may_be_there() -> None:
    """A client that stops does not wait for what is under way: no more than its connections."""
    rows = {"people": 110, "messages": 100}
    one = Server("one", "", {}, lambda: 0.0, lambda: rows, answered=100, unanswered=10)
    one.check()
    for table, wrong in (("messages", 99), ("people", 111)):
        with pytest.raises(Refused, match=f"{table} has {wrong} rows"):
            replace(one, stored=partial(dict, rows, **{table: wrong})).check()


def test_a_ratio_is_of_the_same_rounds() -> None:
    """So a machine that was slow for one round was slow for both."""
    assert ratio([10, 20, 30], [10, 10, 10]) == 2
    assert ratio([10, 1, 10], [5, 0.5, 2]) == 2
