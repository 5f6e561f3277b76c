"""The reader of Kibana's query language that the tests of deploy/elastic trust."""

import pytest

from tests.support.telemetry.kql import Query

LINE = {"log.level": "info", "event": {"action": "sent", "type": ["a", "b"]}, "n": {"c": 500}}


@pytest.mark.parametrize(
    ("text", "finds"),
    [
        ("", True),
        ("event.action : sent", True),
        ('event.action : "sent"', True),
        ("event.action : se", False),
        ("event.action : (gone or sent)", True),
        ("event.type : b", True),
        ("event.type : *", True),
        ("nowhere : *", False),
        ("n.c >= 500 and n.c < 501", True),
        ("n.c > 500", False),
        ("n.c <= 499", False),
        ("nowhere >= 0", False),
        ("n.c : 500", True),
        ("event.action : sent or log.level : x and n.c : 1", True),
        ("(event.action : sent or log.level : x) and n.c : 1", False),
        ("log.level : info AND event.action : sent", True),
    ],
)
def test_it_finds_what_kibana_would(text: str, *, finds: bool) -> None:
    """Values, lists, ranges; ``and`` binds closer than ``or``."""
    assert Query(text).finds(LINE) is finds


def test_it_names_what_it_asks_for() -> None:
    """Every field of a query, with each value."""
    assert Query("a : (x or y) and (b >= 5 or c : *)").fields == [
        ("a", "x"),
        ("a", "y"),
        ("b", "5"),
        ("c", "*"),
    ]


@pytest.mark.parametrize("text", ["a", "a :", "a : (b", "a : b c : d", "a >= b", ": a", 'a : "b'])
def test_what_it_does_not_understand_it_refuses(text: str) -> None:
    """A query is never taken for another one."""
    with pytest.raises(ValueError, match=r"expected|understood|too much|literal"):
        Query(text)
