"""A Reach whose reader of HTTP is put to the test. No test here touches what a database does."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.http.serving import Serving, serving_with
from tests.support.processes.reach import Reach


@pytest.fixture(scope="module")
async def served(
    tmp_path_factory: pytest.TempPathFactory, migrated_file: Path
) -> AsyncIterator[Reach]:
    """Reach with its usual times, shared by the tests of a module."""
    folder = tmp_path_factory.mktemp("served")
    async with serving_with(folder, migrated_file) as reach:
        yield reach


@pytest.fixture
async def serving(tmp_path: Path, migrated_file: Path) -> AsyncIterator[Serving]:
    """Offer to serve with settings of the test's own, by name.

    It ends after the test. A server that an error cuts off would not close its socket.
    """
    async with AsyncExitStack() as stack:

        async def serve(**changes: Any) -> Reach:
            return await stack.enter_async_context(serving_with(tmp_path, migrated_file, **changes))

        yield serve
