"""A Redis with a dead address: limits are counted together all the same, by another address."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.exceptions import RedisError

from reach.limits.redis import Line
from reach.settings import Settings
from reach.settings.urls import RedisUrl
from tests.support.clock import eventually
from tests.support.http.traffic import crowd, ports_of, replicas
from tests.support.network import OTHERS, DeadAddress, environment_with, hosts, tls_front
from tests.support.servers.mail import Authority
from tests.support.servers.redis import Redis

MakeSettings = Callable[..., Settings]

NAME, ALIVE = "redis.test", "127.0.0.1"
CALLERS, LIMIT = 200, 37


async def is_usable(url: str) -> bool:
    """Whether a new connection can count there, each of its steps within 50 ms."""
    line = Line(RedisUrl.parse(url))
    try:
        await line.probe()
    except (TimeoutError, OSError, RedisError):
        return False
    finally:
        await line.close()
    return True


@pytest.mark.parametrize("dead", OTHERS)
async def test_processes_count_together_by_another_address(
    dead: str, make_settings: MakeSettings, sqlite: str, redis: Redis, tmp_path: Path
) -> None:
    """Two that start while an address is dead admit the limit between them."""
    url = redis.url.replace(ALIVE, NAME)
    settings = make_settings(
        database_url=sqlite, redis_url=SecretStr(url), limit_signups=f"{LIMIT}/hour"
    )
    knows = environment_with(tmp_path / "start", {NAME: (dead, ALIVE)})
    with DeadAddress(dead, redis.port):
        async with replicas(settings, 2, environment=knows) as processes:
            for port in ports_of(processes):  # on a busy machine 50 ms may be over all the same
                assert (await crowd([port], 1)).total() == 1
            await eventually(lambda: all(_counts(process.output) for process in processes))
            statuses = await crowd(ports_of(processes), CALLERS)
            assert all(_counts(process.output) for process in processes)
            assert statuses == Counter({202: LIMIT - 2, 429: CALLERS - LIMIT + 2})


def _counts(output: str) -> bool:
    """Whether a process says that it has Redis."""
    return output.count("redis is unavailable") == output.count("redis is back")


async def test_however_many_are_dead(redis: Redis) -> None:
    """What did not answer is tried last, so that each try gets further."""
    dead = [f"127.0.0.{number}" for number in range(2, 8)]
    with ExitStack() as stack:
        for address in dead:
            stack.enter_context(DeadAddress(address, redis.port))
        stack.enter_context(hosts({NAME: (*dead, ALIVE)}))
        await eventually(lambda: is_usable(redis.url.replace(ALIVE, NAME)))


async def test_tls_is_with_the_name(
    redis: Redis, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``rediss://``: the name's certificate is taken, that of the address is not."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with hosts({NAME: ("127.0.0.2", ALIVE)}):
        async with tls_front(redis.port, authority.certify(NAME)) as port:
            with DeadAddress("127.0.0.2", port):
                await eventually(lambda: is_usable(f"rediss://{NAME}:{port}/0"))
        async with tls_front(redis.port, authority.certify(ALIVE)) as port:
            line = Line(RedisUrl.parse(f"rediss://{NAME}:{port}/0"))

            async def is_refused() -> bool:
                try:
                    await line.probe()
                except TimeoutError:  # a busy machine
                    return False
                except RedisError as error:
                    return "certificate" in str(error).lower()
                raise AssertionError("another name's certificate was taken")

            await eventually(is_refused)
            await line.close()
