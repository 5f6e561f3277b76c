"""What a check comes to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. ``remedy`` is empty if all is well; ``advice`` is for who cares."""

    subject: str
    words: str
    remedy: str = ""
    advice: str = ""

    def lines(self) -> list[str]:
        """Say it as it is printed, the lines below the first one set in."""
        below = [*self.remedy.splitlines(), *self.advice.splitlines()]
        first = f"{'!!' if self.remedy else 'ok'} {self.subject}: {self.words}"
        return [first, *(f"   {line}" for line in below)]
