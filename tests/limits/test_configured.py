"""Several processes count together or not at all; `reach check` says whether they can."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reach.settings import Settings
from tests.support.checks import check, failed, finding
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.servers.redis import Redis

MakeSettings = Callable[..., Settings]

LIMITS = ("limit_signups", "limit_api", "limit_failed_keys")
CANARY = "canary-4711-canary-4711"


@pytest.mark.parametrize("left", LIMITS)
def test_several_processes_need_one_count(
    make_settings: MakeSettings, sqlite: str, left: str
) -> None:
    """With any limit per process and no Redis: exit 2, and both remedies."""
    settings = make_settings(database_url=sqlite, port=free_port(), **{left: "5/minute"})
    with ReachProcess("api", "--processes", "2", settings=settings) as process:
        assert process.wait() == 2
        assert "REACH_REDIS_URL" in process.errors
        for name in LIMITS:
            assert f"REACH_{name.upper()}=off" in process.errors
    code, lines = check(settings, REACH_PROCESSES="2")
    assert (code, failed(lines)) == (1, {"redis"})
    assert "REACH_REDIS_URL" in finding(lines, "redis")[2]


@pytest.mark.parametrize("reason", ["redis", "off"])
def test_several_processes_start(
    make_settings: MakeSettings, sqlite: str, redis_url: str, reason: str
) -> None:
    """With a Redis, or with every limit per process lifted; the mail's is in the database."""
    changes = {"redis_url": redis_url, "limit_signups": "5/minute"} if reason == "redis" else {}
    settings = make_settings(database_url=sqlite, port=free_port(), **changes)
    with ReachProcess("api", "--processes", "2", settings=settings) as process:
        process.wait_ready(settings.port)
        assert process.stop() == 0


def test_a_redis_that_will_do(make_settings: MakeSettings, sqlite: str, redis: Redis) -> None:
    """It answers, takes scripts, and its clock's difference is shown; nothing is left in it."""
    code, lines = check(make_settings(database_url=sqlite, redis_url=redis.url))
    assert code == 0, lines
    mark, words, _ = finding(lines, "redis")
    assert (mark, words[:39]) == ("ok", "answers, takes scripts, its clock diffe")
    assert words.endswith(" ms")


def test_without_redis(make_settings: MakeSettings, sqlite: str) -> None:
    """One process counts alone, and all is well."""
    code, lines = check(make_settings(database_url=sqlite, limit_signups="5/minute"))
    assert (code, finding(lines, "redis")[0]) == (0, "ok")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("CONFIG", "SET", "maxmemory", "1"),
        ("ACL", "SETUSER", "default", "-evalsha"),
        ("CONFIG", "SET", "requirepass", "another"),
    ],
    ids=["gone", "full", "no scripts", "password"],
)
def test_a_redis_that_will_not_do(
    make_settings: MakeSettings, sqlite: str, redis: Redis, words: tuple[str, ...]
) -> None:
    """It is a finding with a remedy, and its password is on neither stream."""
    if words:
        redis.do(*words)
    else:
        redis.kill()
    url = redis.url.replace("redis://", f"redis://default:{CANARY}@")
    settings = make_settings(database_url=sqlite, redis_url=url)
    with ReachProcess("check", settings=settings) as process:
        assert process.wait() == 1
        assert CANARY not in process.output + process.errors
        lines = process.output.splitlines()
    assert failed(lines) == {"redis"}
    assert f"* REACH_REDIS_URL=redis://********@127.0.0.1:{redis.port}/0" in lines


def test_up_limits_by_itself(tmp_path: Path) -> None:
    """Who sets nothing has the limits that DESIGN names."""
    settings = Settings(data_dir=tmp_path)
    assert [getattr(settings, name) for name in LIMITS] == [
        "10/minute;100/hour",
        "600/minute",
        "30/minute",
    ]
