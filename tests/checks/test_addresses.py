"""`reach check` names each address that does not answer, even where another one does."""

from collections.abc import Callable
from pathlib import Path

import anyio.to_thread
import pytest
from pydantic import SecretStr

from reach.checks.servers import check_addresses, servers_of
from reach.settings import Settings
from tests.support.network import OTHERS, DeadAddress, environment_with, hosts
from tests.support.processes.commands import ReachProcess
from tests.support.servers.mail import MailServer

MakeSettings = Callable[..., Settings]

NAME, ALIVE = "mail.localhost", "127.0.0.1"


@pytest.fixture
def settings_with(make_settings: MakeSettings, mail_server: MailServer) -> Callable[..., Settings]:
    """Make settings whose mail server has a name."""

    def make(**changes: object) -> Settings:
        url = mail_server.url.replace(ALIVE, NAME)
        return make_settings(**{"smtp_url": SecretStr(url), **changes})

    return make


@pytest.mark.parametrize("dead", OTHERS)
async def test_a_dead_address_is_named_beside_one_that_works(
    dead: str, settings_with: Callable[..., Settings], mail_server: MailServer
) -> None:
    """As advice: mail leaves all the same."""
    with DeadAddress(dead, mail_server.port), hosts({NAME: (dead, ALIVE)}):
        finding = await check_addresses(settings_with())
    shown = f"[{dead}]:{mail_server.port}" if ":" in dead else f"{dead}:{mail_server.port}"
    alive = f"{ALIVE}:{mail_server.port}"
    assert finding.words == f"smtp {shown} does not answer, {alive} answers"
    assert finding.remedy == ""
    assert finding.advice.startswith(f"For smtp, {shown} does not answer. ")
    assert finding.advice.endswith(f"says of {NAME}.")


async def test_an_address_that_refuses_is_no_fault_beside_one_that_works(
    settings_with: Callable[..., Settings], mail_server: MailServer
) -> None:
    """``localhost``, say, where a server listens on 127.0.0.1 alone: nobody waits for it."""
    with hosts({NAME: ("127.0.0.9", ALIVE)}):
        finding = await check_addresses(settings_with())
    port = mail_server.port
    assert finding.words == f"smtp 127.0.0.9:{port} refuses, {ALIVE}:{port} answers"
    assert (finding.remedy, finding.advice) == ("", "")


@pytest.mark.parametrize("dead", OTHERS)
async def test_a_server_that_no_address_leads_to(
    dead: str, settings_with: Callable[..., Settings], mail_server: MailServer
) -> None:
    """Each address is named, with what is wrong with it; or the name, if it has none."""
    port = mail_server.port
    with DeadAddress(dead, port), hosts({NAME: (dead, "127.0.0.9")}):
        finding = await check_addresses(settings_with())
    assert finding.words == "smtp has none that takes connections"
    assert f"{port}: no answer in " in finding.advice
    assert f"127.0.0.9:{port}: Connection refused" in finding.advice
    with hosts({NAME: ()}):
        finding = await check_addresses(settings_with())
    assert finding.words == "smtp has none"
    assert finding.remedy == ""
    assert finding.advice == (
        f"For smtp, the name {NAME} cannot be looked up: Name or service not known."
    )


def test_each_server_of_the_settings_is_tried(make_settings: MakeSettings) -> None:
    """Every host of a list, and what is behind a pooler; not what is on this machine's disk."""
    settings = make_settings(
        database_url="postgresql://ada@/reach?host=one.test:5433&host=two.test:5432&host=/run/p:5432",
        redis_url=SecretStr("rediss://cache.test/0"),
        smtp_url=SecretStr("smtps://mail.test"),
    )
    assert [tuple(server) for server in servers_of(settings)] == [
        ("database", "one.test", 5433),
        ("database", "two.test", 5432),
        ("redis", "cache.test", 6379),
        ("smtp", "mail.test", 465),
    ]
    pooled = make_settings(
        database_url="postgresql://ada@pooler.test:6432/reach",
        database_direct_url=SecretStr("postgresql://ada@db.test/reach"),
    )
    assert [tuple(server) for server in servers_of(pooled)] == [
        ("database", "pooler.test", 6432),
        ("direct database", "db.test", 5432),
    ]
    assert list(servers_of(make_settings())) == []


async def test_the_command_says_it(
    settings_with: Callable[..., Settings],
    mail_server: MailServer,
    sqlite: str,
    tmp_path: Path,
) -> None:
    """As a line of its own, with what to do; the exit code is that of a check that is well."""
    knows = environment_with(tmp_path / "start", {NAME: (OTHERS[0], ALIVE)})

    def run() -> tuple[int, str]:
        settings = settings_with(database_url=sqlite)
        with ReachProcess("check", settings=settings, environment=knows) as process:
            return process.wait(60), process.output

    with DeadAddress(OTHERS[0], mail_server.port):
        code, output = await anyio.to_thread.run_sync(run)
    assert code == 0, output
    assert "ok addresses: smtp " in output
    assert "   For smtp, " in output
    assert "lets us in" in output
