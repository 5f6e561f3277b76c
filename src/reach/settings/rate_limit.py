"""Rate limits: how often, in the words of a setting."""

import re
from dataclasses import dataclass

from limits import RateLimitItem, parse_many

OFF = "off"
MOST_WINDOWS = 5
LONGEST_SECONDS = 366 * 24 * 3600
MOST_QUOTA = 10_000_000


@dataclass(frozen=True, slots=True)
class Window:
    """At most ``quota`` in any ``seconds``; ``name`` is what the answer's headers call it."""

    name: str
    quota: int
    seconds: int
    item: RateLimitItem


@dataclass(frozen=True, slots=True)
class Policy:
    """Several windows, none of which may be exceeded; the shortest first. None at all: off."""

    name: str
    windows: tuple[Window, ...]

    @classmethod
    def parse(cls, name: str, text: str) -> "Policy":
        """Read ``10/minute;100/hour``, or ``off``. Raises ValueError."""
        if text.strip().lower() == OFF:
            return cls(name, ())
        # The library takes both for something else.
        if ":" in text or re.search(r"(/|per)\s*0", text, re.IGNORECASE):
            raise ValueError('must be like 10/minute;100/hour, or "off"')
        try:
            items = sorted(parse_many(text), key=lambda item: (item.get_expiry(), item.amount))
        except ValueError:
            raise ValueError('must be like 10/minute;100/hour, or "off"') from None
        windows = tuple(_window(item) for item in items)
        if len({window.seconds for window in windows}) < len(windows):
            raise ValueError("names one window twice")
        if len(windows) > MOST_WINDOWS:
            raise ValueError(f"has more than {MOST_WINDOWS} windows")
        if any(not 1 <= w.quota <= MOST_QUOTA or not w.seconds for w in windows):
            raise ValueError(f'may allow 1 to {MOST_QUOTA} in a window ("off" lifts it)')
        if windows[-1].seconds > LONGEST_SECONDS:
            raise ValueError("has a window of more than a year")
        return cls(name, windows)

    @property
    def is_off(self) -> bool:
        """Whether anything goes."""
        return not self.windows


def _window(item: RateLimitItem) -> Window:
    unit = item.GRANULARITY.name
    name = unit if item.multiples == 1 else f"{item.multiples}-{unit}s"
    return Window(name, item.amount, item.get_expiry(), item)
