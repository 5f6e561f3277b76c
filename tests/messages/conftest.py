"""What tests of the outbox share: the outbox itself, on both databases."""

from collections.abc import AsyncIterator

import pytest

from reach.settings import Settings
from tests.support.database.outboxes import Outbox
from tests.support.database.stored import opened


@pytest.fixture
async def outbox(settings: Settings) -> AsyncIterator[Outbox]:
    """Offer an empty outbox."""
    async with opened(settings) as database:
        yield Outbox(database, settings)
