"""What Reach's source writes to its log is what ``telemetry.events`` lists, and all of it."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import reach
from reach.telemetry.events import EVENTS, action_of
from reach.telemetry.log_fields import ALWAYS, FIELDS

SOURCE = Path(reach.__file__).parent
LEVELS = ("debug", "info", "warning", "error", "critical")
#: What a call's ``**frames(error)`` and its like stand for.
SPREAD = {
    "frames": ("error_type", "frames", "cause_type", "sqlstate"),
    "fields": ("request_id", "method", "route", "status", "nanoseconds", "reason"),
    "_uncomposed": ("reach_message_id", "reason", "template_file", "template_line", "error_type"),
    "tried.told": ("reach_webhook_id", "reach_event_id", "outcome", "status", "nanoseconds"),
    "ended.told": (
        "reach_message_id",
        "message_id",
        "outcome",
        "smtp_code",
        "enhanced_code",
        "nanoseconds",
    ),
}


@dataclass(frozen=True)
class Call:
    """A call that writes a line: where it is, and what it says."""

    where: str
    logger: str | None
    level: str
    message: str | None
    keywords: frozenset[str]


def calls() -> Iterator[Call]:
    """Find every call that writes a line."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        loggers = dict(_loggers(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                where = f"{path.relative_to(SOURCE)}:{node.lineno}"
                yield from _call(node, where, loggers)


def _loggers(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Find what a module's loggers are called, there and in the log."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and (name := _name_of_logger(node.value)):
            for target in node.targets:
                assert isinstance(target, ast.Name)
                yield target.id, name


def _call(node: ast.Call, where: str, loggers: dict[str, str]) -> Iterator[Call]:
    function = node.func
    if isinstance(function, ast.Name) and function.id == "Told" and len(node.args) == 5:
        *texts, fields, _ = node.args
        assert isinstance(fields, ast.Dict)
        logger, level, message = map(_text, texts)
        keys = frozenset(str(_text(key)) for key in fields.keys)
        yield Call(where, logger, str(level), message, keys)
    elif isinstance(function, ast.Attribute) and function.attr in (*LEVELS, "exception", "log"):
        name = _name_of_logger(function.value)
        if isinstance(function.value, ast.Name):
            name = loggers.get(function.value.id)
        if name is None:
            return
        message = _text(node.args[0]) if len(node.args) == 1 else None
        keywords = frozenset(word for keyword in node.keywords for word in _words(keyword, where))
        yield Call(where, name, function.attr, message, keywords)


def _words(keyword: ast.keyword, where: str) -> tuple[str, ...]:
    if keyword.arg is not None:
        return (keyword.arg,)
    value = keyword.value
    name = ast.unparse(value.func if isinstance(value, ast.Call) else value)
    assert name in SPREAD, f"{where}: what is in this **?"
    return SPREAD[name]


def _name_of_logger(node: ast.expr) -> str | None:
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("get_logger"):
        return _text(node.args[0])
    return None


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def fields_of(message: str) -> frozenset[str]:
    """Which keywords an event may have."""
    return frozenset(EVENTS[message].fields)


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
