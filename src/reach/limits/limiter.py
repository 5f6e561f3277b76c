"""May somebody do something again: asked of Redis if there is one, and always of ourselves.

What was taken is counted in moving windows in this process's memory: exact, bounded, and without a
thread or a timer. Why not by those of the library ``limits``: docs/decisions/0009-limits.md.
"""

import time
from array import array
from bisect import insort
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, get_args

from reach.limits.client import Clients
from reach.limits.refusal import Full, RedisUnavailable, Refusal
from reach.settings import BadSettings, Settings
from reach.settings.types import Policy
from reach.settings.urls import RedisUrl
from reach.telemetry.metrics import LIMITER_DECISIONS, LIMITER_FALLBACKS

if TYPE_CHECKING:
    from reach.limits.redis import Shared

PolicyName = Literal["signups", "api", "failed_keys", "failed_links"]
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)
#: What several processes must not each allow. Wrong links are not among them: nobody is locked out
#: for them, they are only told less, so each process may count for itself if there is no Redis.
COUNTED_TOGETHER: tuple[PolicyName, ...] = ("signups", "api", "failed_keys")
ALONE = (
    "More than one API process must count together: set REACH_REDIS_URL, or lift the limits: "
    + ", ".join(f"REACH_LIMIT_{name.upper()}=off" for name in COUNTED_TOGETHER)
)

#: What is kept of one policy at most; beyond it who has not come for longest is forgotten.
MOST_KEYS = 50_000
MOST_STAMPS = 1_000_000


