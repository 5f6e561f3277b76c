"""A client of each kind, of a real Reach on each database."""

from collections.abc import AsyncIterator, Callable

import pytest

from reach.settings import Settings
from tests.support.clients import Kind, Using, key_of, using
from tests.support.processes.reach import Reach, running_reach


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Run the test twice, with a client of each kind."""
    found: Kind = request.param
    return found


@pytest.fixture
async def operator(reach: Reach, kind: Kind) -> AsyncIterator[Using]:
    """Offer a client whose key may do everything."""
    async with using(kind, reach.settings.origin, key_of(await reach.key())) as client:
        yield client


@pytest.fixture
async def reach_on_sqlite(
    make_settings: Callable[..., Settings], sqlite: str
) -> AsyncIterator[Reach]:
    """Reach on one database, where the other one would say the same."""
    async with running_reach(make_settings(database_url=sqlite)) as reach:
        yield reach


@pytest.fixture
async def operator_on_sqlite(reach_on_sqlite: Reach, kind: Kind) -> AsyncIterator[Using]:
    """Offer a client whose key may do everything, of Reach on one database."""
    key = key_of(await reach_on_sqlite.key())
    async with using(kind, reach_on_sqlite.settings.origin, key) as client:
        yield client
