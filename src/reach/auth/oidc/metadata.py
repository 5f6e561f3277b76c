"""What a provider says of itself (OpenID Connect Discovery 1.0), as far as a sign-in needs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from reach.auth.oidc.model import ProviderUnavailable
from reach.network.hosts import is_loopback
from reach.settings.urls import parse_web_address

#: Below the issuer.
PATH = "/.well-known/openid-configuration"
DISCOVERY = "discovery"
#: How Reach shows who it is when it asks for a token: a password of HTTP's, in the form, or not.
Authentication = Literal["client_secret_basic", "client_secret_post", "none"]
CODE, PKCE = "code", "S256"


@dataclass(frozen=True, slots=True)
class Metadata:
    """Where a provider's endpoints are, and what it can do.

    ``says_issuer``: its answers name it (RFC 9207).
    """

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str
    authentication: Authentication
    says_issuer: bool

    @classmethod
    def read(cls, document: Mapping[str, Any], issuer: str, *, has_secret: bool) -> "Metadata":
        """Read the document of ``issuer``. Raises ProviderUnavailable if it cannot serve us."""
        if document.get("issuer") != issuer:
            raise _bad("the provider calls itself otherwise than REACH_OIDC_ISSUER does")
        for name, needed in (
            ("response_types_supported", CODE),
            ("code_challenge_methods_supported", PKCE),
        ):
            if needed not in _offered(document, name, needed):
                raise _bad(f"the provider does not offer {needed} ({name})")
        has_userinfo = bool(document.get("userinfo_endpoint"))
        return cls(
            authorization_endpoint=_endpoint(document, "authorization_endpoint", issuer),
            token_endpoint=_endpoint(document, "token_endpoint", issuer),
            jwks_uri=_endpoint(document, "jwks_uri", issuer),
            userinfo_endpoint=(
                _endpoint(document, "userinfo_endpoint", issuer) if has_userinfo else ""
            ),
            authentication=_authentication(document, has_secret=has_secret),
            says_issuer=document.get("authorization_response_iss_parameter_supported") is True,
        )


def _offered(document: Mapping[str, Any], name: str, usual: str) -> Sequence[Any]:
    """List what a provider offers; a provider that does not say so offers what is usual."""
    found = document.get(name)
    return found if isinstance(found, list) else [usual]


def _endpoint(document: Mapping[str, Any], name: str, issuer: str) -> str:
    """Give the address of an endpoint: encrypted, unless all of it is on this machine."""
    url = document.get(name)
    try:
        parse_web_address(url if isinstance(url, str) else "")
    except ValueError:
        raise _bad(f"its {name} is not the address of a page") from None
    parts = urlsplit(str(url))
    is_local = issuer.startswith("http:") and is_loopback(parts.hostname or "")
    if parts.scheme != "https" and not is_local:
        raise _bad(f"its {name} is not encrypted (https)")
    return str(url)


def _authentication(document: Mapping[str, Any], *, has_secret: bool) -> Authentication:
    """Choose how to show who we are. The standard's default is a password of HTTP's."""
    name, usual = "token_endpoint_auth_methods_supported", "client_secret_basic"
    offered = _offered(document, name, usual)
    if not has_secret:
        return "none"
    if usual in offered:
        return "client_secret_basic"
    if "client_secret_post" in offered:
        return "client_secret_post"
    raise _bad(f"the provider takes no client secret ({name})")


def _bad(words: str) -> ProviderUnavailable:
    return ProviderUnavailable(f"{DISCOVERY}: {words}")
