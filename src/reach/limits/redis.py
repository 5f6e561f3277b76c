"""Counting together with other processes, in a Redis that may go away at any moment."""

import asyncio
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from functools import cache
from typing import Any, TypeVar

import structlog
from limits import RateLimitItem, RateLimitItemPerSecond, parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from reach.limits.refusal import Full, RedisUnavailable
from reach.network.sockets import open_socket
from reach.settings.types import Policy, Window
from reach.settings.urls import RedisUrl
from reach.telemetry.metrics import REDIS_SECONDS, REDIS_UNAVAILABLE

T = TypeVar("T")

#: Redis has 50 ms to answer, told by many short looks (a timer is some tenths of a millisecond
#: late). Each look is later when it is we, or the whole machine, who are busy, and then the answer
#: may be lying there already.
LOOKS, LOOK_SECONDS = 21, 0.002
#: What the driver itself may take to hang up or to give up; ours is always sooner.
DRIVER_SECONDS = 2.0
#: A second address is tried before a request has waited in vain for the first.
NEXT_SECONDS = 0.02
PREFIX = "reach"


class Line:
    """A connection with the scripts of ``limits``, made ready when it is first used."""

    def __init__(self, redis: RedisUrl) -> None:
        """Take where Redis is; nothing is sent yet."""
        self._storage = RedisStorage(
            f"async+{redis.url}",
            username=redis.username,  # type: ignore[arg-type]  # handed on to redis-py
            password=redis.password,  # type: ignore[arg-type]  # as it is typed
            implementation="redispy",
            key_prefix=PREFIX,
            protocol=2,
            driver_info=None,  # type: ignore[arg-type]  # as it is typed
            max_connections=1,
            retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]  # handed on to redis-py
            socket_timeout=DRIVER_SECONDS,
            socket_connect_timeout=DRIVER_SECONDS,
        )
        pool = self._client.connection_pool
        has_tls = issubclass(pool.connection_class, SSLConnection)
        pool.connection_class = _EncryptedConnection if has_tls else _Connection
        self._limiter = MovingWindowRateLimiter(self._storage)
        self.is_ready = False

    async def ask(self, command: Callable[[MovingWindowRateLimiter], Coroutine[Any, Any, T]]) -> T:
        """Do ``command``. Raises TimeoutError, and whatever the driver does."""
        if not self.is_ready:
            await self._make_ready()
        self.is_ready = False
        began = time.perf_counter()
        answer = await in_time(command(self._limiter))
        REDIS_SECONDS.observe(time.perf_counter() - began)
        self.is_ready = True
        return answer

    async def probe(self) -> None:
        """Do once what is done for a request, for a key that nobody has and that soon goes."""
        self.is_ready = False
        key, once = secrets.token_hex(8), RateLimitItemPerSecond(1)
        await self.ask(lambda limiter: limiter.hit(once, "probe", key))

    async def seconds_ahead(self) -> float:
        """Tell how far Redis's clock is ahead of ours."""
        began = time.time()
        seconds, microseconds = await self._client.time()
        return float(seconds + microseconds / 1e6 - (began + time.time()) / 2)

    async def close(self) -> None:
        """Hang up."""
        await self._client.aclose()

    async def _make_ready(self) -> None:
        """Connect again, and hand over the scripts; each step has its own 50 ms."""
        client, bridge = self._client, self._storage.bridge
        pool = client.connection_pool
        await in_time(pool.disconnect())
        connecting = pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's
        await pool.release(await in_time(connecting))
        await in_time(client.ping())
        for script in (bridge.SCRIPT_ACQUIRE_MOVING_WINDOW, bridge.SCRIPT_MOVING_WINDOW):
            await in_time(client.script_load(script))

    @property
    def _client(self) -> Redis:
        found: Redis = self._storage.bridge.get_connection()  # type: ignore[attr-defined]
        return found


class _EveryAddress(Connection):
    """A connection of redis-py to the first address of a name that answers."""

    _connected: socket.socket

    async def _connect(self) -> None:
        self._connected = await open_socket(
            self.host, self.port, seconds=DRIVER_SECONDS, next_seconds=NEXT_SECONDS
        )
        try:
            await super()._connect()  # type: ignore[no-untyped-call]  # redis-py's
        except BaseException:
            self._connected.close()
            raise

    def _connection_arguments(self) -> Mapping[str, Any]:
        """Name what ``asyncio.open_connection`` is given: a socket in the place of the name."""
        given = dict(super()._connection_arguments())
        host = given.pop("host")
        del given["port"]
        if "ssl" in given:
            given["server_hostname"] = host
        return given | {"sock": self._connected}


class _Connection(_EveryAddress):
    pass


class _EncryptedConnection(_EveryAddress, SSLConnection):
    pass


