"""What Reach's source writes to its log is what ``telemetry.events`` lists, and all of it."""

import ast
import re
from collections import defaultdict

from reach.telemetry.events import ALWAYS, EVENTS, FIELDS, action_of
from tests.support.telemetry.calls import LEVELS, SOURCE, calls, fields_of


def test_every_call_is_of_a_listed_event() -> None:
    """Its message is a literal, and logger, level and keywords are those of the list."""
    for call in calls():
        assert call.message in EVENTS, f"{call.where}: {call.message!r} is no event"
        event = EVENTS[call.message]
        assert (call.logger, call.level) == (event.logger, event.level), call.where
        assert call.keywords <= fields_of(call.message), call.where


def test_every_listed_event_is_written() -> None:
    """With all of its keywords, be it by several calls."""
    written: defaultdict[str | None, set[str]] = defaultdict(set)
    for call in calls():
        written[call.message] |= call.keywords
    for message in EVENTS:
        assert message in written, f"nobody writes {message!r}"
        assert written[message] == fields_of(message), message


def test_every_keyword_has_a_field_and_every_field_a_use() -> None:
    """One name in ECS for each keyword, and none that is never used."""
    used = {keyword for event in EVENTS.values() for keyword in event.fields}
    assert used == set(FIELDS)
    names = [field.name for field in (*FIELDS.values(), *ALWAYS)]
    assert len(names) == len(set(names))


def test_an_events_action_is_its_own() -> None:
    """It can be searched for: short, in lower case, and no two share one."""
    actions = [action_of(message) for message in EVENTS]
    assert len(set(actions)) == len(actions)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", action) for action in actions)


def test_the_standard_librarys_logging_is_for_libraries() -> None:
    """A line of ours that went through it would have no fields."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                assert not re.fullmatch(rf"logging\.(\w+\(.*\)\.)?({'|'.join(LEVELS)})", called)
