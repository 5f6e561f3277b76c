"""A maker who hears of each sign-up, on both databases."""

from collections.abc import AsyncIterator

import pytest

from reach.db.database import Database
from reach.people.notices import begin
from reach.runtime.process import opened
from reach.settings import Settings
from tests.support.notices import MAKER
from tests.support.processes.reach import Reach, running_reach


@pytest.fixture
def heard(settings: Settings) -> Settings:
    """Settings on both databases by which the maker hears of each sign-up."""
    return settings.model_copy(update={"notify": MAKER})


@pytest.fixture
async def stored(heard: Settings) -> AsyncIterator[Database]:
    """A database that has begun to count for the maker."""
    async with opened(heard) as database:
        await database.write(begin, heard)
        yield database


@pytest.fixture
async def site(mailing: Settings) -> AsyncIterator[Reach]:
    """Reach with a maker who hears; no worker yet."""
    async with running_reach(mailing.model_copy(update={"notify": MAKER})) as running:
        yield running
