"""An outage, from the first failure to the last resolved alert, as a real Prometheus sees it.

The rules are the shipped ones, a hundred and twenty times as fast (see ``scaled``).
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from reach.settings import Settings
from tests.support.eventually import eventually
from tests.support.mail import MailServer
from tests.support.redis import Redis
from tests.support.telemetry.watched import PATIENCE_SECONDS, Watched, watched

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def mailing(
    make_settings: Callable[..., Settings], sqlite: str, mail_server: MailServer
) -> Settings:
    """Settings for processes that share a database and send to ``mail_server``."""
    return make_settings(database_url=sqlite, smtp_url=SecretStr(mail_server.url))


async def test_an_outage_of_mail_fires_its_alert_and_no_other_and_its_end_resolves_it(
    mailing: Settings, mail_server: MailServer, tmp_path: Path
) -> None:
    """Ten minutes after the mail server vanishes one alert fires, and nothing else does, ever.

    The same rules without their quieting would have told of mail that is late, and of an outbox
    that is stuck: there was something to be quiet about.
    """
    async with watched(mailing, tmp_path) as now:
        await mail_server.stop()
        await fires(now, "ReachCircuitBreakerOpen")
        await fires(now, "LoudReachOutboxStuck")
        waiting = set(now.accepted)
        await mail_server.start()
        await eventually(lambda: waiting <= received(mail_server), PATIENCE_SECONDS)
        await fires(now, "LoudReachMailLate")
        await fires(now)
        # So long the traces of an outage are looked for in the windows of the quickest alert.
        quiet = "last_over_time(reach:mail_explained:told[7500ms])"
        await eventually(lambda: is_over(now, quiet), PATIENCE_SECONDS, every=0.1)
        assert shipped(await now.ever_fired()) == {"ReachCircuitBreakerOpen"}
        assert await now.value("reach:circuit_breakers_open:count") == 0
        last = set(now.accepted)
    await eventually(lambda: last <= received(mail_server), PATIENCE_SECONDS)


async def test_an_outage_of_redis_fires_its_alert_and_no_other_and_its_end_resolves_it(
    mailing: Settings, redis: Redis, tmp_path: Path
) -> None:
    """Nobody who signs up notices, and one ticket says so."""
    counted = {"redis_url": SecretStr(redis.url), "limit_signups": "100000/minute"}
    async with watched(mailing.model_copy(update=counted), tmp_path) as now:
        redis.stop()
        await fires(now, "ReachRedisUnavailable")
        redis.start()
        await fires(now)
        assert await now.ever_fired() == {"ReachRedisUnavailable"}


async def fires(now: Watched, alert: str = "") -> None:
    """Wait until this fires; without a name, until nothing that is shipped does."""

    async def is_so() -> bool:
        firing = await now.firing()
        return alert in firing if alert else not shipped(firing)

    await eventually(is_so, PATIENCE_SECONDS, every=0.1)


async def is_over(now: Watched, expression: str) -> bool:
    """Whether an expression gives nothing any more."""
    return await now.value(expression) is None


def shipped(alerts: set[str]) -> set[str]:
    """Leave those out that only the test has."""
    return {name for name in alerts if not name.startswith("Loud")}


def received(server: MailServer) -> set[str]:
    """To whom mail has come."""
    return {mail.recipient for mail in server.messages}
