"""Who asks: a client's address, which is believed only from whom it may be (X-Forwarded-For)."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from reach.settings.urls import Network

#: The one bucket of those who have no address: callers over a Unix socket.
NO_ADDRESS = "local"
#: No chain of proxies is longer; what is farther left can be written by anybody.
MOST_HOPS = 32
LONGEST_HOP = 64
KEPT_ADDRESSES = 4096
Address = IPv4Address | IPv6Address


class Clients:
    """Tells clients apart, by their addresses."""

    def __init__(self, proxies: Sequence[Network]) -> None:
        """Take the networks that are believed when they say for whom they ask."""
        self._proxies = tuple(proxies)
        self._look_up = lru_cache(KEPT_ADDRESSES)(self._read)

    def of_request(self, scope: Mapping[str, Any]) -> str:
        """Name the client of a request, given as ASGI's scope."""
        peer, lines = scope.get("client"), []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                lines.append(value.decode("latin-1"))
        if lines:
            return self.of(peer[0] if peer else None, lines)
        found = self._look_up(peer[0]) if peer else None
        return found[0] if found else NO_ADDRESS

    def of(self, peer: str | None, forwarded: Sequence[str]) -> str:
        """Name the client: its IPv4 address, or its IPv6 network (/64).

        ``forwarded`` are the lines of ``X-Forwarded-For``. A proxy writes at the right whom it
        was asked by; so that is read from the right, until somebody is met who is not believed.
        A hop that is no address ends the walk at the proxy that said it: what cannot be read
        makes nobody a new client.
        """
        name, is_believed = self._look_up(peer or "") or (NO_ADDRESS, False)
        if not is_believed or not forwarded:
            return name
        for hop in reversed(",".join(forwarded).rsplit(",", MOST_HOPS)[-MOST_HOPS:]):
            found = self._look_up(hop[: LONGEST_HOP + 1])
            if found is None:
                break
            name, is_believed = found
            if not is_believed:
                break
        return name

    def _read(self, text: str) -> tuple[str, bool] | None:
        address = parse(text)
        if address is None:
            return None
        return bucket(address), any(address in network for network in self._proxies)


def parse(text: str) -> Address | None:
    """Read an address, less a port, brackets and zone; an IPv4-mapped one is its IPv4."""
    text = text.strip()
    if len(text) > LONGEST_HOP:
        return None
    if text.startswith("["):
        text, end, rest = text[1:].partition("]")
        is_whole = end and (not rest or (rest.startswith(":") and _is_port(rest[1:])))
        # Brackets are IPv6's own.
        if not is_whole or ":" not in text:
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(port):
            return None
    try:
        address = ip_address(text.partition("%")[0] if ":" in text else text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def bucket(address: Address) -> str:
    """Name those who are one client: an IPv6 customer has a whole /64 to choose from."""
    if isinstance(address, IPv4Address):
        return str(address)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit()
