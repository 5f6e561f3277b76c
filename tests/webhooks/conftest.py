"""What tests of webhooks ask for: settings that let them lead to loopback, and a receiver there."""

from collections.abc import AsyncIterator

import pytest

from reach.settings import Settings
from tests.support.servers.receiver import Receiver


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings on both databases that let webhooks lead to loopback."""
    return settings.model_copy(update={"webhook_allow": "127.0.0.0/8"})


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Offer a receiver that takes everything."""
    async with Receiver() as running:
        yield running
