"""Counting together with other processes, in a Redis that may go away at any moment."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog
from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from reach.limits.policy import Policy, Window
from reach.limits.refusal import Full
from reach.urls import RedisUrl

log = structlog.get_logger("reach.limits")

T = TypeVar("T")

#: Redis has 50 ms to answer: five looks, for a look is late when it is we who are busy, and
#: then the answer may be lying there already.
LOOKS, LOOK_SECONDS = 5, 0.01
PROBE_SECONDS = 0.5
#: As many commands are under way at most; who waits for a turn is not waiting for Redis.
CONNECTIONS = 32
#: What the driver itself may take to hang up or to give up; ours is always sooner.
DRIVER_SECONDS = 2.0
PREFIX = "reach"


class RedisAway(Exception):  # noqa: N818 - an expected failure
    """Redis did not answer, or not in time, or refused."""


class Shared:
    """The windows that all processes share. It heals by itself.

    While Redis is away nobody waits for it: one task looks every half second whether it is
    back. ``outages`` and ``local_decisions`` (of this outage) are for whoever watches.
    """

    def __init__(self, redis: RedisUrl) -> None:
        """Take where Redis is; nothing is sent before the first command."""
        storage = open_storage(redis)
        self._storage, self._limiter = storage, MovingWindowRateLimiter(storage)
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._probe: asyncio.Task[None] | None = None
        self.outages = self.local_decisions = 0
        self.is_away = False

    async def close(self) -> None:
        """Hang up."""
        if self._probe is not None:
            self._probe.cancel()
        await client_of(self._storage).aclose()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn to ask Redis; raises RedisAway if it went away meanwhile."""
        if self.is_away:
            raise RedisAway
        async with self._turns:
            if self.is_away:
                raise RedisAway
            yield

    async def take(self, policy: Policy, key: str) -> Sequence[Full]:
        """Take one of every window, the shortest first, up to the first that is full.

        Whoever is refused by a long window has taken of the shorter ones: never too little is
        counted. Raises RedisAway.
        """
        for window in policy.windows:
            item = window.item
            if not await self._ask(lambda item=item: self._limiter.hit(item, key)):  # type: ignore[misc]
                return await self._full(policy, window, key)
        return ()

    async def _full(self, policy: Policy, refused: Window, key: str) -> Sequence[Full]:
        """List the full windows. If Redis goes away now, the refusal stands, for a second."""
        found = []
        try:
            for window in policy.windows:
                item = window.item
                stats = await self._ask(
                    lambda item=item: self._limiter.get_window_stats(item, key)  # type: ignore[misc]
                )
                if stats.remaining <= 0:
                    found.append(Full(window, max(0.0, stats.reset_time - time.time())))
        except RedisAway:
            return (Full(refused, 1.0),)
        return tuple(found) or (Full(refused, 0.0),)  # it has got room this very moment

    async def _ask(self, command: Callable[[], Coroutine[Any, Any, T]]) -> T:
        outages = self.outages
        try:
            return await in_time(command())
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is to be served
            if self.outages == outages:
                self._goes_away(error)
            raise RedisAway from None

    def _goes_away(self, error: Exception) -> None:
        self.is_away = True
        self.outages += 1
        self.local_decisions = 0
        log.warning("redis is away: each process counts for itself", reason=reason_of(error))
        self._probe = asyncio.create_task(self._wait_until_back())

    async def seconds_ahead(self) -> float:
        """Tell how far Redis's clock is ahead of ours. Raises what redis-py raises."""
        began = time.time()
        seconds, microseconds = await client_of(self._storage).time()
        return float(seconds + microseconds / 1e6 - (began + time.time()) / 2)

    async def _wait_until_back(self) -> None:
        while self.is_away:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                await in_time(self.write())
            except Exception:  # noqa: BLE001, S112 - it is still away, which has been logged
                continue
            self.is_away = False
        log.info("redis is back", local_decisions=self.local_decisions)

    async def write(self) -> None:
        """Do once what is done for a request, with a key that nobody has and that soon goes."""
        # Connections from before the outage lead nowhere.
        await client_of(self._storage).connection_pool.disconnect(inuse_connections=False)
        await self._limiter.hit(RateLimitItemPerSecond(1), f"probe-{secrets.token_hex(8)}")


def open_storage(redis: RedisUrl) -> RedisStorage:
    """Make the library's storage, which neither retries nor waits."""
    return RedisStorage(
        f"async+{redis.url}",
        implementation="redispy",
        key_prefix=PREFIX,
        protocol=2,
        lib_name="",
        max_connections=CONNECTIONS + 2,  # the probe's, and one that is being hung up
        retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]  # handed on to redis-py as it is
        socket_timeout=DRIVER_SECONDS,
        socket_connect_timeout=DRIVER_SECONDS,
    )


def client_of(storage: RedisStorage) -> Redis:
    """Find redis-py's client of a storage."""
    found: Redis = storage.bridge.get_connection()  # type: ignore[attr-defined]
    return found


async def in_time(command: Awaitable[T]) -> T:
    """Wait for Redis, and not for ourselves. Raises TimeoutError, and what ``command`` does.

    One wait of 50 ms would also be over when this event loop was busy for so long.
    """
    task = asyncio.ensure_future(command)
    try:
        for _ in range(LOOKS):
            done, _ = await asyncio.wait((task,), timeout=LOOK_SECONDS)
            if done:
                return task.result()
        raise TimeoutError
    finally:
        if not task.done():
            task.add_done_callback(_is_of_no_more_interest)
            task.cancel()


def _is_of_no_more_interest(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


def reason_of(error: Exception) -> str:
    """Say what is wrong, without what Redis or its driver quote: a command, a URL."""
    code = str(error).partition(" ")[0]
    return f"{type(error).__name__} {code}" if code.isupper() else type(error).__name__
