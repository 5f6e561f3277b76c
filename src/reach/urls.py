"""The URLs and addresses that settings carry: the database, mail, Redis, proxies, web sites."""

import re
import ssl
from dataclasses import dataclass
from email.headerregistry import Address
from email.utils import parseaddr
from functools import lru_cache
from inspect import signature
from ipaddress import (
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

Security = Literal["plain", "tls", "starttls"]
Network = IPv4Network | IPv6Network

SMTP_SCHEMES: dict[str, tuple[Security, int]] = {
    "smtp": ("plain", 25),
    "smtps": ("tls", 465),
    "smtp+starttls": ("starttls", 587),
}
#: What may also stand among a Postgres URL's parameters, and is nobody's business.
CREDENTIALS = ("user", "password")
MASK = "********"
LAST_PORT = 65535
#: Pythons that can be strict refuse ``hello@[192.0.2.1]``, unless told not to be.
_AS_EVER: dict[str, Any] = {"strict": False} if "strict" in signature(parseaddr).parameters else {}
#: What is before the IPv4 address in an IPv4-mapped one.
MAPPED_BITS = 96
DEFAULT_PORTS = {"http": 80, "https": 443}
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class SmtpUrl:
    """A mail server, and how to speak to it: never with less security than its URL says."""

    host: str
    port: int
    security: Security
    username: str | None = None
    password: str | None = None

    @classmethod
    def parse(cls, text: str) -> "SmtpUrl":
        """Read ``smtp://``, ``smtps://`` or ``smtp+starttls://[user:password@]host[:port]``.

        Raises ValueError, with words that do not repeat the URL (it may hold a password).
        """
        parts = _split(text)
        if parts.scheme not in SMTP_SCHEMES:
            raise ValueError("must start with smtp://, smtps:// or smtp+starttls://")
        security, default_port = SMTP_SCHEMES[parts.scheme]
        try:
            port = parts.port
        except ValueError:
            raise ValueError("its port is not a number from 1 to 65535") from None
        if not parts.hostname:
            raise ValueError("names no host")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("must end after the port (write %2F, %3F, %23 in a password)")
        if (parts.username is None) != (parts.password is None):
            raise ValueError("needs both a user and a password, or neither")
        return cls(
            host=parts.hostname,
            port=port or default_port,
            security=security,
            username=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )

    def __str__(self) -> str:
        """The URL with its credentials masked."""
        scheme = next(name for name, (kind, _) in SMTP_SCHEMES.items() if kind == self.security)
        return _shown(scheme, self.host, self.port, has_credentials=self.username is not None)

    @property
    def is_local(self) -> bool:
        """Whether mail for this server stays on this machine."""
        return is_loopback(self.host)


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A Redis server, as redis-py takes it."""

    url: str

    @classmethod
    def parse(cls, text: str) -> "RedisUrl":
        """Read ``redis://`` or ``rediss://[user:password@]host[:port][/number]``.

        Raises ValueError, with words that do not repeat the URL (it may hold a password).
        """
        parts = _split(text)
        if parts.scheme not in ("redis", "rediss"):
            raise ValueError("must start with redis:// or rediss://")
        try:
            port = parts.port
        except ValueError:
            port = 0
        if port == 0:
            raise ValueError("its port is not a number from 1 to 65535")
        if not parts.hostname:
            raise ValueError("names no host")
        if not re.fullmatch(r"(/\d{0,4})?", parts.path) or parts.query or parts.fragment:
            raise ValueError("may end in the number of a database, and in nothing else")
        return cls(parts.scheme + text[len(parts.scheme) :])  # in lower case, as its readers want

    def __str__(self) -> str:
        """The URL with its credentials masked."""
        parts = urlsplit(self.url)
        has_credentials = "@" in parts.netloc
        place = _shown(
            parts.scheme, parts.hostname or "", parts.port, has_credentials=has_credentials
        )
        return place + parts.path


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A database: SQLAlchemy's URL for it, and what its driver needs besides."""

    url: URL
    connect_args: dict[str, Any]

    def __str__(self) -> str:
        """The URL with its credentials masked."""
        url = self.url
        if self.is_sqlite:
            return f"sqlite:///{url.database}"
        named = {key: url.query.get(key) for key in CREDENTIALS}
        has_credentials = any([url.username, url.password, *named.values()])
        rest = "&".join(f"{k}={v}" for k, v in url.query.items() if k not in CREDENTIALS)
        place = _shown("postgresql", url.host or "", url.port, has_credentials=has_credentials)
        return f"{place}/{url.database or ''}{'?' if rest else ''}{rest}"

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file on this machine."""
        return self.url.get_backend_name() == "sqlite"

    @classmethod
    def parse(cls, text: str) -> "DatabaseUrl":
        """Read ``sqlite:///file``, ``postgresql://…`` or ``postgres://…``.

        libpq's ``sslmode`` and ``sslrootcert`` are translated for asyncpg. Raises ValueError,
        with words that do not repeat the URL (it may hold a password).
        """
        scheme, _, rest = text.partition("://")
        if scheme not in ("sqlite", "postgresql", "postgres"):
            raise ValueError("must start with sqlite:/// or postgresql://")
        if scheme == "sqlite":
            if not rest.startswith("/") or rest.strip("/") in ("", ":memory:"):
                raise ValueError("must name a file: sqlite:///relative or sqlite:////absolute")
            if "?" in rest or "\0" in rest:
                raise ValueError("must end after the file's name")
            return cls(URL.create("sqlite", database=rest[1:]), {})
        parts = _split(text)
        try:
            url = make_url(f"postgresql+asyncpg://{rest}")
        except (ArgumentError, ValueError):
            raise ValueError("is not a URL: postgresql://user:password@host:port/name") from None
        if url.port is not None and not 1 <= url.port <= LAST_PORT:
            raise ValueError("its port is not a number from 1 to 65535")
        query = dict(parse_qsl(parts.query))
        mode, root = query.get("sslmode"), query.get("sslrootcert")
        if mode is not None and mode not in SSL_MODES:
            raise ValueError(f"has an sslmode that is not one of {', '.join(SSL_MODES)}")
        unknown = set(query) - {"sslmode", "sslrootcert", "host", "port", "user", "password"}
        if unknown:
            raise ValueError("has parameters other than sslmode, sslrootcert, host, port")
        url = url.difference_update_query(["sslmode", "sslrootcert"])
        security = _ssl_for_asyncpg(mode, root)
        return cls(url, {} if security is None else {"ssl": security})


def _ssl_for_asyncpg(mode: str | None, root: str | None) -> str | ssl.SSLContext | None:
    """Turn libpq's words into asyncpg's; as in libpq, a root certificate makes require verify."""
    verifies = mode in ("verify-ca", "verify-full") or (root and mode == "require")
    if not verifies:
        return mode
    try:
        # libpq has no default but its user's own file; the system's authorities serve better.
        context = ssl.create_default_context(cafile=None if root == "system" else root)
    except OSError as error:
        raise ValueError(f"names an sslrootcert that cannot be used ({error.strerror})") from None
    context.check_hostname = mode == "verify-full"
    return context


def _split(text: str) -> SplitResult:
    """Split a URL. Raises ValueError without the standard library's words, which repeat it."""
    try:
        return urlsplit(text)
    except ValueError:
        raise ValueError("is not a URL") from None


def _shown(scheme: str, host: str, port: int | None, *, has_credentials: bool) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{MASK + '@' if has_credentials else ''}{name}{f':{port}' if port else ''}"


def is_loopback(host: str) -> bool:
    """Whether ``host`` (a name or an address, no port) can only be this machine."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name.strip("[]"))
    except ValueError:
        return False
    # Who listens at :: hears callers of IPv4 under such addresses; Python before 3.13 knows none.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


@lru_cache(maxsize=8)
def parse_networks(text: str) -> tuple[Network, ...]:
    """Read ``10.0.0.0/8, ::1``: addresses and networks. Raises ValueError.

    Those that hold everybody are refused: whoever is believed must be named.
    """
    try:
        found = tuple(as_ipv4(ip_network(part)) for part in re.split(r"[\s,]+", text) if part)
    except ValueError:
        raise ValueError("must be addresses and networks, like 10.0.0.0/8, ::1") from None
    # Two halves are everybody too.
    fours = collapse_addresses(one for one in found if isinstance(one, IPv4Network))
    sixes = collapse_addresses(one for one in found if isinstance(one, IPv6Network))
    if any(one.prefixlen == 0 for one in fours) or any(one.prefixlen == 0 for one in sixes):
        raise ValueError("must not hold every address")
    return found


def as_ipv4(network: Network) -> Network:
    """Take an IPv4-mapped network for the IPv4 one that it is."""
    start, bits = network.network_address, network.prefixlen - MAPPED_BITS
    mapped = start.ipv4_mapped if isinstance(start, IPv6Address) and bits >= 0 else None
    return network if mapped is None else IPv4Network((mapped, bits))


def parse_origin(text: str) -> str:
    """Read ``https://example.org``, less a slash at its end. Raises ValueError."""
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        raise ValueError("must be like https://signup.example.org") from None
    if not is_whole or not text.isprintable() or " " in text:
        raise ValueError("must be like https://signup.example.org")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise ValueError("must hold a scheme, a host and a port at most")
    return text.rstrip("/")


def as_browsers_write(origin: str) -> str:
    """Write a web site as a browser's ``Origin`` does: lower case, ASCII, no default port.

    Raises ValueError for what ``parse_origin`` would refuse.
    """
    parts = urlsplit(parse_origin(origin))
    host = (parts.hostname or "").encode("idna").decode()
    name = f"[{host}]" if ":" in host else host
    is_default = parts.port in (None, DEFAULT_PORTS[parts.scheme])
    return f"{parts.scheme}://{name}{'' if is_default else f':{parts.port}'}"


@lru_cache(maxsize=8)
def parse_mailbox(text: str) -> Address:
    """Read ``hello@example.org`` or ``Name <hello@example.org>``. Raises ValueError."""
    name, address = parseaddr(text, **_AS_EVER)
    if not text.isprintable() or "@" not in address.strip("@") or not address.isascii():
        raise ValueError("must be like hello@example.org or Name <hello@example.org>")
    return Address(display_name=name, addr_spec=address)
