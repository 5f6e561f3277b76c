"""Hosts and ports, as URLs name them."""

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import quote

from email_validator import EmailNotValidError, validate_email

LAST_PORT = 65535
#: Of a name as DNS has it: A-labels, with no dot at the end (RFC 1035 §2.3.4).
HOST_OCTETS = 253
#: ``[::1]:25``, ``mail.example.org``, ``%2Frun%2Fpostgresql``: a host, and a port if there is one.
PLACE = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<name>[^\[\]:]*))(?::(?P<port>[0-9]{0,5}))?")
#: A label of a name. Underscores are no part of DNS's, and are of Docker's.
LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")

NOT_A_HOST = "its host is not a name or an address"
NOT_A_PORT = "its port is not a number from 1 to 65535"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens: a host (no brackets, lower case) and its port, if one is named."""

    host: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read ``host[:port]``; the host may be empty. Raises ValueError without repeating it."""
        found = PLACE.fullmatch(text)
        if found is None:
            is_port = ":" in text and is_host(text.partition(":")[0])
            raise ValueError(NOT_A_PORT if is_port else NOT_A_HOST)
        host = (found["six"] or found["name"]).lower()
        host = host.replace("%25", "%")  # RFC 6874: before the scope of a link-local address
        if (found["six"] and not _is_six(host)) or (found["name"] and not is_host(host)):
            raise ValueError(NOT_A_HOST)
        port = int(found["port"]) if found["port"] else None
        if port is not None and not 0 < port <= LAST_PORT:
            raise ValueError(NOT_A_PORT)
        return cls(host, port)

    def __str__(self) -> str:
        """Write it as a URL does."""
        name = quote(self.host, safe="")
        if ":" in self.host and not self.host.startswith("/"):
            name = f"[{self.host.replace('%', '%25')}]"
        return name if self.port is None else f"{name}:{self.port}"


def is_host(text: str) -> bool:
    """Whether it is the name of one host, or an address without brackets."""
    try:
        ip_address(text)
    except ValueError:
        pass
    else:
        return True
    try:
        name = text.encode("idna").decode().lower().removesuffix(".")
    except UnicodeError:  # a label is empty, or too long
        return False
    labels = name.split(".")
    is_name = len(name) <= HOST_OCTETS and all(map(LABEL.fullmatch, labels))
    return is_name and not labels[-1].isdigit()  # to browsers that is half an address


def is_loopback(host: str) -> bool:
    """Whether ``host`` (a name or an address, no port) can only be this machine."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name.strip("[]"))
    return address is not None and address.is_loopback


def is_unspecified(host: str) -> bool:
    """Whether ``host`` is an address where one can listen and nobody can be asked: ``0.0.0.0``."""
    address = _address(host)
    return address is not None and address.is_unspecified


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address; an IPv4-mapped one as its IPv4. None if it is a name."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # Who listens at :: hears callers of IPv4 under such addresses; Python before 3.13 knows none.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_six(text: str) -> bool:
    try:
        return isinstance(ip_address(text), IPv6Address)
    except ValueError:
        return False


#: A domain to look at another one below.
OUTER = ".example"


@dataclass(frozen=True, slots=True)
class Domains:
    """``exact`` names belong to it themselves, and all that lies below a name of ``below``.

    Names are as machines write them: lower case, A-labels (RFC 5890), no dot at either end.
    """

    exact: AbstractSet[str] = frozenset()
    below: AbstractSet[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> "Domains":
        """Read ``example.org, .example.org``: commas or blanks between; a dot says "below".

        Raises ValueError.
        """
        return _parse(text)

    def __contains__(self, domain: str) -> bool:
        """Whether ``domain``, as machines write it, is one of these."""
        if domain in self.exact:
            return True
        labels = domain.split(".")
        return any(".".join(labels[n:]) in self.below for n in range(1, len(labels) + 1))

    def __bool__(self) -> bool:
        """Whether it lists any."""
        return bool(self.exact or self.below)

    def without(self, others: "Domains") -> list[str]:
        """List, as they are written, the intranet names where ``others`` has no domain at all."""
        lonely = [name for name in self.exact if is_intranet(name) and name not in others]
        named = {*others.exact, *(f"x.{name}" for name in others.below)}
        for name in self.below:
            one_below = f"x.{name}"
            inside = Domains(below=frozenset({name}))
            if is_intranet(one_below) and one_below not in others:
                lonely += [] if any(other in inside for other in named) else [f".{name}"]
        return sorted(lonely)


#: What lies below the root: every domain.
EVERYWHERE = Domains(below=frozenset({""}))
NOWHERE = Domains()


def is_intranet(domain: str) -> bool:
    """Whether no public mail can reach a domain: a name of special use (RFC 6761), or one label."""
    return _as_machines_do(domain, "") is None


@lru_cache(maxsize=8)
def _parse(text: str) -> Domains:
    exact: set[str] = set()
    below: set[str] = set()
    for part in filter(None, re.split(r"[\s,]+", text)):
        name = _as_machines_do(part.removeprefix("."), OUTER)
        if name is None:
            raise ValueError("must be domains, like example.org, .example.org (all below it)")
        (below if part.startswith(".") else exact).add(name)
    return Domains(frozenset(exact), frozenset(below))


def _as_machines_do(name: str, outer: str) -> str | None:
    """Write a domain in lower case and A-labels; None if it is none, once below ``outer``."""
    try:
        found = validate_email(f"x@{name}{outer}", check_deliverability=False)
    except EmailNotValidError:
        return None
    return found.ascii_domain.lower().removesuffix(outer)
