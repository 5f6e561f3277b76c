"""Reads Reach's own source: which lines it writes to its log, and how."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import reach
from reach.telemetry.events import EVENTS

SOURCE = Path(reach.__file__).parent
LEVELS = ("debug", "info", "warning", "error", "critical")
#: What a call's ``**frames(error)`` and its like stand for.
SPREAD = {
    "frames": ("error_type", "frames", "cause_type", "sqlstate"),
    "uncomposed": ("reach_message_id", "reason", "template_file", "template_line", "error_type"),
    "attempted": (
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
    name = ast.unparse(value.func) if isinstance(value, ast.Call) else None
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
