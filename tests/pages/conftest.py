"""The pages in an app of their own."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.site import Site, site_in


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[..., Site]:
    """Make the pages; takes settings by name."""
    return partial(site_in, tmp_path)


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """The pages, as settings make them by default."""
    return make_site()
