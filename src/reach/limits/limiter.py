"""May somebody do something again: asked of Redis if there is one, and always of ourselves."""

import time
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from reach.limits.client import Clients
from reach.limits.memory import Full, Refusal, Windows
from reach.limits.redis import RedisUnavailable, Shared
from reach.settings import BadSettings, Settings
from reach.telemetry.metrics import LIMITER_DECISIONS, LIMITER_FALLBACKS

PolicyName = Literal["signups", "api", "failed_keys", "failed_links"]
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)
#: What several processes must not each allow. Wrong links are not among them: nobody is locked out
#: for them, they are only told less, so each process may count for itself if there is no Redis.
COUNTED_TOGETHER: tuple[PolicyName, ...] = ("signups", "api", "failed_keys")
ALONE = (
    "More than one API process must count together: set REACH_REDIS_URL, or lift the limits: "
    + ", ".join(f"REACH_LIMIT_{name.upper()}=off" for name in COUNTED_TOGETHER)
)


class Limiter:
    """The limits of one process.

    Its own windows hold whatever Redis says: what Redis admits is taken there too, so this
    process admits no more than the limit even by a Redis that lost its memory. What Redis
    refused is remembered until it can change, so a flood costs no further question.
    """

    def __init__(self, settings: Settings, sign: Callable[[str], str]) -> None:
        """Count by ``settings``; keys are what ``sign`` makes of whom they stand for."""
        self.clients = Clients(settings.proxies)
        self._sign = sign
        self._windows = {name: Windows(settings.policies[name]) for name in POLICIES}
        limits_nothing = all(w.policy.is_off for w in self._windows.values())
        redis = None if limits_nothing else settings.redis
        self._shared = None if redis is None else Shared(redis)
        self._admitted = {name: LIMITER_DECISIONS.labels(name, "admitted") for name in POLICIES}
        self._refused = {name: LIMITER_DECISIONS.labels(name, "refused") for name in POLICIES}

    async def close(self) -> None:
        """Hang up on Redis."""
        if self._shared is not None:
            await self._shared.close()

    def is_known_full(self, name: PolicyName, who: str) -> Refusal | None:
        """Look, without taking and without asking anybody, whether ``who`` would be refused."""
        windows = self._windows[name]
        if not windows:
            return None  # nobody has taken any: off, or none was wrong so far
        full = windows.full(self._sign(f"{name}\n{who}"), time.monotonic())
        return self._refusal(name, full) if full else None

    async def hit(self, name: PolicyName, who: str) -> Refusal | None:
        """Take one of each of the policy's windows for ``who``; None if there was room."""
        windows = self._windows[name]
        if not windows.policy.windows:
            return None
        key, now = self._sign(f"{name}\n{who}"), time.monotonic()
        if self._shared is None:
            full = windows.take(key, now)
        else:
            full = windows.full(key, now) or await self._take(self._shared, windows, key, now)
        if full:
            return self._refusal(name, full)
        self._admitted[name].inc()
        return None

    async def _take(self, shared: Shared, windows: Windows, key: str, now: float) -> Sequence[Full]:
        """Take one in Redis and here; here alone while Redis is unavailable."""
        try:
            full = await shared.take(windows.policy, key, lambda: windows.full(key, now))
        except RedisUnavailable:
            LIMITER_FALLBACKS.inc()
            shared.local_decisions += 1
            return windows.take(key, now)
        if full:
            windows.close(key, full, time.monotonic())
            return full
        return windows.take(key, now)

    def _refusal(self, name: PolicyName, full: Sequence[Full]) -> Refusal:
        self._refused[name].inc()
        return Refusal(self._windows[name].policy, full)


def require_one_count(settings: Settings) -> None:
    """Refuse several processes of which each would admit the limit. Raises BadSettings."""
    counts = any(not settings.policies[name].is_off for name in COUNTED_TOGETHER)
    if settings.processes > 1 and settings.redis is None and counts:
        raise BadSettings(ALONE)
