"""The pages in an app of their own."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from reach.settings import Settings
from tests.support.processes.reach import Reach, running_reach
from tests.support.site import Site, site_in


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[..., Site]:
    """Make the pages; takes settings by name."""
    return partial(site_in, tmp_path)


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """The pages, as settings make them by default."""
    return make_site()


@pytest.fixture
async def limited(sqlite: str, make_settings: Callable[..., Settings]) -> AsyncIterator[Reach]:
    """Reach, where one form an hour is enough."""
    async with running_reach(make_settings(database_url=sqlite, limit_signups="1/hour")) as reach:
        yield reach
