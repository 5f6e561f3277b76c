"""The rights that the cache's values leave us, tried on a real Redis (Valkey has the same ACL)."""

from collections.abc import Callable

import pytest
from redis import Redis as Client
from redis.exceptions import NoPermissionError

from reach.settings import Settings
from tests.support.checks import check, finding
from tests.support.deploy.platform import values
from tests.support.processes.reach import running_reach
from tests.support.servers.redis import Redis

PASSWORD = "a-password-of-the-secret"


async def test_the_rights_are_enough_and_no_more(
    make_settings: Callable[..., Settings], sqlite: str, redis: Redis
) -> None:
    """Limits are counted there with no command refused; nobody can empty it or change it."""
    valkey = values("valkey.yaml")
    rights = valkey["auth"]["aclUsers"]["default"]["permissions"].split()
    redis.do("ACL", "SETUSER", "default", "reset", "on", f">{PASSWORD}", *rights)
    for line in valkey["extraConfig"].splitlines():
        name, value = line.split(" ", 1)
        redis.do("CONFIG", "SET", name, value.strip('"'))
    url = redis.url.replace("redis://", f"redis://default:{PASSWORD}@")
    settings = make_settings(database_url=sqlite, redis_url=url, limit_signups="1/minute")
    async with running_reach(settings) as reach:
        codes = [(await reach.sign_up(f"ada-{n}@example.com")).status_code for n in range(2)]
    assert codes == [202, 429]
    code, lines = check(settings)
    assert (code, finding(lines, "redis")[0]) == (0, "ok")
    assert redis.do("DBSIZE") > 0, "it was not counted there"
    refusals = [dict(zip(one[::2], one[1::2], strict=True)) for one in redis.do("ACL", "LOG")]
    assert [one[b"object"] for one in refusals] == []
    with Client.from_url(url, protocol=2) as client:
        for refused in (("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("SHUTDOWN",)):
            with pytest.raises(NoPermissionError):
                client.execute_command(*refused)
