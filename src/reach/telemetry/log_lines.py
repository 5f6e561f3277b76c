"""A line of the log: one JSON object in the Elastic Common Schema, or a short text for a terminal.

The JSON has the shape that ecs-logging's ``StructlogFormatter`` gives it.
"""

import json
import os
import select
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import orjson
from opentelemetry.trace import SpanContext

from reach.telemetry.events import EVENTS, action_of
from reach.telemetry.log_fields import FIELDS

#: One that has every field of ours: http.request.id came with 1.9.
ECS_VERSION = "8.11.0"
FIRST_SERVER_ERROR = 500
#: So much is written whole or not at all, into a pipe too: on Linux; elsewhere it may be 512, which
#: would be too little.
MOST_BYTES = max(select.PIPE_BUF, 4096)
OUTCOMES = {
    "sent": "success",
    "not sent": "failure",
    "message failed": "failure",
    "attempt crashed": "failure",
}
PLAIN = (str, int, float)
#: What a line has besides the keywords of its call, none of which is written like these.
TIME, LOGGER, OUTCOME = "@timestamp", "log.logger", "event.outcome"
TRACE, SPAN, MESSAGE = "trace.id", "span.id", "@message"
#: The names of the objects that a value is in, and then its own.
PATHS = {
    **{name: name.split(".") for name in (TIME, LOGGER, OUTCOME, TRACE, SPAN)},
    **{keyword: field.name.split(".") for keyword, field in FIELDS.items()},
    MESSAGE: ["message"],
}
LEVEL_COLOURS = {"debug": 2, "info": 32, "warning": 33, "error": 31, "critical": 31}
DIM = 2
#: What a terminal does not show; it is in the JSON lines.
HIDDEN = {"message_id", "enhanced_code", "nanoseconds", "cause_type", "request_id"}

#: An object of a line, and a name in it.
Place = tuple[dict[str, Any], str]


class Told(NamedTuple):
    """What a log call told: ``fields`` by the keywords of ``events.FIELDS``, None for none.

    ``at_seconds`` is since 1970; ``context`` is where in a trace it was told.
    """

    logger: str
    level: str
    message: str
    fields: Mapping[str, object]
    at_seconds: float
    context: SpanContext | None = None


class JsonLines:
    """Writes lines as JSON, in one thread.

    The object of all lines that differ in nothing but their values is made once, and filled in
    for each of them.
    """

    def __init__(self) -> None:
        self._objects: dict[tuple[object, ...], tuple[dict[str, Any], list[Place]]] = {}

    def __call__(self, told: Told) -> bytes:
        """Write a line, short enough to be written whole."""
        logger, level, message, fields, at_seconds, context = told
        event = EVENTS.get(message)
        own_message = message if event is not None and event.logger == logger else None
        values = {name: value for name, value in fields.items() if value is not None}
        values[TIME] = _time(at_seconds)
        if context is not None:
            values[TRACE], values[SPAN] = f"{context.trace_id:032x}", f"{context.span_id:016x}"
        if isinstance(status := fields.get("status"), int):
            values[OUTCOME] = "failure" if status >= FIRST_SERVER_ERROR else "success"
        if own_message is None:
            values[LOGGER], values[MESSAGE] = logger, message
        kind = (own_message, level, *values)
        if kind not in self._objects:
            made = _common(own_message, level)
            self._objects[kind] = made, _places(made, values)
        line, places = self._objects[kind]
        for (place, own), value in zip(places, values.values(), strict=True):
            place[own] = value if isinstance(value, PLAIN) else _text(value)
        try:
            text = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # half a character, or a number of more than 64 bits
            text = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        return text if len(text) <= MOST_BYTES else self(_shorter(told))


def _places(line: dict[str, Any], keywords: Iterable[str]) -> list[Place]:
    """Say where in a line the value of each keyword belongs; make the objects around it."""
    places = []
    for keyword in keywords:
        *outer, own = PATHS.get(keyword) or [f"reach.{keyword}"]
        place = line
        for name in outer:
            place = place.setdefault(name, {})
        places.append((place, own))
    return places


