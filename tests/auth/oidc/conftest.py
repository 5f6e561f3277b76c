"""Providers to sign in at."""

from collections.abc import Iterator

import pytest

from tests.support.servers.openid import (
    AuthlibProvider,
    CertifiedProvider,
    NoProvider,
    OpenIdProvider,
)


@pytest.fixture(scope="session")
def authlib_provider() -> Iterator[OpenIdProvider]:
    """Run Authlib's, to use and not to break."""
    with AuthlibProvider.running() as provider:
        yield provider


@pytest.fixture(scope="session")
def certified_provider() -> Iterator[OpenIdProvider]:
    """Run npm's, to use and not to break."""
    try:
        with CertifiedProvider.running() as provider:
            yield provider
    except NoProvider as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["authlib", "certified"])
def provider(request: pytest.FixtureRequest) -> OpenIdProvider:
    """Run the test at both."""
    found: OpenIdProvider = request.getfixturevalue(f"{request.param}_provider")
    return found
