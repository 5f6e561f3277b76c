"""Signing in at real providers, as people do; and what an attacker, or bad luck, makes of it."""

import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from reach.auth.oidc.model import (
    Begun,
    Declined,
    Identity,
    NotBegunHere,
    NotGranted,
    NotProven,
    ProviderUnavailable,
)
from reach.auth.oidc.provider import SIGN_IN_SECONDS, Provider
from tests.support.openid import ADA, VERIFIED, answer_in, client_of
from tests.support.servers.openid import AuthlibProvider, CertifiedProvider, OpenIdProvider


class Clock:
    """A clock that a test may set."""

    ahead_seconds = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return time.time() + self.ahead_seconds


@pytest.fixture
def clock() -> Clock:
    """Offer the clock that Reach has in this test."""
    return Clock()


@pytest.fixture
def breakable() -> Iterator[AuthlibProvider]:
    """Run a provider to stop, and to start again with other keys."""
    with AuthlibProvider.running() as provider:
        yield provider


def changed(url: str, **parameters: str) -> str:
    """Put other values into an address."""
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | parameters
    return parts._replace(query=urlencode(query)).geturl()


async def begin(reach: Provider, server: OpenIdProvider) -> tuple[Begun, dict[str, str]]:
    """Sign in at the provider, and come back."""
    begun = await reach.begin()
    return begun, answer_in(server.sign_in(begun.url, ADA))


async def test_who_has_a_verified_address_on_the_list_signs_in(provider: OpenIdProvider) -> None:
    """At every provider: by the ID token, or by userinfo where that alone has the address."""
    provider.say(ADA, **VERIFIED)
    reach = Provider(client_of(provider.issuer))
    begun, answer = await begin(reach, provider)
    assert await reach.finish(begun.kept, answer) == Identity(ADA, frozenset({"people:read"}))


async def test_groups_say_what_somebody_may_do(provider: OpenIdProvider) -> None:
    """By a claim of the operator's choice, and no address is needed."""
    provider.say(ADA, groups=["staff", "ops"])
    scopes = "openid groups" if isinstance(provider, CertifiedProvider) else "openid"
    reach = Provider(client_of(provider.issuer, oidc_claim="groups", oidc_scopes=scopes))
    begun, answer = await begin(reach, provider)
    assert await reach.finish(begun.kept, answer) == Identity(ADA, frozenset({"messages:read"}))


async def test_a_client_without_a_secret_signs_people_in(
    certified_provider: OpenIdProvider,
) -> None:
    """PKCE proves who asks for the token, where there is no secret."""
    certified_provider.say(ADA, **VERIFIED)
    changes = {"oidc_client_id": "public", "oidc_client_secret": ""}
    reach = Provider(client_of(certified_provider.issuer, **changes))
    begun, answer = await begin(reach, certified_provider)
    assert (await reach.finish(begun.kept, answer)).subject == ADA


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"email": "ada@example.org"},
        {"email": "ada@example.org", "email_verified": False},
        {"email": "eve@example.org", "email_verified": True},
    ],
)
async def test_who_is_not_on_the_list_may_do_nothing(
    provider: OpenIdProvider, claims: dict[str, object]
) -> None:
    """Nor is who has an address of the list that the provider has not verified."""
    provider.say(ADA, **claims)
    reach = Provider(client_of(provider.issuer))
    begun, answer = await begin(reach, provider)
    with pytest.raises(NotGranted):
        await reach.finish(begun.kept, answer)


async def test_who_declines_is_not_signed_in(certified_provider: OpenIdProvider) -> None:
    """The log is told the protocol's word for it, and none of the provider's own."""
    reach = Provider(client_of(certified_provider.issuer))
    begun = await reach.begin()
    back = certified_provider.sign_in(begun.url, ADA, declines=True)
    with pytest.raises(Declined, match=r"^access_denied$"):
        await reach.finish(begun.kept, answer_in(back))
    answer = answer_in(back) | {"error": "canary\n"}
    with pytest.raises(Declined, match=r"^an error of its own$"):
        await reach.finish(begun.kept, answer)


