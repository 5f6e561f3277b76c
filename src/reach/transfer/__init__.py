"""All of a database at once: copied into another one, or backed up into a file."""

from collections.abc import Callable

#: So many lines for each thing that is done, at most.
LINES = 20


class Watcher:
    """Says what a long command does, and now and then how far it is."""

    def __init__(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Begin with nothing done. ``say`` takes a line."""
        self._say = say
        self._what, self._rows, self._done, self._said = "", 0, 0, 0

    def note(self, text: str) -> None:
        """Say what happened."""
        self._say(text)

    def begin(self, what: str, rows: int) -> None:
        """Say what is done now, with how many rows or pages."""
        self._what, self._rows, self._done, self._said = what, rows, 0, 0
        self.note(f"{what}: {rows:,}")

    def advance(self, rows: int) -> None:
        """Take note that so many more are done."""
        self._done += rows
        is_worth_it = (self._done - self._said) * LINES >= self._rows or self._done == self._rows
        if is_worth_it and self._done > self._said:
            self._said = self._done
            self.note(f"{self._what}: {self._done:,} of {self._rows:,}")
