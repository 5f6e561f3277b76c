"""Reach as a client of an OpenID provider, as tests set it up."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from reach.settings import Settings
from tests.support.servers.openid import CLIENT, REDIRECT_URI, SECRET

ADA = "ada-4711"
VERIFIED = {"email": "ada@example.org", "email_verified": True}


def client_of(issuer: str, **changes: Any) -> Settings:
    """Settings by which ada@example.org may read, and the group ``ops`` if the claim is groups."""
    origin = REDIRECT_URI.removesuffix("/console/oidc/callback")
    usual = {
        "public_url": origin,
        "secret_key": "k" * 40,
        "oidc_issuer": issuer,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "oidc_grants": "ada@example.org=people:read; ops=messages:read",
    }
    return Settings(**{**usual, **changes})


def answer_in(address: str) -> dict[str, str]:
    """Read what the provider has to say in the address that it leads back to."""
    return dict(parse_qsl(urlsplit(address).query))
