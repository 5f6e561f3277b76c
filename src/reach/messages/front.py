"""Where what is due begins: nobody goes again and again through what lies before that.

The index of what is due keeps an entry of every lease there was until Postgres may vacuum it. While
one session is idle in a transaction, or reads for long, that is never: each look from the index's
beginning would take longer than the one before.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from reach.db.types import EPOCH

#: How much earlier than what was seen first something may fall due that was not seen: promised by
#: a transaction that had not committed yet, twice as long as one may take by default. What is older
#: than that (tried again in bulk, or of a clock that was set back) waits for a look at all.
MARGIN = timedelta(seconds=10)
#: How often all is looked at: each second, but so seldom that it takes a fiftieth of the time.
ALL_SECONDS, MOST_ALL_SECONDS, SHARE = 1.0, 5.0, 50
#: After so many leased without a look, what lies between the front and the next is much.
WORN = 1000


class Front:
    """One worker's memory of how early the first queued message is due."""

    def __init__(self) -> None:
        """Know nothing: the first look is at all."""
        self._first = EPOCH
        self._all_at = 0.0
        self._leased = 0

    @property
    def since(self) -> datetime:
        """From when on what is queued need be looked at."""
        return max(self._first - MARGIN, EPOCH)

    @property
    def is_worn(self) -> bool:
        """Whether so much was leased since the last look that another one pays, or one is due."""
        return self._leased > WORN or time.monotonic() >= self._all_at

    @contextmanager
    def looking(self) -> Iterator[datetime]:
        """Look from the time that this gives on; ``note`` what comes of it."""
        began = time.monotonic()
        is_all = began >= self._all_at
        yield EPOCH if is_all else self.since
        if is_all:
            ended = time.monotonic()
            pause = min(SHARE * (ended - began), MOST_ALL_SECONDS)
            self._all_at = ended + max(ALL_SECONDS, pause)

    def note(self, as_of: datetime, due_in_seconds: float) -> None:
        """Note that the first was due so soon, by the database's clock; or was to come."""
        self._first = as_of + timedelta(seconds=min(due_in_seconds, 0.0))
        self._leased = 0

    def note_leased(self, count: int) -> None:
        """Note that so many are no longer where they were."""
        self._leased += count