async def test_an_answer_is_for_the_browser_that_asked(
    authlib_provider: OpenIdProvider,
) -> None:
    """An answer slipped in by another page, or shown without its cookie, signs nobody in."""
    authlib_provider.say(ADA, **VERIFIED)
    reach = Provider(client_of(authlib_provider.issuer))
    (mine, _), (_, theirs) = [await begin(reach, authlib_provider) for _ in range(2)]
    other = Provider(client_of(authlib_provider.issuer, secret_key="o" * 40))
    forged = (await other.begin()).kept
    for kept, answer in (
        (mine.kept, theirs),
        (mine.kept, {name: value for name, value in theirs.items() if name != "state"}),
        (mine.kept, theirs | {"state": "\ud800é"}),
        ("", theirs),
        (mine.kept[:-1], theirs),
        (forged, theirs),
    ):
        with pytest.raises(NotBegunHere):
            await reach.finish(kept, answer)


async def test_a_sign_in_is_over_after_ten_minutes(
    authlib_provider: OpenIdProvider, clock: Clock
) -> None:
    """What lies about in a browser is worth nothing later."""
    reach = Provider(client_of(authlib_provider.issuer), clock)
    begun, answer = await begin(reach, authlib_provider)
    clock.ahead_seconds = SIGN_IN_SECONDS + 1
    with pytest.raises(NotBegunHere, match="too long ago"):
        await reach.finish(begun.kept, answer)


async def test_a_token_of_another_sign_in_proves_nothing(provider: OpenIdProvider) -> None:
    """It has another nonce: somebody else's code was put into this answer."""
    provider.say(ADA, **VERIFIED)
    reach = Provider(client_of(provider.issuer, oidc_client_id="reach"))
    begun = await reach.begin()
    back = provider.sign_in(changed(begun.url, nonce="another"), ADA)
    with pytest.raises(NotProven, match="nonce"):
        await reach.finish(begun.kept, answer_in(back))


async def test_a_stolen_code_is_worth_nothing_without_its_verifier(
    certified_provider: OpenIdProvider,
) -> None:
    """The provider knows by PKCE that the code was asked for in another browser's sign-in."""
    certified_provider.say(ADA, **VERIFIED)
    reach = Provider(client_of(certified_provider.issuer))
    _, stolen = await begin(reach, certified_provider)
    thief = await reach.begin()
    state = answer_in(thief.url)["state"]
    with pytest.raises(NotProven, match="invalid_grant"):
        await reach.finish(thief.kept, stolen | {"state": state})


async def test_a_code_is_good_once(provider: OpenIdProvider) -> None:
    """Who loads the address again is not signed in again."""
    provider.say(ADA, **VERIFIED)
    reach = Provider(client_of(provider.issuer))
    begun, answer = await begin(reach, provider)
    await reach.finish(begun.kept, answer)
    with pytest.raises(NotProven, match="invalid_grant"):
        await reach.finish(begun.kept, answer)


async def test_a_token_that_has_expired_proves_nothing(
    authlib_provider: OpenIdProvider, clock: Clock
) -> None:
    """Whatever else is right: this provider's are good for an hour, and clocks differ a little."""
    authlib_provider.say(ADA, **VERIFIED)
    reach = Provider(client_of(authlib_provider.issuer), clock)
    _, answer = await begin(reach, authlib_provider)
    tokens = await reach._tokens(await reach._metadata(), answer["code"], answer["state"])
    clock.ahead_seconds = 3600 + 30
    await reach._claims(tokens, answer["state"])
    clock.ahead_seconds = 3600 + 90
    with pytest.raises(NotProven, match=r"ExpiredTokenError \(exp\)"):
        await reach._claims(tokens, answer["state"])


async def test_a_token_for_another_client_proves_nothing(
    authlib_provider: OpenIdProvider,
) -> None:
    """Somebody runs a site of their own at the same provider, and shows its visitors' tokens."""
    authlib_provider.say(ADA, **VERIFIED)
    theirs = Provider(client_of(authlib_provider.issuer, oidc_client_id="theirs"))
    _, answer = await begin(theirs, authlib_provider)
    tokens = await theirs._tokens(await theirs._metadata(), answer["code"], answer["state"])
    ours = Provider(client_of(authlib_provider.issuer))
    with pytest.raises(NotProven, match=r"InvalidClaimError \(aud\)"):
        await ours._claims(tokens, answer["state"])


