"""The console of a running Reach."""

from collections.abc import AsyncIterator, Callable

import pytest

from reach.settings import Settings
from tests.support.console import Console, at_console
from tests.support.processes.reach import Reach, running_reach


@pytest.fixture
async def here(sqlite: str, make_settings: Callable[..., Settings]) -> AsyncIterator[Reach]:
    """Reach, on one database: for what is no database's matter."""
    async with running_reach(make_settings(database_url=sqlite)) as reach:
        yield reach


@pytest.fixture
async def console(here: Reach) -> AsyncIterator[Console]:
    """Somebody who is signed in, with every scope."""
    async with at_console(here) as console:
        yield console
