"""What callers notice of Redis's outages: `python -m benchmarks.outages`, about 15 seconds.

Sign-ups at an even pace; Redis is broken after a quarter of them, and mended after three.
"""

import asyncio
import secrets
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from benchmarks.load import pace
from reach.db.migrate import migrate
from reach.settings import Settings
from tests.support.processes.commands import api_process
from tests.support.processes.ports import free_port
from tests.support.servers.redis import Redis

SIGN_UPS, PER_SECOND = 200, 80.0

Change = Callable[[Redis], object]


def nothing(_: Redis) -> None:
    """Leave Redis alone."""


OUTAGES: dict[str, tuple[Change, Change]] = {
    "none": (nothing, nothing),
    "killed": (Redis.kill, Redis.start),
    "paused": (Redis.pause, Redis.resume),
    "flushed": (Redis.flush, nothing),
    "out of memory": (
        lambda redis: redis.do("CONFIG", "SET", "maxmemory", "1"),
        lambda redis: redis.do("CONFIG", "SET", "maxmemory", "0"),
    ),
}


def report() -> None:
    """Print a line for each kind of outage."""
    with tempfile.TemporaryDirectory() as folder, Redis.private() as redis:
        settings = Settings(
            data_dir=Path(folder),
            redis_url=SecretStr(redis.url),
            limit_signups="10000000/hour",
            port=free_port(),
        )
        migrate(settings.database)
        with api_process(settings):
            asyncio.run(measure(settings.port, redis, nothing, nothing))  # to warm up
            usual = (0.0, 0.0)
            for name, (breaks, mends) in OUTAGES.items():
                found = asyncio.run(measure(settings.port, redis, breaks, mends))
                usual = found if name == "none" else usual
                added = f"{found[0] - usual[0]:+.1f} ms, {found[1] - usual[1]:+.1f} ms"
                print(
                    f"sign-ups, Redis {name:14}  p50 {found[0]:5.1f} ms, p99 {found[1]:5.1f} ms"
                    f"{'' if name == 'none' else f'  ({added})'}"
                )


async def measure(port: int, redis: Redis, breaks: Change, mends: Change) -> tuple[float, float]:
    """Milliseconds a sign-up takes, p50 and p99. Any answer but a 202 is an error."""
    meanwhile = {SIGN_UPS // 4: partial(breaks, redis), 3 * SIGN_UPS // 4: partial(mends, redis)}
    name = secrets.token_hex(4)
    paced = await pace(port, count=SIGN_UPS, per_second=PER_SECOND, name=name, meanwhile=meanwhile)
    return paced.p50_ms, paced.p99_ms


if __name__ == "__main__":
    report()
