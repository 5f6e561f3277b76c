"""The page of the log, from ``reach.telemetry.events``."""

from collections.abc import Iterable

from docs.reference.markdown import codes, page, table
from reach.telemetry.events import EVENTS, action_of
from reach.telemetry.log_fields import ALWAYS, FIELDS, Field

WORDS = """
Every line that Reach itself writes, and every field that a line may have, by its name in the
Elastic Common Schema. See [Logs](../guides/logs.md) for what to do with them. Lines of
libraries have `event.dataset: reach.library` and no `event.action`.
"""


def written() -> str:
    """Write the page."""
    events = [
        (
            f"`{action_of(message)}`",
            message,
            event.level,
            f"`{event.logger}`",
            event.words,
            codes(FIELDS[keyword].name for keyword in event.fields),
        )
        for message, event in EVENTS.items()
    ]
    return page(
        "Lines of the log",
        WORDS,
        "## Fields of every line",
        _fields(ALWAYS),
        "## Fields of some",
        _fields(FIELDS.values()),
        "## Events",
        table(("`event.action`", "message", "level", "logger", "what it means", "fields"), events),
    )


def _fields(fields: Iterable[Field]) -> str:
    rows = [(f"`{field.name}`", field.type, field.words) for field in fields]
    return table(("field", "type", "what it holds"), rows)
