"""A line of the log as somebody at a terminal reads it: short, and coloured."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime

from reach.telemetry.lines import Told

MOST_FIELDS = 3
LEVEL_COLOURS = {"debug": 2, "info": 32, "warning": 33, "error": 31, "critical": 31}
DIM = 2
#: Those that matter most, first. What has no place here is in the JSON lines.
SHOWN = (
    "reason",
    "outcome",
    "smtp_code",
    "error_type",
    "frames",
    "rule",
    "count",
    "port",
    "path",
    "remedy",
    "sqlstate",
    "local_decisions",
    "template_file",
    "template_line",
    "reach_message_id",
    "message_id",
    "worker",
)
#: What is called here by another name than in the log calls, so that one name is one thing.
NAMES = {"reach_message_id": "message.id", "message_id": "email.message_id"}


class Short:
    """Renders lines for a terminal, without colours where ``NO_COLOR`` is set."""

    def __init__(self) -> None:
        self._has_colours = not os.environ.get("NO_COLOR")

    def render(self, told: Told) -> bytes:
        """Render a line: time, level, message, and the fields that matter."""
        logger, level, message, fields, at_seconds, _ = told
        now = datetime.fromtimestamp(at_seconds, UTC).astimezone().strftime("%H:%M:%S")
        if message == "request":
            rest = _request(fields)
        else:
            rest = [
                f"{NAMES.get(name, name)}={_one_line(value)}"
                for name, value in _most_important(fields)
            ]
            if not logger.startswith("reach"):
                rest.append(f"({logger})")
        parts = (
            self._coloured(DIM, now),
            self._coloured(LEVEL_COLOURS.get(level, DIM), f"{level:8}"),
            _printable(message),
            self._coloured(DIM, _printable(" ".join(rest))),
        )
        return (" ".join(parts).rstrip() + "\n").encode(errors="replace")

    def _coloured(self, colour: int, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._has_colours and text else text


def _request(fields: Mapping[str, object]) -> list[str]:
    took, reason = fields.get("nanoseconds"), fields.get("reason")
    words = [str(fields.get(name) or "-") for name in ("method", "route", "status")]
    if isinstance(took, int):
        words.append(f"{took / 1e6:.1f} ms")
    return words + ([str(reason)] if reason else [])


def _most_important(fields: Mapping[str, object]) -> list[tuple[str, object]]:
    found = [(name, fields[name]) for name in SHOWN if fields.get(name) is not None]
    return found[:MOST_FIELDS]


def _one_line(value: object) -> str:
    # Of where something happened, the innermost frame says most.
    return str(value[-1]) if isinstance(value, (list, tuple)) and value else str(value)


def _printable(text: str) -> str:
    """Leave out what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)
