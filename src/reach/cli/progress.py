"""How far a long command is: on a terminal alone, beside what it has to say."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reach.cli.output import allow_rich, is_terminal

#: Takes how many rows are done, and how much of the whole, if that is known.
Advance = Callable[[int, float | None], None]


@contextmanager
def progress(what: str, total: float | None, *, quiet: bool = False) -> Iterator[Advance]:
    """Show rows, rows a second and the time left, on stderr if that is a terminal.

    ``total`` is what the whole is measured in: bytes, say. None: nobody knows.
    """
    if quiet or not is_terminal(sys.stderr):
        yield lambda _rows, _done: None
        return
    allow_rich()
    from rich.console import Console
    from rich.progress import BarColumn, Progress, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(TextColumn):
        """Rows so far, and a second."""

        def render(self, task: Task) -> Text:
            """Write them."""
            rows, seconds = int(task.fields["rows"]), task.elapsed or 0.0
            rate = f", {rows / seconds:,.0f}/s" if seconds > 0 else ""
            return Text(f"{rows:,} rows{rate}")

    columns = (TextColumn("{task.description}"), BarColumn(), Rate(""), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=total, rows=0)
        yield lambda rows, done: shown.update(task, rows=rows, completed=done)
