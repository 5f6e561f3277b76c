"""What the ``REACH_OIDC_*`` settings say: where operators sign in, and who may do what."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reach.network.hosts import is_loopback
from reach.settings.urls import parse_web_address

if TYPE_CHECKING:
    from reach.settings.fields import Fields

#: In a grant: every scope that there is.
EVERY_SCOPE = "*"
#: The claim that only counts if the provider says that it has verified it.
EMAIL = "email"
#: Between scopes of OpenID Connect, and between scopes of Reach.
BLANKS = re.compile(r"[\s,]+")
#: What may be in a scope of OAuth (RFC 6749 §3.3).
OAUTH_SCOPE = re.compile(r"[!#-\[\]-~]+", re.ASCII)
GRANT = (
    "must be what the claim says, =, and scopes, like "
    "ada@example.org=*; bob@example.org=people:read,messages:read"
)


@dataclass(frozen=True, slots=True)
class Grant:
    """Who has ``value`` in the claim may do ``scopes``, which are not checked here."""

    value: str
    scopes: frozenset[str]


def parse_issuer(text: str) -> str:
    """Read the address of a provider, to the letter as it calls itself. Raises ValueError.

    Without encryption anybody on the way could answer: that is for this machine alone.
    """
    parse_web_address(text)
    parts = urlsplit(text)
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise ValueError("must have neither a ? nor a #")
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError("must begin with https://, but for a provider on this machine")
    return text


def parse_scopes(text: str) -> Sequence[str]:
    """Read what a provider is asked for: ``openid email``. Raises ValueError."""
    scopes = [part for part in BLANKS.split(text) if part]
    if "openid" not in scopes or not all(map(OAUTH_SCOPE.fullmatch, scopes)):
        raise ValueError("must be scopes of OpenID Connect with blanks between, openid among them")
    return scopes


def parse_grants(text: str) -> Sequence[Grant]:
    """Read ``value=scope,scope; value=*``: each value once. Raises ValueError.

    A value may hold a ``=``, as a name in LDAP does: the last one counts. No value is repeated in
    what is raised: it may be somebody's address.
    """
    found: dict[str, Grant] = {}
    for part in filter(None, (one.strip() for one in re.split(r"[;\n]", text))):
        value, _, right = part.rpartition("=")
        value = value.strip()
        scopes = frozenset(one for one in BLANKS.split(right) if one)
        if not value or not scopes or not value.isprintable():
            raise ValueError(GRANT)
        if value in found:
            raise ValueError("says one thing twice: put all its scopes behind one =")
        found[value] = Grant(value, scopes)
    return [*found.values()]


def faults(fields: "Fields") -> list[str]:
    """Say what is missing, or useless, beside the rest: a line for each."""
    beside = ("client_id", "client_secret", "grants", "ca_file")
    given = {name for name in beside if getattr(fields, f"oidc_{name}")}
    if not fields.oidc_issuer:
        return [
            f"REACH_OIDC_ISSUER must be set beside REACH_OIDC_{name.upper()}: the address of the "
            "provider where operators sign in, such as https://login.example.org"
            for name in sorted(given)
        ]
    found = []
    if not fields.oidc_client_id:
        found.append(
            "REACH_OIDC_CLIENT_ID must be set beside REACH_OIDC_ISSUER: what the provider calls "
            "Reach, once you have registered it there"
        )
    if not fields.oidc_grants:
        found.append(
            "REACH_OIDC_GRANTS must be set beside REACH_OIDC_ISSUER: without it nobody could sign "
            "in. For example: ada@example.org=*"
        )
    return found