def _common(message: str | None, level: str) -> dict[str, Any]:
    """List what all lines of an event of ours have; of libraries' lines, if there is none."""
    line: dict[str, Any] = {
        TIME: None,
        "log.level": level,  # with its dot, as ecs-logging has it
        "message": message,
        "ecs.version": ECS_VERSION,
        "event": {"kind": "event", "dataset": "reach.library"},
        "service": {"name": "reach", "version": own_version()},
        "process": {"pid": os.getpid()},
    }
    if message is not None:
        logger = EVENTS[message].logger
        kind = {"started": "start", "stopped": "end"}.get(message.rpartition(" ")[2], "info")
        line["log"] = {"logger": logger}
        event = line["event"]
        event["action"] = action_of(message)
        event["dataset"] = logger if "." in logger else f"{logger}.process"
        event["type"] = ["error"] if level in ("error", "critical") else [kind]
        if message in OUTCOMES:
            event["outcome"] = OUTCOMES[message]
        if message == "request":
            event |= {"category": ["web"], "type": ["access"]}
    return line


def _time(seconds: float) -> str:
    """Write a time in UTC, to the millisecond."""
    whole = int(seconds)
    return f"{_second(whole)}.{int((seconds - whole) * 1000):03}Z"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@cache
def own_version() -> str:
    """Reach's version, as it was installed."""
    try:
        return version("reach")
    except PackageNotFoundError:  # run from its source
        return "unknown"


def _text(value: object) -> str:
    return "\n".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _shorter(told: Told) -> Told:
    """Leave out what matters least of what is longest: the outermost frame, or half of a text."""
    longest = max(told.fields, key=lambda name: len(_text(told.fields[name])), default=None)
    if longest is None or len(_text(told.fields[longest])) < len(told.message):
        return told._replace(message=f"{told.message[: len(told.message) // 2]}…")
    value = told.fields[longest]
    if isinstance(value, (list, tuple)) and len(value) > 1:
        value = value[1:]
    elif isinstance(value, (list, tuple)):  # of the last frame, the path's beginning
        value = [f"…{_text(value)[len(_text(value)) // 2 + 1 :]}"]
    else:
        value = f"{_text(value)[: len(_text(value)) // 2 - 1]}…"
    return told._replace(fields={**told.fields, longest: value})


def terminal_line(told: Told, *, has_colours: bool) -> bytes:
    """Write a line for people: time, level, message, and the fields that matter."""
    fields = {name: value for name, value in told.fields.items() if value is not None}
    if told.message == "request":
        words = [str(fields.get(name, "-")) for name in ("method", "route", "status")]
        if isinstance(took := fields.get("nanoseconds"), int):
            words.append(f"{took / 1e6:.1f} ms")
        words += [str(fields["reason"])] if "reason" in fields else []
    else:
        # Of where something happened, the innermost frame, the last line, says most.
        shown = {name: _text(value).rpartition("\n")[2] for name, value in fields.items()}
        names = {name: ".".join(PATHS.get(name) or [name]) for name in shown if name not in HIDDEN}
        words = [f"{names[name]}={shown[name]}" for name in names]
        words += [] if told.logger.startswith("reach") else [f"({told.logger})"]
    at = datetime.fromtimestamp(told.at_seconds, UTC).astimezone().strftime("%H:%M:%S")
    colours = (DIM, LEVEL_COLOURS.get(told.level, DIM), None, DIM)
    parts = [at, f"{told.level:8}", _printable(told.message), _printable(" ".join(words))]
    if has_colours:
        coloured = zip(colours, parts, strict=True)
        parts = [f"\x1b[{n}m{part}\x1b[0m" if n and part else part for n, part in coloured]
    return (" ".join(parts).rstrip() + "\n").encode(errors="replace")


def _printable(text: str) -> str:
    """Leave out what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)
