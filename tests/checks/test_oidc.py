"""`reach check`: the OpenID provider that operators sign in at."""

from collections.abc import Callable

from reach.checks.oidc import check_oidc
from reach.settings import Settings
from tests.support.checks import check, finding
from tests.support.openid import client_of
from tests.support.servers.openid import AuthlibProvider


async def test_a_provider_that_answers_is_well() -> None:
    """And who set it up reads what to tell it; once it is down, what to do."""
    with AuthlibProvider.running() as provider:
        settings = client_of(provider.issuer)
        found = await check_oidc(settings)
        assert (found.exit_code, found.is_well) == (0, True)
        assert found.words == (
            f"{provider.issuer} answers, and has 1 key; it must lead back to "
            "http://127.0.0.1:8000/console/oidc/callback"
        )
        other = await check_oidc(client_of(provider.issuer.replace("127.0.0.1", "localhost")))
        assert "answers, and has 1 key" in other.words  # as this one calls itself what it is asked
        provider.stop()
        found = await check_oidc(settings)
        assert found.exit_code == 1
        assert "discovery: Connection refused" in found.words
        assert "API keys sign in meanwhile" in found.remedy


async def test_a_provider_beside_a_console_that_is_off() -> None:
    """Nothing is asked; it is said that one of the two makes no sense."""
    found = await check_oidc(client_of("http://127.0.0.1:9", console=False))
    assert "there is no console" in found.words
    assert found.advice


def test_the_command_says_so(make_settings: Callable[..., Settings]) -> None:
    """Without a provider: how operators sign in. With a scope that there is not: exit 2."""
    assert finding(check(make_settings())[1], "sign-in") == ("ok", "by API key alone", "")
    client = client_of("http://127.0.0.1:9", oidc_grants="ops=people:reed")
    names = ("issuer", "client_id", "client_secret", "grants")
    changes = {f"oidc_{name}": getattr(client, f"oidc_{name}") for name in names}
    code, lines = check(make_settings(**changes))
    assert code == 2
    assert "people:reed" in finding(lines, "sign-in")[2]
    assert not any(client.oidc_client_secret.get_secret_value() in line for line in lines)
