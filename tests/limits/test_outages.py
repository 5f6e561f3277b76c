"""Redis may go away at any moment: no caller notices, and limits go on holding."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from pydantic import SecretStr

from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.http.raw import exchange, request
from tests.support.http.traffic import Traffic, crowd, ports_of, replicas
from tests.support.processes.commands import ReachProcess
from tests.support.servers.redis import Redis

LIMIT, TIMES = 40, 5
AWAY, BACK = "redis is unavailable: each process counts for itself", "redis is back"

BREAK: dict[str, tuple[Callable[[Redis], object], Callable[[Redis], object]]] = {
    "killed": (Redis.kill, Redis.start),
    "paused": (Redis.pause, Redis.resume),
    "flushed": (Redis.flush, lambda _: None),
    "restarted": (Redis.restart, lambda _: None),
}
#: It answers, but does not count.
REFUSE: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "out of memory": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    "read only": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    "no scripts": (
        ("ACL", "SETUSER", "default", "-evalsha", "-eval"),
        ("ACL", "SETUSER", "default", "+evalsha", "+eval"),
    ),
    "a password": (
        ("CONFIG", "SET", "requirepass", "another"),
        ("CONFIG", "SET", "requirepass", ""),
    ),
}


@pytest.fixture
async def two(
    make_settings: Callable[..., Settings], sqlite: str, redis: Redis
) -> AsyncIterator[list[ReachProcess]]:
    """Two replicas, which believe the tests when they say for whom they ask."""
    settings = make_settings(
        database_url=sqlite,
        redis_url=SecretStr(redis.url),
        limit_signups=f"{LIMIT}/hour",
        trusted_proxies="127.0.0.1",
    )
    async with replicas(settings, 2) as processes:
        yield processes


def said(process: ReachProcess) -> list[dict[str, Any]]:
    """What a process's log says of Redis, in order."""
    return [line for line in process.log if line["message"] in (AWAY, BACK)]


async def healed(processes: Sequence[ReachProcess]) -> None:
    """Wait until each that lost Redis has found it again."""
    await eventually(lambda: all(len(said(process)) % 2 == 0 for process in processes))


@pytest.mark.parametrize("how", BREAK)
async def test_an_outage_is_no_callers_affair(
    how: str, two: list[ReachProcess], redis: Redis
) -> None:
    """In the middle of traffic, five times each: nobody gets a 5xx.

    Each outage lets in no more than the limit once more for each replica; it is told once
    when it begins and once when it is over, with the number of what was decided without Redis.
    """
    breaks, mends = BREAK[how]
    for time in range(TIMES):
        async with Traffic.flowing(ports_of(two), f"192.0.2.{time}") as traffic:
            await eventually(lambda: traffic.statuses[202] >= LIMIT // 4, every=0.001)
            breaks(redis)
            await traffic.goes_on()
            mends(redis)
            await healed(two)
            await eventually(lambda: traffic.statuses[429] > LIMIT)
        assert set(traffic.statuses) == {202, 429}
        assert LIMIT <= traffic.statuses[202] <= LIMIT + len(two) * LIMIT
        # Better than promised: what Redis forgets, each replica remembers of its own.
        assert traffic.statuses[202] <= len(two) * LIMIT
    for process in two:
        assert [line["message"] for line in said(process)] == [AWAY, BACK] * (
            len(said(process)) // 2
        )
        assert len(said(process)) <= 2 * TIMES
        assert "192.0.2." not in process.output


@pytest.mark.parametrize("how", REFUSE)
async def test_a_redis_that_refuses_is_unavailable(
    how: str, two: list[ReachProcess], redis: Redis
) -> None:
    """Each replica then holds the limit alone, and asks Redis again once it takes scripts."""
    breaks, mends = REFUSE[how]
    assert await crowd(ports_of(two), 10, "192.0.2.1") == Counter({202: 10})
    redis.do(*breaks)
    if how == "a password":
        redis.do("CLIENT", "KILL", "TYPE", "normal")
    statuses = await crowd(ports_of(two), 200, "192.0.2.1")
    assert set(statuses) == {202, 429}
    assert statuses[202] == 2 * LIMIT - 10
    for process in two:
        assert [line["message"] for line in said(process)] == [AWAY]
    redis.do(*mends)
    await healed(two)
    for process in two:
        away, back = said(process)
        assert away["event"]["reason"]
        assert back["reach"]["limits"]["local_decisions"]
        assert not {"trace", "span"} & {*away, *back}  # they are no one caller's
    counted: Counter[int] = Counter()
    for number in range(2, 6):
        before = [len(said(process)) for process in two]
        counted = await crowd(ports_of(two), 200, f"192.0.2.{number}")
        if [len(said(process)) for process in two] == before:
            break
        await healed(two)  # a busy machine's was too slow, which each has said
    assert counted == Counter({202: LIMIT, 429: 160})


async def test_a_redis_that_is_not_there_yet(
    make_settings: Callable[..., Settings], sqlite: str, redis: Redis
) -> None:
    """It may come later than those who share it."""
    redis.kill()
    settings = make_settings(
        database_url=sqlite, redis_url=SecretStr(redis.url), limit_signups=f"{LIMIT}/hour"
    )
    async with replicas(settings, 1) as processes:
        (port,) = ports_of(processes)
        assert await crowd([port], 10) == Counter({202: 10})
        assert (await exchange(port, request("/readyz", method="GET"))).status == 200
        redis.start()
        await healed(processes)
        assert await crowd([port], 100) == Counter({202: LIMIT - 10, 429: 110 - LIMIT})
