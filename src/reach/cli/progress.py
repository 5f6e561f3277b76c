"""How far a long command is: a bar on a terminal, lines elsewhere; on stderr."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from reach.cli.output import say

if TYPE_CHECKING:
    from rich.progress import TaskID

#: So many lines for each thing that is done, at most.
LINES = 20


class Lines:
    """For a log, or a pipe."""

    def __enter__(self) -> Self:
        self._what, self._rows, self._done, self._said = "", 0, 0, 0
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to do."""

    def note(self, text: str) -> None:
        """Say what happened."""
        say(text, sys.stderr)

    def begin(self, what: str, rows: int) -> None:
        """Say what is done now."""
        self._what, self._rows, self._done, self._said = what, rows, 0, 0
        say(f"{what}: {rows:,}", sys.stderr)

    def advance(self, rows: int) -> None:
        """Say how far it is, now and then."""
        self._done += rows
        is_worth_it = (self._done - self._said) * LINES >= self._rows or self._done == self._rows
        if is_worth_it and self._done > self._said:
            self._said = self._done
            say(f"{self._what}: {self._done:,} of {self._rows:,}", sys.stderr)


class Bars:
    """For a person: one bar for each thing that is done."""

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
        )
        self._task: TaskID | None = None
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Say what happened, above the bars."""
        self._progress.console.print(text, markup=False, highlight=False)

    def begin(self, what: str, rows: int) -> None:
        """Begin a bar."""
        self._task = self._progress.add_task(what, total=rows)

    def advance(self, rows: int) -> None:
        """Move it."""
        if self._task is not None:
            self._progress.advance(self._task, rows)


def watcher() -> Lines | Bars:
    """Choose by what stderr is."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return Bars() if is_terminal else Lines()
