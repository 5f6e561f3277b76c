"""Questions in Kibana's query language, made of names that the code has: none is typed twice.

Each also says which lines answer it, so that the tests can put it to lines that were written.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reach.telemetry.events import EVENTS, action_of
from reach.telemetry.log_fields import ALWAYS, FIELDS

#: Every question by its text, once it was made.
QUERIES: dict[str, "Query"] = {}


@dataclass(frozen=True, slots=True)
class Query:
    """A question: how Kibana reads it, and what it asks for.

    ``asks`` are the fields that it names, with what each is compared to. ``finds`` takes a line's
    fields by their names with dots.
    """

    text: str
    asks: tuple[tuple[str, str], ...]
    finds: Callable[[Mapping[str, Any]], bool]
    is_compound: bool = False

    def __post_init__(self) -> None:
        QUERIES[self.text] = self

    def __and__(self, other: "Query") -> "Query":
        return _joined("and", all, self, other)

    def __or__(self, other: "Query") -> "Query":
        return _joined("or", any, self, other)


def _joined(word: str, holds: Callable[[Iterable[bool]], bool], *parts: Query) -> Query:
    texts = [f"({part.text})" if part.is_compound else part.text for part in parts]
    return Query(
        f" {word} ".join(texts),
        tuple(ask for part in parts for ask in part.asks),
        lambda fields: holds(part.finds(fields) for part in parts),
        is_compound=True,
    )


EVERYTHING = Query("", (), lambda _: True)


def always(name: str) -> str:
    """Name a field that every line may have. Raises ValueError if there is none of that name."""
    if name not in {field.name for field in ALWAYS}:
        raise ValueError(f"no line always has {name}")
    return name


def field(keyword: str) -> str:
    """Name the field that a log call's keyword becomes. Raises KeyError."""
    return FIELDS[keyword].name


def is_there(name: str) -> Query:
    """Ask for lines that have a field."""
    return Query(f"{name} : *", ((name, "*"),), lambda fields: name in fields)


def is_any(name: str, *values: str) -> Query:
    """Ask for lines whose field has one of these values."""

    def finds(fields: Mapping[str, Any]) -> bool:
        found = fields.get(name, [])
        return any(str(item) in values for item in (found if isinstance(found, list) else [found]))

    words = " or ".join(f'"{value}"' for value in values)
    text = f"{name} : ({words})" if len(values) > 1 else f"{name} : {words}"
    return Query(text, tuple((name, value) for value in values), finds)


def happened(*messages: str) -> Query:
    """Ask for our own events, by their messages. Raises ValueError if there is no such event."""
    if unknown := [message for message in messages if message not in EVENTS]:
        raise ValueError(f"no such events: {unknown}")
    return is_any(always("event.action"), *(action_of(message) for message in messages))


def status(least: int, below: int | None = None) -> Query:
    """Ask for requests that were answered with a status in this range."""
    name = field("status")
    query = Query(
        f"{name} >= {least}", ((name, str(least)),), lambda fields: fields.get(name, -1) >= least
    )
    if below is None:
        return query
    is_below = Query(
        f"{name} < {below}", ((name, str(below)),), lambda fields: fields.get(name, below) < below
    )
    return query & is_below