class Limiter:
    """The limits of one process.

    Its own windows hold whatever Redis says: what Redis admits is taken there too, so this
    process admits no more than the limit even by a Redis that lost its memory. What Redis
    refused is remembered until it can change, so a flood costs no further question.
    """

    def __init__(self, settings: Settings, sign: Callable[[str], str]) -> None:
        """Count by ``settings``; in Redis by what ``sign`` makes of whom keys stand for."""
        self.clients = Clients(settings.proxies)
        self._sign = sign
        self._windows = {name: Windows(settings.policies[name]) for name in POLICIES}
        limits_nothing = all(w.policy.is_off for w in self._windows.values())
        redis = None if limits_nothing else settings.redis
        self._shared = None if redis is None else _shared(redis)
        self._admitted = {name: LIMITER_DECISIONS.labels(name, "admitted") for name in POLICIES}
        self._refused = {name: LIMITER_DECISIONS.labels(name, "refused") for name in POLICIES}

    async def close(self) -> None:
        """Hang up on Redis."""
        if self._shared is not None:
            await self._shared.close()

    def is_known_full(self, name: PolicyName, who: str) -> Refusal | None:
        """Look, without taking and without asking anybody, whether ``who`` would be refused."""
        windows = self._windows[name]
        if who not in windows.taken:
            return None
        full = windows.full(who, time.monotonic())
        return self._refusal(name, full) if full else None

    async def hit(self, name: PolicyName, who: str) -> Refusal | None:
        """Take one of each of the policy's windows for ``who``; None if there was room."""
        windows = self._windows[name]
        if not windows.policy.windows:
            return None
        now = time.monotonic()
        if self._shared is None:
            full = windows.take(who, now)
        else:
            full = windows.full(who, now) or await self._take(self._shared, name, who, now)
        if full:
            return self._refusal(name, full)
        self._admitted[name].inc()
        return None

    async def _take(
        self, shared: "Shared", name: PolicyName, who: str, now: float
    ) -> Sequence[Full]:
        """Take one in Redis and here; here alone while Redis is unavailable."""
        windows, key = self._windows[name], self._sign(f"{name}\n{who}")
        try:
            full = await shared.take(windows.policy, key, lambda: windows.full(who, now))
        except RedisUnavailable:
            LIMITER_FALLBACKS.inc()
            shared.local_decisions += 1
            return windows.full(who, now) or windows.take(who, now)
        if full:
            windows.close(who, full, time.monotonic())
            return full
        return windows.take(who, now)

    def _refusal(self, name: PolicyName, full: Sequence[Full]) -> Refusal:
        self._refused[name].inc()
        return Refusal(self._windows[name].policy, full)


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
        self.taken: OrderedDict[str, Taken] = OrderedDict()
        self._most_keys, self._most_stamps = most_keys, most_stamps
        self._stamps = 0
        self._longest_seconds = max((w.seconds for w in policy.windows), default=0)
        self._least_quota = min((w.quota for w in policy.windows), default=0)
        self._most_quota = max((w.quota for w in policy.windows), default=0)

    def __len__(self) -> int:
        """How many keys are kept."""
        return len(self.taken)

    def full(self, key: str, now: float) -> Sequence[Full]:
        """List the windows that have no room for ``key``: here, or where somebody else counts."""
        taken = self.taken.get(key)
        if taken is None:
            return ()
        self.taken.move_to_end(key)
        found = self._full_here(taken, now)
        for closed in taken.closed:
            left = closed.seconds - now
            here = found.get(closed.window.name)
            if left > 0 and (here is None or here.seconds < left):
                found[closed.window.name] = Full(closed.window, left)
        return tuple(found.values())

    def _full_here(self, taken: Taken, now: float) -> dict[str, Full]:
        stamps, found = taken.stamps, {}
        for window in self.policy.windows:
            # Full as long as the quota-th latest is still inside.
            if len(stamps) >= window.quota:
                left = stamps[-window.quota] + window.seconds - now
                if left > 0:
                    found[window.name] = Full(window, left)
        return found

    def take(self, key: str, now: float) -> Sequence[Full]:
        """Take one of every window for ``key``; if any is full here, list those, and take none.

        What somebody else found full meanwhile is no matter: who was given a place there, before
        another was refused, may hear of it later.
        """
        taken = self.taken.get(key)
        if taken is None:
            taken = self.taken[key] = Taken()
        # Who has taken less than any window's quota is refused by none.
        elif len(taken.stamps) >= self._least_quota:
            full = tuple(self._full_here(taken, now).values())
            if full:
                return full
        self._use(key, taken, now)
        stamps = taken.stamps
        if stamps and now < stamps[-1]:
            insort(stamps, now)
        else:
            stamps.append(now)
        self._stamps += 1
        spare = len(stamps) - self._most_quota
        if spare > 8 + self._most_quota // 4:  # not each time: what follows is moved
            del stamps[:spare]
            self._stamps -= spare
        return ()

    def close(self, key: str, full: Sequence[Full], now: float) -> None:
        """Remember what somebody else found full: until then nothing is to be had anywhere."""
        taken = self.taken.get(key)
        if taken is None:
            taken = self.taken[key] = Taken()
        self._use(key, taken, now)
        taken.closed = tuple(Full(one.window, now + one.seconds) for one in full)

    def _use(self, key: str, taken: Taken, now: float) -> None:
        """Note that ``key`` came last, and forget two others whose time is over."""
        self.taken.move_to_end(key)
        for _ in range(2):
            first, oldest = next(iter(self.taken.items()))
            if oldest is not taken and (self._is_crowded or self._is_over(oldest, now)):
                del self.taken[first]
                self._stamps -= len(oldest.stamps)

    @property
    def _is_crowded(self) -> bool:
        return len(self.taken) > self._most_keys or self._stamps >= self._most_stamps

    def _is_over(self, taken: Taken, now: float) -> bool:
        """Whether all that was taken has left the longest window."""
        last = taken.stamps[-1] + self._longest_seconds if taken.stamps else 0.0
        return max(last, *(full.seconds for full in taken.closed), 0.0) <= now


def _shared(redis: RedisUrl) -> "Shared":
    from reach.limits.redis import Shared

    return Shared(redis)


def require_one_count(settings: Settings) -> None:
    """Refuse several processes of which each would admit the limit. Raises BadSettings."""
    counts = any(not settings.policies[name].is_off for name in COUNTED_TOGETHER)
    if settings.processes > 1 and settings.redis is None and counts:
        raise BadSettings(ALONE)
