"""One connection to Redis, and how long it may take to answer."""

import asyncio
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from reach.network.sockets import open_socket
from reach.telemetry.metrics import REDIS_SECONDS
from reach.urls import RedisUrl

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
            password=redis.password,  # type: ignore[arg-type]  # likewise
            implementation="redispy",
            key_prefix=PREFIX,
            protocol=2,
            driver_info=None,  # type: ignore[arg-type]  # likewise
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
        """Connect anew, and hand over the scripts; each step has its own 50 ms."""
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
