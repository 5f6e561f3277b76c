"""Each server has a dead address: who signs up gets an email, and soon."""

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.network import OTHERS, DeadAddress, environment_with
from tests.support.processes.commands import ReachProcess
from tests.support.processes.ports import free_port
from tests.support.processes.reach import ADA
from tests.support.processes.running import client, running_api
from tests.support.servers.mail import MailServer
from tests.support.servers.redis import Redis

ALIVE, DEAD = "127.0.0.1", OTHERS[0]
NAMES = dict.fromkeys(("db.localhost", "redis.localhost", "mail.localhost"), (DEAD, ALIVE))
#: By far less than what one address costs that is waited for.
SOON_SECONDS = 10


def said(process: ReachProcess) -> int:
    """Count the addresses that did not answer."""
    return process.errors.count("an address does not answer")


async def test_the_email_comes_although_an_address_of_each_server_is_dead(
    make_settings: Callable[..., Settings],
    postgres: str,
    redis: Redis,
    mail_server: MailServer,
    tmp_path: Path,
) -> None:
    """Database, Redis and mail server, by the one process that has all of them."""
    settings = make_settings(
        port=free_port(),
        database_url=postgres.replace(ALIVE, "db.localhost"),
        redis_url=SecretStr(redis.url.replace(ALIVE, "redis.localhost")),
        smtp_url=SecretStr(mail_server.url.replace(ALIVE, "mail.localhost")),
        limit_signups="100/hour",
        smtp_greeting_seconds=300,
    )
    knows = environment_with(tmp_path / "start", NAMES)
    with (
        DeadAddress(DEAD, urlsplit(postgres).port or 0),
        DeadAddress(DEAD, redis.port),
        DeadAddress(DEAD, mail_server.port),
    ):
        async with (
            running_api(settings, "up", environment=knows) as process,
            client(settings) as http,
        ):
            began = time.monotonic()
            assert (await http.get("/readyz")).status_code == 200
            answer = await http.post("/v1/signups", json=ADA)
            assert answer.status_code == 202, answer.text
            await eventually(lambda: mail_server.recipients == [ADA["email"]], SOON_SECONDS)
            assert time.monotonic() - began < SOON_SECONDS
            # The log is written beside what it tells of.
            await eventually(lambda: said(process) == len(NAMES))
