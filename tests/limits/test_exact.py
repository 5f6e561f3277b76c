"""Limits are exact: for one process in memory, and for several that share a Redis."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis as Client

from reach.limits.limiter import Limiter
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.http.traffic import crowd, ports_of, replicas
from tests.support.servers.redis import Redis
from tests.support.telemetry.metrics import Since

MakeSettings = Callable[..., Settings]

CALLERS, LIMIT = 1000, 37
#: Redis has 50 ms to answer, and on a busy machine may take longer. What is counted apart
#: meanwhile (test_outages) is counted together the next time.
TRIES = 5
FALLBACKS = "reach_limiter_fallbacks_total"


@pytest.fixture
def alone(make_settings: MakeSettings, sqlite: str) -> Settings:
    """One process's settings, which count in memory."""
    return make_settings(
        database_url=sqlite, limit_signups=f"{LIMIT}/hour", max_connections=2 * CALLERS
    )


async def together(settings: Settings, redis_url: str, *callers: int) -> list[Counter[int]]:
    """Sign up at two processes that count together: how each crowd, one by one, was answered."""
    shared = settings.model_copy(update={"redis_url": SecretStr(redis_url)})
    for _ in range(TRIES):
        with Client.from_url(redis_url) as client:
            client.flushdb()
        async with replicas(shared, 2) as processes:
            statuses = [await crowd(ports_of(processes), count) for count in callers]
            if not any("redis is unavailable" in process.output for process in processes):
                return statuses
    raise AssertionError(f"each of {TRIES} times Redis was late")


async def test_one_process_admits_the_limit(alone: Settings) -> None:
    """Of 1,000 at once: exactly as many."""
    async with replicas(alone, 1) as processes:
        statuses = await crowd(ports_of(processes), CALLERS)
    assert statuses == Counter({202: LIMIT, 429: CALLERS - LIMIT})


async def test_two_processes_admit_the_limit_together(alone: Settings, redis_url: str) -> None:
    """Of 1,000 at once, 500 at each: exactly as many; and no more of those who come after."""
    first, later = await together(alone, redis_url, CALLERS, 50)
    assert first == Counter({202: LIMIT, 429: CALLERS - LIMIT})
    assert later == Counter({429: 50})


@pytest.mark.parametrize("policy", ["9/hour;50/day", "50/hour;9/day", "50/minute;20/hour;9/day"])
async def test_no_window_is_exceeded(
    alone: Settings, redis_url: str, policy: str, subtests: pytest.Subtests
) -> None:
    """Of several windows in one policy the narrowest holds, in memory and in Redis."""
    limited = alone.model_copy(update={"limit_signups": policy})
    with subtests.test(redis=False):
        async with replicas(limited, 1) as processes:
            assert await crowd(ports_of(processes), 100) == Counter({202: 9, 429: 91})
    with subtests.test(redis=True):
        assert await together(limited, redis_url, 100) == [Counter({202: 9, 429: 91})]


class Held:
    """A coroutine that goes on as usual until ``is_far_enough``, and then waits for ``go_on``."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        is_far_enough: Callable[[], object],
        go_on: asyncio.Event,
    ) -> None:
        self._coroutine, self._is_far_enough, self._go_on = coroutine, is_far_enough, go_on

    def __await__(self) -> Generator[Any, Any, Any]:
        """Hand on what it waits for."""
        while True:
            try:
                waited_for = self._coroutine.send(None)
            except StopIteration as end:
                return end.value
            yield waited_for
            if self._is_far_enough():
                yield from self._go_on.wait().__await__()


async def overtaken(settings: Settings, client: Client) -> tuple[Any, Any] | None:
    """Have two come at once, the first of whom Redis admits and who hears of it last.

    Gives their refusals; None if Redis was late, and each was counted here alone.
    """
    client.flushdb()
    fallbacks, go_on = Since(), asyncio.Event()
    limiter = Limiter(settings, str.casefold)

    async def admitted() -> Any:
        hit = limiter.hit("signups", "a")
        return await Held(hit, lambda: client.keys("reach*"), go_on)

    first = asyncio.create_task(admitted())
    await eventually(lambda: client.keys("reach*") or first.done())
    second = await limiter.hit("signups", "a")
    go_on.set()
    refusal = await first
    await limiter.close()
    return None if fallbacks.of(FALLBACKS) else (refusal, second)


async def test_who_was_given_a_place_has_it_though_a_refusal_is_heard_of_first(
    make_settings: MakeSettings, redis_url: str
) -> None:
    """Two at once, on two connections: Redis admits one, and we hear first that it is full."""
    settings = make_settings(redis_url=SecretStr(redis_url), limit_signups="1/hour")
    with Client.from_url(redis_url) as client:
        for _ in range(TRIES):
            if (found := await overtaken(settings, client)) is not None:
                refusal, second = found
                assert refusal is None
                assert second is not None
                return
    raise AssertionError(f"each of {TRIES} times Redis was late")


async def test_who_is_refused_by_a_short_window_takes_nothing_of_a_long_one(
    alone: Settings, redis_url: str
) -> None:
    """However the policy is written: a refusal costs no place of the window that has room."""
    changes = {"redis_url": SecretStr(redis_url), "limit_signups": "9/hour;1/minute"}
    async with replicas(alone.model_copy(update=changes), 2) as processes:
        first, second = ports_of(processes)
        assert await crowd([first], 1) == Counter({202: 1})
        assert await crowd([second], 1) == Counter({429: 1})
    with Client.from_url(redis_url) as client:
        assert [client.llen(key) for key in client.keys("reach*")] == [1, 1]


async def test_a_replica_knows_what_another_admitted(alone: Settings, redis_url: str) -> None:
    """One after the other, too; and clients do not meet."""
    shared = alone.model_copy(
        update={"redis_url": SecretStr(redis_url), "trusted_proxies": "127.0.0.1"}
    )
    async with replicas(shared, 2) as processes:
        first, second = ports_of(processes)
        assert await crowd([first], LIMIT - 1, "192.0.2.1") == Counter({202: LIMIT - 1})
        assert await crowd([second], 3, "192.0.2.1") == Counter({202: 1, 429: 2})
        assert await crowd([second], 3, "192.0.2.2") == Counter({202: 3})


async def test_redis_is_told_no_address(alone: Settings, redis_url: str, tmp_path: Path) -> None:
    """Keys are digests, and go by themselves."""
    shared = alone.model_copy(update={"redis_url": SecretStr(redis_url), "data_dir": tmp_path})
    async with replicas(shared, 1) as processes:
        await crowd(ports_of(processes), 1)
    with Client.from_url(redis_url) as client:
        keys = client.keys("reach*")
        assert len(keys) == 1
        assert b"127.0.0.1" not in keys[0]
        assert 0 < client.ttl(keys[0]) <= 3600


async def test_a_flood_costs_no_question(alone: Settings, redis: Redis) -> None:
    """Who was refused once is refused from memory until the window has room."""

    def questions() -> int:
        stats: dict[str, dict[str, int]] = redis.do("INFO", "commandstats")
        return stats["cmdstat_evalsha"]["calls"]

    shared = alone.model_copy(update={"redis_url": SecretStr(redis.url)})
    async with replicas(shared, 1) as processes:
        assert (await crowd(ports_of(processes), LIMIT + 1))[429] == 1
        asked = questions()
        assert await crowd(ports_of(processes), 100) == Counter({429: 100})
        assert questions() == asked
