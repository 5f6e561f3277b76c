"""The kinds of values that settings may have."""

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr

from reach.network.domains import Domains
from reach.network.hosts import LAST_PORT
from reach.settings.rate_limit import Policy
from reach.settings.urls import (
    DatabaseUrl,
    RedisUrl,
    SmtpUrl,
    parse_mailbox,
    parse_networks,
    parse_origin,
    parse_public_url,
)

Seconds = Annotated[float, Field(gt=0, le=10**9, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65535)]
DOMAIN_CHARACTERS = 253
#: Names as DNS has them for mail: letters, digits and hyphens, with dots between.
DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.(?!$)|$))+", re.IGNORECASE)
#: An address with a port, or in brackets: ``9.9.9.9:53``, ``[2620:fe::fe]:53``, ``[2620:fe::fe]``.
NAME_SERVER = re.compile(
    r"\[(?P<six>[^\]]+)\](?::(?P<port6>\d{1,5}))?|(?P<four>[\d.]+):(?P<port4>\d{1,5})"
)
DNS_PORT = 53


def reads(parse: Callable[[str], object]) -> AfterValidator:
    """Make the check that a text, unless it is empty, is one that ``parse`` can read."""

    def check(value: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text:
            parse(text)
        return value

    return AfterValidator(check)


def parts_of(text: str) -> list[str]:
    """Take apart what stands between commas or blanks."""
    return [part for part in re.split(r"[\s,]+", text) if part]


def parse_origins(text: str) -> list[str]:
    """Read several web sites. Raises ValueError."""
    return [parse_origin(part) for part in parts_of(text)]


def parse_policy(text: str) -> Policy:
    """Read what a ``REACH_LIMIT_*`` may be. Raises ValueError."""
    return Policy.parse("", text)


def parse_domain(text: str) -> str:
    """Read the name of a domain, in lower case. Raises ValueError."""
    if len(text) > DOMAIN_CHARACTERS or not DOMAIN.fullmatch(text):
        raise ValueError("must be letters, digits and hyphens with dots between, like example.org")
    return text.lower()


def parse_name_servers(text: str) -> list[tuple[str, int]]:
    """Read several servers: their addresses and ports. Raises ValueError."""
    return [_name_server(part) for part in parts_of(text)]


def _name_server(text: str) -> tuple[str, int]:
    found = NAME_SERVER.fullmatch(text)
    address = (found["six"] or found["four"]) if found else text
    port = int((found["port6"] or found["port4"] or DNS_PORT) if found else DNS_PORT)
    try:
        ip_address(address)
    except ValueError:
        port = 0
    if not 0 < port <= LAST_PORT:
        raise ValueError("must be addresses, like 9.9.9.9, [2620:fe::fe]:53")
    return address, port


def parse_postgres(text: str) -> DatabaseUrl:
    """Read the URL of a Postgres. Raises ValueError."""
    if text.startswith("sqlite:"):
        raise ValueError("must start with postgresql://: a SQLite file has no pooler")
    return DatabaseUrl.parse(text)


def without_slash(url: str) -> str:
    """Leave the slash at an address's end out."""
    return url.rstrip("/")


Mailbox = Annotated[str, reads(parse_mailbox)]
Limit = Annotated[str, reads(parse_policy)]
DatabasePlace = Annotated[SecretStr, reads(DatabaseUrl.parse)]
PostgresPlace = Annotated[SecretStr, reads(parse_postgres)]
SmtpPlace = Annotated[SecretStr, reads(SmtpUrl.parse)]
RedisPlace = Annotated[SecretStr, reads(RedisUrl.parse)]
Networks = Annotated[str, reads(parse_networks)]
PublicUrl = Annotated[str, reads(parse_public_url), AfterValidator(without_slash)]
Origins = Annotated[str, reads(parse_origins)]
Domain = Annotated[str, reads(parse_domain), AfterValidator(str.lower)]
DomainNames = Annotated[str, reads(Domains.parse)]
NameServers = Annotated[str, reads(parse_name_servers)]