async def test_what_is_said_of_another_is_not_believed(authlib_provider: OpenIdProvider) -> None:
    """Userinfo must be of whom the ID token is: an access token may be another's."""
    reach = Provider(client_of(authlib_provider.issuer))
    metadata, found = await reach._metadata(), []
    for subject in (ADA, "eve-1"):
        answer = answer_in(authlib_provider.sign_in((await reach.begin()).url, subject))
        tokens = await reach._tokens(metadata, answer["code"], answer["state"])
        found.append((tokens, await reach._claims(tokens, answer["state"])))
    (mine, claims), (theirs, _) = found
    assert (await reach._userinfo(metadata, mine, claims))["sub"] == ADA
    with pytest.raises(NotProven, match=r"somebody else's \(sub\)"):
        await reach._userinfo(metadata, theirs, claims)


async def test_an_answer_says_whose_it_is(provider: OpenIdProvider) -> None:
    """Of two providers one cannot pass on the other's answer (RFC 9207)."""
    provider.say(ADA, **VERIFIED)
    reach = Provider(client_of(provider.issuer))
    begun, answer = await begin(reach, provider)
    with pytest.raises(NotProven, match=r"another provider's \(iss\)"):
        await reach.finish(begun.kept, answer | {"iss": "https://login.example.org"})
    if isinstance(provider, CertifiedProvider):
        with pytest.raises(NotProven, match="does not say whose"):
            await reach.finish(begun.kept, {k: v for k, v in answer.items() if k != "iss"})
    await reach.finish(begun.kept, answer)


async def test_new_keys_are_asked_for_and_not_too_often(
    breakable: AuthlibProvider, clock: Clock
) -> None:
    """A provider that has new keys signs people in at once, half a minute after the last time."""
    breakable.say(ADA, **VERIFIED)
    reach = Provider(client_of(breakable.issuer), clock)
    begun, answer = await begin(reach, breakable)
    await reach.finish(begun.kept, answer)
    breakable.stop()
    breakable.start()
    breakable.say(ADA, **VERIFIED)
    begun, answer = await begin(reach, breakable)
    with pytest.raises(NotProven, match="not signed so"):
        await reach.finish(begun.kept, answer)
    clock.ahead_seconds = 31
    begun, answer = await begin(reach, breakable)
    assert (await reach.finish(begun.kept, answer)).subject == ADA


async def test_a_provider_that_is_down_says_so(breakable: AuthlibProvider, clock: Clock) -> None:
    """Before somebody is led there, and when they come back; it is tried again 5 seconds later."""
    breakable.say(ADA, **VERIFIED)
    reach = Provider(client_of(breakable.issuer), clock)
    begun, answer = await begin(reach, breakable)
    breakable.stop()
    with pytest.raises(ProviderUnavailable, match="tokens: Connection refused"):
        await reach.finish(begun.kept, answer)
    clock.ahead_seconds = 3601
    with pytest.raises(ProviderUnavailable, match="discovery: Connection refused"):
        await reach.begin()
    breakable.start()
    with pytest.raises(ProviderUnavailable, match="discovery: Connection refused"):
        await reach.begin()
    clock.ahead_seconds += 6
    await reach.begin()


async def test_a_secret_that_is_wrong_is_said_to_be(certified_provider: OpenIdProvider) -> None:
    """In the protocol's words, and without the secret."""
    certified_provider.say(ADA, **VERIFIED)
    settings = client_of(certified_provider.issuer, oidc_client_secret="canary")
    reach = Provider(settings)
    begun, answer = await begin(reach, certified_provider)
    with pytest.raises(ProviderUnavailable, match=r"^tokens: the answer is HTTP 401 \(invalid_cl"):
        await reach.finish(begun.kept, answer)
