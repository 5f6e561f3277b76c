"""How what a command found is written: a table on a terminal, lines for programs, JSON, or ids."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic_core import to_json

from reach.cli.output import allow_rich, answer, is_terminal, say
from reach.shapes import CONTROL

T = TypeVar("T")
#: What is shown of one thing, by the API's names: values that JSON can write.
Item = Mapping[str, Any]
Kind = Literal["table", "lines", "json", "ids"]

#: So many are read, and written, at once.
PAGE = 500
#: What would act on a terminal, or turn what stands there around. Halves of a pair cannot be
#: written at all.
UNSAFE = re.compile(rf"[{CONTROL}\ud800-\udfff]")
#: The same but for line breaks, which are only between what JSON holds.
UNSAFE_IN_JSON = re.compile(rf"(?!\n)[{CONTROL}\ud800-\udfff]")
SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
FIRST_ASTRAL = 0x10000


@dataclass(frozen=True, slots=True)
class Column:
    """A part of an item: its ``name`` (``welcome.state`` is inside another), and its title.

    ``columns`` is how wide a terminal must be to have it in a table; None: in no table.
    ``is_whole``: on one line, so that it can be copied.
    """

    name: str
    title: str
    columns: int | None = 0
    is_whole: bool = False

    def of(self, item: Item) -> Any:
        """Find it; None if a part of the way is missing."""
        found: Any = item
        for name in self.name.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return found


@dataclass(frozen=True, slots=True)
class Form:
    """What a command was asked to write, and where hints go: to stderr, or nowhere."""

    kind: Kind
    is_quiet: bool

    @classmethod
    def chosen(cls, *, as_json: bool, quiet: bool) -> "Form":
        """Choose by the options, and by whether a person looks."""
        if as_json:
            return cls("json", quiet)
        if quiet:
            return cls("ids", quiet)
        return cls("table" if is_terminal(sys.stdout) else "lines", quiet)

    def hint(self, text: str) -> None:
        """Say beside the answer what helps to read it."""
        if not self.is_quiet:
            say(text, sys.stderr)


class Pages(Generic[T]):
    """What is found, part by part; ``is_cut`` once fewer were asked for than there are.

    ``fetch(limit, after)`` gives a part, and what the next one comes after: None if there is none.
    """

    def __init__(
        self, fetch: Callable[[int, Any], tuple[Sequence[T], Any]], most: int | None
    ) -> None:
        """Take up to ``most``; None: all."""
        self._fetch = fetch
        self._most = most
        self.is_cut = False

    def __iter__(self) -> Iterator[Sequence[T]]:
        """Read on, as far as it is asked for."""
        left, after = self._most, None
        while left is None or left > 0:
            found, after = self._fetch(PAGE if left is None else min(PAGE, left), after)
            yield found
            if after is None:
                return
            left = None if left is None else left - len(found)
        self.is_cut = True


def by_id(page: Callable[..., Any]) -> Callable[[int, Any], tuple[Sequence[Any], Any]]:
    """Make a ``fetch`` of a list that goes on ``before`` an id."""
    return lambda limit, after: page(limit=limit, before=after)


def visible(text: str) -> str:
    """Write what a terminal would act on, and what turns text around, as an escape."""
    return UNSAFE.sub(lambda found: SHORT.get(found[0]) or f"\\u{{{ord(found[0]):x}}}", text)


def show_list(
    pages: Pages[T], shown: Callable[[T], Item], columns: Sequence[Column], form: Form
) -> None:
    """Write a list. Raises Unwritten; Unread."""
    count = 0
    for text in _list(((shown(one) for one in page) for page in pages), columns, form):
        count += 1
        answer(text, end="")
    if pages.is_cut:
        form.hint("There are more: ask for them with --limit or --all.")
    elif count == 0:
        form.hint("There are none.")


def show(item: Item, columns: Sequence[Column], form: Form) -> None:
    """Write one thing: each part a line, or JSON, or its id. Raises Unwritten; Unread."""
    match form.kind:
        case "json":
            answer(as_json(item, indent=2))
        case "ids":
            answer(str(item["id"]))
        case "lines":
            answer("\n".join(f"{one.name}\t{word(one.of(item))}" for one in columns))
        case "table":
            allow_rich()
            from reach.cli.tables import drawn_parts

            answer(drawn_parts(item, columns), end="")


def as_json(value: Any, indent: int | None = None) -> str:
    """Write JSON as the API does, with escapes for all that a terminal would act on."""
    written = to_json(value, indent=indent).decode()
    return UNSAFE_IN_JSON.sub(lambda found: _escaped(ord(found[0])), written)


def _escaped(code: int) -> str:
    if code < FIRST_ASTRAL:
        return f"\\u{code:04x}"
    high, low = divmod(code - FIRST_ASTRAL, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def _list(pages: Iterable[Iterable[Item]], columns: Sequence[Column], form: Form) -> Iterator[str]:
    match form.kind:
        case "json":
            yield from _json_list(pages)
        case "ids":
            for page in pages:
                yield from (f"{item['id']}\n" for item in page)
        case "lines":
            for page in pages:
                yield from (_line(item, columns) for item in page)
        case "table":
            allow_rich()
            from reach.cli.tables import drawn_list

            for page in pages:
                if items := list(page):
                    yield drawn_list(items, columns)


def _json_list(pages: Iterable[Iterable[Item]]) -> Iterator[str]:
    """Write an array, an item a line, as they come."""
    begun = "["
    for page in pages:
        if lines := [f"  {as_json(item)}" for item in page]:
            yield f"{begun}\n" + ",\n".join(lines)
            begun = ","
    yield "[]\n" if begun == "[" else "\n]\n"


def _line(item: Item, columns: Sequence[Column]) -> str:
    return "\t".join(word(one.of(item)) for one in columns) + "\n"


def word(value: Any) -> str:
    """Write a value for a program: nothing for None, times as RFC 3339."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case Mapping():
            return as_json(value)
        case str() | UUID() | int() | float():
            return visible(str(value))
        case _:
            return visible(" ".join(map(str, value)))
