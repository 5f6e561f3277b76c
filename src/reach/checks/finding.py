"""What a check comes to."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

#: How a line is meant; a terminal shows it as a colour.
Tone = Literal["plain", "good", "bad", "warning"]

WELL, FAILED, MISCONFIGURED = 0, 1, 2


class Line(NamedTuple):
    """A line to print, and how it is meant."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. ``remedy`` is empty if all is well; ``advice`` is for who cares.

    ``is_misconfigured``: no waiting helps, a setting leads nowhere. ``is_well``: if not, and there
    is no remedy, another finding says what is wrong, and the mark of this one is not `ok`.
    """

    subject: str
    words: str
    remedy: str = ""
    advice: str = ""
    is_misconfigured: bool = False
    is_well: bool = True

    @property
    def exit_code(self) -> int:
        """How `reach check` ends if this is the worst that it finds."""
        if not self.remedy:
            return WELL
        return MISCONFIGURED if self.is_misconfigured else FAILED

    def lines(self) -> list[Line]:
        """Say it as it is printed, the lines below the first one set in."""
        is_good = self.is_well and not self.advice
        tone: Tone = "bad" if self.remedy else "good" if is_good else "warning"
        mark = "!!" if self.remedy else "ok" if self.is_well else "??"
        below: list[tuple[str, Tone]] = [(line, "bad") for line in self.remedy.splitlines()]
        below += [(line, "warning") for line in self.advice.splitlines()]
        first = Line(_printable(f"{mark} {self.subject}: {self.words}"), tone)
        return [first, *(Line(_printable(f"   {line}"), its) for line, its in below)]


def _printable(text: str) -> str:
    """Leave out what a terminal would obey: servers and DNS say what they like."""
    return "".join(character if character.isprintable() else "?" for character in text)
