"""Questions in Kibana's query language, made of names that the code has: none is typed twice."""

from reach.telemetry.events import EVENTS, action_of
from reach.telemetry.fields import ALWAYS, FIELDS


def always(name: str) -> str:
    """Name a field that every line may have. Raises ValueError if there is none of that name."""
    if name not in {field.name for field in ALWAYS}:
        raise ValueError(f"no line always has {name}")
    return name


def field(keyword: str) -> str:
    """Name the field that a log call's keyword becomes. Raises KeyError."""
    return FIELDS[keyword].name


def is_any(name: str, *values: str) -> str:
    """Ask for lines whose field has one of these values."""
    words = " or ".join(f'"{value}"' for value in values)
    return f"{name} : ({words})" if len(values) > 1 else f"{name} : {words}"


def happened(*messages: str) -> str:
    """Ask for our own events, by their messages. Raises ValueError if there is no such event."""
    if unknown := [message for message in messages if message not in EVENTS]:
        raise ValueError(f"no such events: {unknown}")
    return is_any(always("event.action"), *(action_of(message) for message in messages))


def status(least: int, below: int) -> str:
    """Ask for requests that were answered with a status in this range."""
    return f"{field('status')} >= {least} and {field('status')} < {below}"
