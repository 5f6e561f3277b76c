"""What the tests of the promises share: settings that lead to the mail server, a database."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from reach.db.database import Database
from reach.settings import Settings
from tests.support.mail import MailServer
from tests.support.ports import free_port
from tests.support.promises.stored import opened

#: Short, because what a dead worker held is waited for; long enough for a busy machine.
LEASE_SECONDS = 2.0


@pytest.fixture
def mailing(settings: Settings, mail_server: MailServer) -> Settings:
    """Settings on both databases whose mail goes to ``mail_server``, with a port of their own."""
    return settings.model_copy(
        update={
            "smtp_url": SecretStr(mail_server.url),
            "port": free_port(),
            "lease_seconds": LEASE_SECONDS,
        }
    )


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """Offer the database itself, to promise by and to look into."""
    async with opened(settings) as database:
        yield database
