"""Reach that counts and says nothing: `python -m benchmarks.unwatched api`, to measure against.

Every instrument is still called; what it would do is not done.
"""

from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from reach.cli import main


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def silence() -> None:
    """Take the work out of every instrument."""
    for instrument, verbs in (
        (Counter, ("inc",)),
        (Gauge, ("inc", "dec", "set")),
        (Histogram, ("observe",)),
    ):
        for verb in verbs:
            setattr(instrument, verb, nothing)


if __name__ == "__main__":
    silence()
    main()
