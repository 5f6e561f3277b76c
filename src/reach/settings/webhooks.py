"""What ``REACH_WEBHOOK_ALLOW`` says: where inside the network events may be sent."""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from reach.network.hosts import NOWHERE, Domains

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Allowed:
    """Networks, and names of hosts whose addresses may be any. Nothing allows nothing."""

    networks: tuple[Network, ...] = ()
    hosts: Domains = NOWHERE

    @classmethod
    def parse(cls, text: str) -> "Allowed":
        """Read ``10.0.0.0/8, hooks.internal, .corp.example``. Raises ValueError."""
        return _parse(text)

    def has_host(self, host: str) -> bool:
        """Whether a host is named, as ``Place`` writes it."""
        return host.removesuffix(".") in self.hosts

    def has_address(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether an address is in one of the networks."""
        return any(address in network for network in self.networks)


@lru_cache(maxsize=8)
def _parse(text: str) -> Allowed:
    networks: list[Network] = []
    names: list[str] = []
    for part in text.replace(",", " ").split():
        try:
            networks.append(ip_network(part))
        except ValueError:
            names.append(part)
    try:
        hosts = Domains.parse(" ".join(names))
    except ValueError:
        raise ValueError("must be networks and hosts, like 10.0.0.0/8, hooks.internal") from None
    return Allowed(tuple(networks), hosts)
