"""Moving windows in this process's memory: exact, bounded, and without a thread or a timer.

Why not those of the library ``limits``: docs/decisions/0009-limits.md.
"""

from array import array
from bisect import insort
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from reach.settings.types import Policy, Window


@dataclass(frozen=True, slots=True)
class Full:
    """A window without room, and for how long at least."""

    window: Window
    seconds: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """A policy does not let somebody do it again yet."""

    policy: Policy
    full: Sequence[Full]

    @property
    def violated(self) -> list[str]:
        """The names of the windows that are full."""
        return [full.window.name for full in self.full]

    @property
    def headers(self) -> dict[str, str]:
        """``Retry-After`` (RFC 9110 §10.2.3) and draft-ietf-httpapi-ratelimit-headers-10's.

        Seconds are rounded up, and of several full windows the last to have room counts, so
        that a retry at that time can succeed.
        """
        policy = (f'"{w.name}";q={w.quota};w={w.seconds}' for w in self.policy.windows)
        limit = (f'"{full.window.name}";r=0;t={_whole(full.seconds)}' for full in self.full)
        return {
            "Retry-After": str(max(_whole(full.seconds) for full in self.full)),
            "RateLimit-Policy": ", ".join(policy),
            "RateLimit": ", ".join(limit),
        }


def _whole(seconds: float) -> int:
    return max(1, ceil(seconds))


#: What is kept of one policy at most; beyond it who has not come for longest is forgotten.
MOST_KEYS = 50_000
MOST_STAMPS = 1_000_000


class Taken:
    """What one key has taken: when, the latest last; and what somebody else said is full."""

    __slots__ = ("closed", "stamps")

    def __init__(self) -> None:
        self.stamps = array("d")
        self.closed: tuple[Full, ...] = ()


class Windows:
    """Counts for one policy. Times are seconds of one clock, whichever.

    Nothing in here waits, so on one event loop each call is atomic.
    """

    def __init__(
        self, policy: Policy, most_keys: int = MOST_KEYS, most_stamps: int = MOST_STAMPS
    ) -> None:
        """Start empty."""
        self.policy = policy
        self._taken: OrderedDict[str, Taken] = OrderedDict()
        self._most_keys, self._most_stamps = most_keys, most_stamps
        self._stamps = 0
        self._longest_seconds = max((w.seconds for w in policy.windows), default=0)
        self._most_quota = max((w.quota for w in policy.windows), default=0)

    def __len__(self) -> int:
        """How many keys are kept."""
        return len(self._taken)

    def full(self, key: str, now: float) -> Sequence[Full]:
        """List the windows that have no room for ``key``."""
        taken = self._taken.get(key)
        if taken is None:
            return ()
        self._taken.move_to_end(key)
        stamps, found = taken.stamps, {}
        for window in self.policy.windows:
            # Full as long as the quota-th latest is still inside.
            if len(stamps) >= window.quota:
                left = stamps[-window.quota] + window.seconds - now
                if left > 0:
                    found[window.name] = Full(window, left)
        for closed in taken.closed:
            left = closed.seconds - now
            here = found.get(closed.window.name)
            if left > 0 and (here is None or here.seconds < left):
                found[closed.window.name] = Full(closed.window, left)
        return tuple(found.values())

    def take(self, key: str, now: float) -> Sequence[Full]:
        """Take one of every window for ``key``; if any is full, list those, and take none."""
        full = self.full(key, now)
        if full:
            return full
        taken = self._of(key, now)
        if taken.stamps and now < taken.stamps[-1]:
            insort(taken.stamps, now)
        else:
            taken.stamps.append(now)
        self._stamps += 1
        spare = len(taken.stamps) - self._most_quota
        if spare > 8 + self._most_quota // 4:  # not each time: what follows is moved
            del taken.stamps[:spare]
            self._stamps -= spare
        return ()

    def close(self, key: str, full: Sequence[Full], now: float) -> None:
        """Remember what somebody else found full: until then nothing is to be had anywhere."""
        until = tuple(Full(one.window, now + one.seconds) for one in full)
        self._of(key, now).closed = until

    def _of(self, key: str, now: float) -> Taken:
        """Find what ``key`` has taken, and forget two others whose time is over."""
        taken = self._taken.get(key)
        if taken is None:
            taken = self._taken[key] = Taken()
        else:
            self._taken.move_to_end(key)
        for _ in range(2):
            key, oldest = next(iter(self._taken.items()))
            if oldest is not taken and (self._is_crowded or self._is_over(oldest, now)):
                del self._taken[key]
                self._stamps -= len(oldest.stamps)
        return taken

    @property
    def _is_crowded(self) -> bool:
        return len(self._taken) > self._most_keys or self._stamps >= self._most_stamps

    def _is_over(self, taken: Taken, now: float) -> bool:
        """Whether all that was taken has left the longest window."""
        last = taken.stamps[-1] + self._longest_seconds if taken.stamps else 0.0
        return max(last, *(full.seconds for full in taken.closed), 0.0) <= now