async def in_time(command: Awaitable[T]) -> T:
    """Wait for Redis, and not for ourselves. Raises TimeoutError, and what ``command`` does."""
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


log = structlog.get_logger("reach.limits")

PROBE_SECONDS = 0.5
#: As many commands are under way at most; who waits for a turn is not waiting for Redis.
LINES = 16


class Shared:
    """The windows that all processes share. It heals by itself.

    While Redis is unavailable nobody waits for it: one task looks every half second whether it is
    back. ``outages`` and ``local_decisions`` (of this outage) are for metrics.
    """

    def __init__(self, redis: RedisUrl) -> None:
        """Take where Redis is; nothing is sent before the first question."""
        self._redis = redis
        self._lines: list[Line] = []
        self._idle: list[Line] = []
        self._turns = asyncio.Semaphore(LINES)
        self._probe: asyncio.Task[None] | None = None
        self.outages = self.local_decisions = 0
        self.is_unavailable = False

    async def close(self) -> None:
        """Hang up."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
            REDIS_UNAVAILABLE.set(0)
        await asyncio.gather(*(line.close() for line in self._lines), return_exceptions=True)

    async def take(
        self, policy: Policy, key: str, known_full: Callable[[], Sequence[Full]]
    ) -> Sequence[Full]:
        """Take one of every window, the shortest first, up to the first that is full.

        Who is refused by a long window has taken of the shorter ones: never too little is
        counted. ``known_full`` spares the question to those who waited for their turn
        meanwhile. Raises RedisAway.
        """
        if self.is_unavailable:
            raise RedisUnavailable
        async with self._turns:
            if self.is_unavailable:
                raise RedisUnavailable
            if full := known_full():
                return full
            line = self._idle.pop() if self._idle else self._new_line()
            outages = self.outages
            try:
                return await self._take(line, policy, key)
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller is served
                if self.outages == outages:
                    self._goes_away(error)
                raise RedisUnavailable from None
            finally:
                self._idle.append(line)

    async def _take(self, line: Line, policy: Policy, key: str) -> Sequence[Full]:
        for window in policy.windows:
            item = _item(window)
            if not await line.ask(lambda limiter, item=item: limiter.hit(item, key)):  # type: ignore[misc]
                return await self._full(line, policy, window, key)
        return ()

    async def _full(self, line: Line, policy: Policy, refused: Window, key: str) -> Sequence[Full]:
        """List the full windows. If Redis goes away now, the refusal stands, for a second."""
        found = []
        try:
            for window in policy.windows:
                item = _item(window)
                stats = await line.ask(
                    lambda limiter, item=item: limiter.get_window_stats(item, key)  # type: ignore[misc]
                )
                if stats.remaining <= 0:
                    # A clock, another's or ours, may be wrong; a window is no longer for that.
                    left = min(max(0.0, stats.reset_time - time.time()), window.seconds)
                    found.append(Full(window, left))
        except Exception as error:  # noqa: BLE001 - whatever it is, this process counts alone
            log.debug("redis refused, and went away", reason=reason_of(error))
            return (Full(refused, 1.0),)
        return tuple(found) or (Full(refused, 0.0),)  # it has got room this very moment

    def _new_line(self) -> Line:
        self._lines.append(Line(self._redis))
        return self._lines[-1]

    def _goes_away(self, error: Exception) -> None:
        self.is_unavailable = True
        REDIS_UNAVAILABLE.set(1)
        self.outages += 1
        self.local_decisions = 0
        nobodys = Context()  # not that of the caller who came first
        nobodys.run(self._tell_away, error)
        self._probe = asyncio.create_task(self._wait_until_back(), context=nobodys)

    @staticmethod
    def _tell_away(error: Exception) -> None:
        log.warning("redis is unavailable: each process counts for itself", reason=reason_of(error))

    async def _wait_until_back(self) -> None:
        line = Line(self._redis)
        try:
            while self.is_unavailable:
                await asyncio.sleep(PROBE_SECONDS)
                try:
                    await line.probe()
                except Exception:  # noqa: BLE001, S112 - still away, which has been logged
                    continue
                for other in self._lines:  # they lead to where Redis was
                    other.is_ready = False
                self.is_unavailable = False
                REDIS_UNAVAILABLE.set(0)
        finally:
            await line.close()
        log.info("redis is back", local_decisions=self.local_decisions)


def reason_of(error: Exception) -> str:
    """Say what is wrong, without what Redis or its driver quote: a command, a URL."""
    code = str(error).partition(" ")[0]
    return f"{type(error).__name__} {code}" if code.isupper() else type(error).__name__


@cache
def _item(window: Window) -> RateLimitItem:
    """Name a window as the library does. There are as many as the settings have."""
    return parse(f"{window.quota} per {window.name.replace('-', ' ')}")
