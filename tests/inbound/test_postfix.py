"""A real Postfix makes the bounce, and hands it to us by LMTP."""

from collections.abc import Iterator, Mapping

import pytest
from pydantic import SecretStr

from reach.db.database import Database
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.locks import ROWS_OF_MESSAGES, held
from tests.support.database.stored import all_sent, sign_up
from tests.support.inbound import states, suppressed, taking_reports
from tests.support.processes.ports import free_port
from tests.support.processes.reach import running_worker
from tests.support.servers.postfix import Postfix, postfix

MAIL = "mail.example.org"
#: Who waits for a second try has it within seconds. The wait must be longer than a try takes: while
#: one is under way, Postfix passes the mail over, and forgets it for a while.
AGAIN = {"queue_run_delay": "1s", "minimal_backoff_time": "2s", "maximal_backoff_time": "2s"}


def inline(rows: Mapping[str, str]) -> str:
    """Write a table of Postfix's."""
    return f"inline:{{ {', '.join(f'{{{key}={value}}}' for key, value in rows.items())} }}"


@pytest.fixture(scope="module")
def port() -> int:
    """Where reports come in, in each of these tests."""
    return free_port()


@pytest.fixture(scope="module")
def server(port: int) -> Iterator[Postfix]:
    """Offer a Postfix that has nobody at example.com, and gives us what comes to MAIL."""
    ways = {MAIL: f"lmtp:inet:127.0.0.1:{port}", "gone.example": "error:5.1.1 Nobody of that name"}
    # Else it would say so before it took the mail.
    aliases = {"@example.com": "@gone.example"}
    with postfix(
        transport_maps=inline(ways),
        virtual_alias_maps=inline(aliases),
        recipient_delimiter="+",
        **AGAIN,
    ) as running:
        yield running


@pytest.fixture
def settings(settings: Settings, port: int, server: Postfix) -> Settings:
    """Settings that send by that Postfix, and soon give the database up."""
    return settings.model_copy(
        update={
            "smtp_url": SecretStr(server.url),
            "mail_from": f"reach@{MAIL}",
            "return_path": f"bounces@{MAIL}",
            "inbound_bind": f"lmtp://127.0.0.1:{port}",
            "database_seconds": 0.5,
        }
    )


async def test_a_bounce_of_postfix_ends_in_its_state_and_in_a_suppression(
    settings: Settings, database: Database, server: Postfix
) -> None:
    """One that the database cannot take waits in Postfix's queue, and comes again."""
    await sign_up(database, settings, "ada@example.com")
    async with running_worker(settings):
        await all_sent(database)
    # Nobody took the report, so far; now nobody can write it down.
    already = server.log.count("451 4.3.0")
    async with taking_reports(settings, database):
        async with held(settings, ROWS_OF_MESSAGES):
            await eventually(lambda: server.log.count("451 4.3.0") > already)
            assert await states(database) == ["sent"]

        async def is_suppressed() -> bool:
            return await suppressed(database) == ["ada@example.com"]

        await eventually(is_suppressed, 20)
        assert await states(database) == ["bounced"]
