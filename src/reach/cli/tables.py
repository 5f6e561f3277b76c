"""Tables for people who look at a terminal, as wide as it is."""

import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reach.cli.forms import Column, Item, word

#: By what a word says of an email or a key.
TONES = {
    "sent": "green",
    "valid": "green",
    "queued": "yellow",
    "deferred": "yellow",
    "unknown": "yellow",
    "expired": "yellow",
    "failed": "bold red",
    "rejected": "bold red",
    "bounced": "bold red",
    "complained": "bold red",
    "suppressed": "yellow",
    "delivered": "green",
    "delayed": "yellow",
}
NOTHING = "\N{EN DASH}"


def drawn_list(items: Sequence[Item], columns: Sequence[Column]) -> str:
    """Draw a row for each item; what a narrow terminal has no room for is left out."""
    console = _console()
    shown = [one for one in columns if one.columns is not None and one.columns <= console.width]
    table = _table()
    for column in shown:
        values = [column.of(item) for item in items]
        is_number = any(isinstance(value, int | float) for value in values)
        justify: Literal["left", "right"] = "right" if is_number else "left"
        table.add_column(column.title, justify=justify, overflow="fold", no_wrap=column.is_whole)
    for item in items:
        table.add_row(*(_cell(column.of(item)) for column in shown))
    return _drawn(console, table)


def drawn_parts(item: Item, columns: Sequence[Column]) -> str:
    """Draw one thing: a row for each of its parts."""
    table = _table(heads=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for column in columns:
        table.add_row(column.title, _cell(column.of(item)))
    return _drawn(_console(), table)


def _console() -> Console:
    # It would take the width from the variable alone, and of a stream that is no terminal.
    width = shutil.get_terminal_size().columns
    return Console(width=width, highlight=False, markup=False, emoji=False)


def _table(*, heads: bool = True) -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=heads)


def _drawn(console: Console, table: Table) -> str:
    with console.capture() as captured:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _cell(value: Any) -> Text:
    text = _seen(value)
    return Text(text, style=TONES.get(text, ""))


def _seen(value: Any) -> str:
    """Write a value for a person."""
    match value:
        case bool():
            return "yes" if value else "no"
        case datetime():
            return f"{value:%Y-%m-%d %H:%MZ}"
        case int() | float():
            return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
        case Mapping():
            parts = ((name, word(part)) for name, part in value.items())
            return ", ".join(f"{name}: {part}" for name, part in parts) or NOTHING
        case _:
            return word(value) or NOTHING
