"""Decisions of the limiter are counted, and that Redis is unavailable is seen."""

from collections.abc import AsyncIterator, Callable

import pytest
from pydantic import SecretStr

from reach.auth import keys
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.processes.reach import ADA, Reach, running_reach
from tests.support.servers.redis import Redis
from tests.support.telemetry.metrics import Since, value

DECISIONS, BY = "reach_limiter_decisions_total", ("policy", "decision")
AWAY, FALLBACKS = "reach_redis_unavailable", "reach_limiter_fallbacks_total"
SECONDS = "reach_redis_request_duration_seconds"


@pytest.fixture
async def reach(make_settings: Callable[..., Settings], sqlite: str) -> AsyncIterator[Reach]:
    """Reach, with narrow limits of each kind."""
    limits = {"limit_signups": "2/hour", "limit_api": "3/hour", "limit_failed_keys": "1/hour"}
    async with running_reach(make_settings(database_url=sqlite, **limits)) as running:
        yield running


async def test_decisions_are_counted_by_policy(reach: Reach) -> None:
    """What was admitted and what was refused, of strangers, with a key and with a wrong one."""
    since, key = Since(), await reach.key()
    for _ in range(5):
        await reach.http.post("/v1/signups", json=ADA)
        await reach.http.get("/v1/people", headers=key)
    wrong = {"Authorization": f"Bearer {keys.generate()}"}
    for _ in range(3):
        await reach.http.get("/v1/people", headers=wrong)
    found = since.all_of(DECISIONS, *BY)
    assert found == {
        ("signups", "admitted"): 2,
        ("signups", "refused"): 3,
        ("api", "admitted"): 3 + 1,  # whether a key is known is asked once it may call
        ("api", "refused"): 2,
        ("failed_keys", "admitted"): 1,
        ("failed_keys", "refused"): 2,
    }
    assert since.of(FALLBACKS) == since.of(f"{SECONDS}_count") == 0


async def test_what_is_not_limited_is_no_decision(
    make_settings: Callable[..., Settings], sqlite: str
) -> None:
    """A limit that is off decides nothing."""
    async with running_reach(make_settings(database_url=sqlite)) as reach:
        since = Since()
        await reach.http.post("/v1/signups", json=ADA)
        assert since.all_of(DECISIONS, *BY) == {}


# The driver has another name for an argument of ours: here a warning would be an error of Redis's.
@pytest.mark.filterwarnings("ignore:Call to '__init__' function:DeprecationWarning")
async def test_that_redis_is_unavailable_is_seen(
    make_settings: Callable[..., Settings], sqlite: str, redis: Redis
) -> None:
    """How long it took to answer while it did, each decision without it, and its return."""
    settings = make_settings(
        database_url=sqlite, redis_url=SecretStr(redis.url), limit_signups="100/hour"
    )
    async with running_reach(settings) as reach:
        since = Since()

        async def redis_decided() -> bool:
            """Ask; on a busy machine Redis may be too slow the first time."""
            asked = since.of(f"{SECONDS}_count")
            await reach.http.post("/v1/signups", json=ADA)
            return value(AWAY) == 0 and since.of(f"{SECONDS}_count") > asked

        await eventually(redis_decided, 30, every=0.2)
        assert since.of(f"{SECONDS}_sum") > 0
        redis.kill()
        alone = since.of(FALLBACKS)
        for _ in range(3):
            await reach.http.post("/v1/signups", json=ADA)
        assert (value(AWAY), since.of(FALLBACKS) - alone) == (1, 3)
        redis.start()
        await eventually(lambda: value(AWAY) == 0, 30)
        await eventually(redis_decided, 30, every=0.2)
        assert since.all_of(DECISIONS, "decision").keys() == {"admitted"}
