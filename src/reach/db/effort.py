"""How much is done for one answer, where to do all would take too long."""

import time


class Effort:
    """How much is looked at for an answer: so many rows, and for how long another step is made.

    Ask whether it is over after a step, not before: so a list goes on, however slow everything is.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._left = most
        self._ends_at = time.monotonic() + seconds

    def take(self, step: int) -> int:
        """Say how many are looked at next: ``step`` of them, or fewer, or none."""
        step = min(step, self._left)
        self._left -= step
        return step

    @property
    def is_over(self) -> bool:
        """Whether no further step is made."""
        return self._left <= 0 or time.monotonic() >= self._ends_at
