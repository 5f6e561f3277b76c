"""Where events may be sent: nowhere inside the network, unless ``REACH_WEBHOOK_ALLOW`` names it.

A name is resolved once for each attempt, each of its addresses is judged, and the connection goes
to one of those that were judged. So no name that leads elsewhere a moment later (DNS rebinding)
gets anywhere.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from reach.network.hosts import Place
from reach.network.sockets import Address
from reach.settings.webhooks import Allowed

URL_CHARACTERS = 2000
#: What RFC 3986 has in a URL, and nothing that one program reads otherwise than another.
URL = re.compile(r"(https?)://([^/?#@\\]+)(/[!$%&-;=@-Z_a-z~?]*)?", re.ASCII | re.IGNORECASE)
PORTS = {"http": 80, "https": 443}

#: Addresses that stand for an IPv4 address in their last 32 bits (RFC 6052), or after the first 16
#: (RFC 3056).
NAT64, SIX_TO_FOUR = IPv6Network("64:ff9b::/96"), IPv6Network("2002::/16")

NOT_A_URL = "It must be a URL such as https://example.org/hooks, in ASCII, with no user in it."
NOT_HTTPS = "It must begin with https://, unless REACH_WEBHOOK_ALLOW names its host."
NOT_PUBLIC = (
    "It leads to this machine or into a private network, which REACH_WEBHOOK_ALLOW does not name."
)


class Forbidden(Exception):
    """A webhook leads where nothing may be sent; ``args[0]`` says why, without the address."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook's receiver listens. ``path`` has the query with it."""

    is_tls: bool
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str, allowed: Allowed) -> "Target":
        """Read a URL. Raises ValueError, in words that do not repeat it."""
        found = URL.fullmatch(url) if len(url) <= URL_CHARACTERS else None
        if found is None or not url.isascii():
            raise ValueError(NOT_A_URL)
        scheme = found[1].lower()
        try:
            place = Place.parse(found[2])
        except ValueError:
            raise ValueError(NOT_A_URL) from None
        if not place.host or "%" in place.host:
            raise ValueError(NOT_A_URL)
        path = found[3] or "/"
        target = cls(scheme == "https", place.host, place.port or PORTS[scheme], path)
        address = _address(place.host)
        if address is not None and not is_permitted(address, place.host, allowed):
            raise ValueError(NOT_PUBLIC)
        if not target.is_tls and not _is_named(place.host, address, allowed):
            raise ValueError(NOT_HTTPS)
        return target

    @property
    def authority(self) -> str:
        """Write the ``Host`` header: with the port, if it is not the usual one."""
        usual = self.port == PORTS["https" if self.is_tls else "http"]
        return str(Place(self.host, None if usual else self.port))


def require_permitted(target: Target, addresses: Sequence[Address], allowed: Allowed) -> None:
    """Raise Forbidden if one of the addresses that a name has leads where nothing may be sent."""
    for one in addresses:
        address = _address(str(one.place[0]).partition("%")[0])
        if address is None or not is_permitted(address, target.host, allowed):
            raise Forbidden(NOT_PUBLIC)


def is_permitted(address: IPv4Address | IPv6Address, host: str, allowed: Allowed) -> bool:
    """Whether a connection may go to an address, for a receiver that is called ``host``."""
    if allowed.has_host(host) or allowed.has_address(address):
        return True
    inner = _embedded(address)
    if inner is not None:
        return is_permitted(inner, host, allowed)
    is_special = address.is_multicast or address.is_reserved or address.is_private
    is_local = address.is_loopback or address.is_link_local or address.is_unspecified
    if isinstance(address, IPv6Address) and address.is_site_local:
        return False
    return address.is_global and not (is_special or is_local)


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """Find the IPv4 address that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in SIX_TO_FOUR:
        return IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    return None


def _is_named(host: str, address: IPv4Address | IPv6Address | None, allowed: Allowed) -> bool:
    return allowed.has_host(host) or (address is not None and allowed.has_address(address))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
