"""Counting together with other processes, in a Redis that may go away at any moment."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextvars import Context

import structlog

from reach.limits.line import Line
from reach.limits.policy import Policy, Window
from reach.limits.refusal import Full
from reach.telemetry.metrics import REDIS_AWAY
from reach.urls import RedisUrl

log = structlog.get_logger("reach.limits")

PROBE_SECONDS = 0.5
#: As many commands are under way at most; who waits for a turn is not waiting for Redis.
LINES = 16


class RedisAway(Exception):  # noqa: N818 - an expected failure
    """Redis did not answer, or not in time, or refused."""


class Shared:
    """The windows that all processes share. It heals by itself.

    While Redis is away nobody waits for it: one task looks every half second whether it is
    back. ``outages`` and ``local_decisions`` (of this outage) are for whoever watches.
    """

    def __init__(self, redis: RedisUrl) -> None:
        """Take where Redis is; nothing is sent before the first question."""
        self._redis = redis
        self._lines: list[Line] = []
        self._idle: list[Line] = []
        self._turns = asyncio.Semaphore(LINES)
        self._probe: asyncio.Task[None] | None = None
        self.outages = self.local_decisions = 0
        self.is_away = False

    async def close(self) -> None:
        """Hang up."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
            REDIS_AWAY.set(0)
        await asyncio.gather(*(line.close() for line in self._lines), return_exceptions=True)

    async def take(
        self, policy: Policy, key: str, known_full: Callable[[], Sequence[Full]]
    ) -> Sequence[Full]:
        """Take one of every window, the shortest first, up to the first that is full.

        Whoever is refused by a long window has taken of the shorter ones: never too little is
        counted. ``known_full`` spares the question to those who waited for their turn
        meanwhile. Raises RedisAway.
        """
        if self.is_away:
            raise RedisAway
        async with self._turns:
            if self.is_away:
                raise RedisAway
            if full := known_full():
                return full
            line = self._idle.pop() if self._idle else self._new_line()
            outages = self.outages
            try:
                return await self._take(line, policy, key)
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller is served
                if self.outages == outages:
                    self._goes_away(error)
                raise RedisAway from None
            finally:
                self._idle.append(line)

    async def _take(self, line: Line, policy: Policy, key: str) -> Sequence[Full]:
        for window in policy.windows:
            item = window.item
            if not await line.ask(lambda limiter, item=item: limiter.hit(item, key)):  # type: ignore[misc]
                return await self._full(line, policy, window, key)
        return ()

    async def _full(self, line: Line, policy: Policy, refused: Window, key: str) -> Sequence[Full]:
        """List the full windows. If Redis goes away now, the refusal stands, for a second."""
        found = []
        try:
            for window in policy.windows:
                item = window.item
                stats = await line.ask(
                    lambda limiter, item=item: limiter.get_window_stats(item, key)  # type: ignore[misc]
                )
                if stats.remaining <= 0:
                    # A clock, another's or ours, may be wrong; a window is no longer for that.
                    left = min(max(0.0, stats.reset_time - time.time()), window.seconds)
                    found.append(Full(window, left))
        except Exception as error:  # noqa: BLE001 - as above
            log.debug("redis refused, and went away", reason=reason_of(error))
            return (Full(refused, 1.0),)
        return tuple(found) or (Full(refused, 0.0),)  # it has got room this very moment

    def _new_line(self) -> Line:
        self._lines.append(Line(self._redis))
        return self._lines[-1]

    def _goes_away(self, error: Exception) -> None:
        self.is_away = True
        REDIS_AWAY.set(1)
        self.outages += 1
        self.local_decisions = 0
        nobodys = Context()  # not that of the caller who came first
        nobodys.run(self._tell_away, error)
        self._probe = asyncio.create_task(self._wait_until_back(), context=nobodys)

    @staticmethod
    def _tell_away(error: Exception) -> None:
        log.warning("redis is away: each process counts for itself", reason=reason_of(error))

    async def _wait_until_back(self) -> None:
        line = Line(self._redis)
        try:
            while self.is_away:
                await asyncio.sleep(PROBE_SECONDS)
                try:
                    await line.probe()
                except Exception:  # noqa: BLE001, S112 - still away, which has been logged
                    continue
                for other in self._lines:  # they lead to where Redis was
                    other.is_ready = False
                self.is_away = False
                REDIS_AWAY.set(0)
        finally:
            await line.close()
        log.info("redis is back", local_decisions=self.local_decisions)


def reason_of(error: Exception) -> str:
    """Say what is wrong, without what Redis or its driver quote: a command, a URL."""
    code = str(error).partition(" ")[0]
    return f"{type(error).__name__} {code}" if code.isupper() else type(error).__name__
