"""All of a database at once: copied into another one, or backed up into a file."""

from typing import Protocol


class Watcher(Protocol):
    """Is told how far it is."""

    def note(self, text: str) -> None:
        """Be told something that happened."""

    def begin(self, what: str, rows: int) -> None:
        """Be told what is done now, with how many rows or pages."""

    def advance(self, rows: int) -> None:
        """Be told that so many more are done."""
