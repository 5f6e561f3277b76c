"""The URLs and addresses that settings carry: the database, mail, Redis, proxies, web sites."""

import re
from dataclasses import dataclass, field, replace
from email.headerregistry import Address
from email.utils import parseaddr
from functools import lru_cache
from inspect import signature
from ipaddress import (
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_network,
)
from typing import Any, Literal
from urllib.parse import urlsplit

from sqlalchemy.engine import URL

from reach.network.hosts import Place, is_host, is_loopback, is_unspecified
from reach.settings import libpq
from reach.settings.server_urls import MASK, Login, ServerUrl, decoded, shown

Security = Literal["plain", "tls", "starttls"]
Network = IPv4Network | IPv6Network

SMTP_SCHEMES: dict[str, tuple[Security, int]] = {
    "smtp": ("plain", 25),
    "smtps": ("tls", 465),
    "smtp+starttls": ("starttls", 587),
}
REDIS_SCHEMES = ("redis", "rediss")
REDIS_PORT = 6379
POSTGRES_SCHEMES = ("postgresql", "postgres")
POSTGRES_PORT = 5432
#: Pythons that can be strict refuse ``hello@[192.0.2.1]``, unless told not to be.
_AS_EVER: dict[str, Any] = {"strict": False} if "strict" in signature(parseaddr).parameters else {}
#: What is before the IPv4 address in an IPv4-mapped one.
MAPPED_BITS = 96
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class SmtpUrl:
    """A mail server, and how to speak to it: never with less security than its URL says."""

    host: str
    port: int
    security: Security
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> "SmtpUrl":
        """Read ``smtp://``, ``smtps://`` or ``smtp+starttls://[user:password@]host[:port]``.

        Raises ValueError, with words that do not repeat the URL (it may hold a password).
        """
        url = ServerUrl.parse(text)
        if url.scheme not in SMTP_SCHEMES:
            raise ValueError("must start with smtp://, smtps:// or smtp+starttls://")
        if url.path not in ("", "/") or url.parameters is not None:
            raise ValueError("must end after the port")
        security, default_port = SMTP_SCHEMES[url.scheme]
        return cls(
            host=url.place.host,
            port=url.place.port or default_port,
            security=security,
            username=url.login.user,
            password=url.login.password,
        )

    @property
    def login(self) -> Login:
        """Who logs in with what."""
        return Login(self.username, self.password)

    def with_login(self, login: Login) -> "SmtpUrl":
        """Have another log in."""
        return replace(self, username=login.user, password=login.password)

    def __str__(self) -> str:
        """The URL with its credentials masked."""
        scheme = next(name for name, (kind, _) in SMTP_SCHEMES.items() if kind == self.security)
        return shown(scheme, [Place(self.host, self.port)], has_login=bool(self.login))

    @property
    def is_local(self) -> bool:
        """Whether mail for this server stays on this machine."""
        return is_loopback(self.host)


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A Redis server. ``url`` is as redis-py takes it, without who logs in: it may be told."""

    url: str
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> "RedisUrl":
        """Read ``redis://`` or ``rediss://[user:password@]host[:port][/number]``.

        Raises ValueError, with words that do not repeat the URL (it may hold a password).
        """
        url = ServerUrl.parse(text)
        if url.scheme not in REDIS_SCHEMES:
            raise ValueError("must start with redis:// or rediss://")
        if not re.fullmatch(r"(/[0-9]{0,4})?", url.path) or url.parameters is not None:
            raise ValueError("may end in the number of a database, and in nothing else")
        # The port is always named: `limits` takes a URL without one for a mistake.
        place = Place(url.place.host, url.place.port or REDIS_PORT)
        return cls(
            f"{url.scheme}://{place}{url.path.removesuffix('/')}",
            url.login.user,
            url.login.password,
        )

    @property
    def login(self) -> Login:
        """Who logs in with what."""
        return Login(self.username, self.password)

    def with_login(self, login: Login) -> "RedisUrl":
        """Have another log in."""
        return replace(self, username=login.user, password=login.password)

    def __str__(self) -> str:
        """The URL with its credentials masked."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{f'{MASK}@' if self.login else ''}{rest}"


@dataclass(frozen=True, slots=True, repr=False)
class DatabaseUrl:
    """A database: SQLAlchemy's URL for it, and what its driver needs besides.

    ``connect_args`` are asyncpg's: ``ssl``, ``server_settings`` and ``target_session_attrs``, where
    the URL says so; ``host`` and ``port``, lists, if it names several servers or a socket.
    ``places`` are all that it names; ``parameters`` may be shown.
    """

    url: URL
    connect_args: dict[str, Any]
    places: tuple[Place, ...] = ()
    parameters: str = ""

    @classmethod
    def parse(cls, text: str) -> "DatabaseUrl":
        """Read ``sqlite:///file``, ``postgresql://…`` or ``postgres://…``.

        Of libpq's parameters those in ``reach.settings.libpq`` are taken. Raises ValueError, with
        words that do not repeat the URL (it may hold a password).
        """
        scheme, _, rest = text.strip().partition("://")
        if scheme == "sqlite":
            if not rest.startswith("/") or rest.strip("/") in ("", ":memory:"):
                raise ValueError("must name a file: sqlite:///relative or sqlite:////absolute")
            if "?" in rest or "\0" in rest:
                raise ValueError("must end after the file's name")
            return cls(URL.create("sqlite", database=rest[1:]), {})
        url = ServerUrl.parse(text, has_more=True)
        if url.scheme not in POSTGRES_SCHEMES:
            raise ValueError("must start with sqlite:/// or postgresql://")
        return cls._of(url, libpq.read(url.parameters or ""))

    @classmethod
    def _of(cls, url: ServerUrl, parameters: list[tuple[str, str]]) -> "DatabaseUrl":
        """Put together what a Postgres URL and its parameters say. Raises ValueError."""
        given = dict(parameters)
        places = libpq.places(url.places, parameters)
        arguments: dict[str, Any] = {}
        if (security := libpq.security(given)) is not None:
            arguments["ssl"] = security
        if session := libpq.session(given):
            arguments["server_settings"] = session
        if which := given.get("target_session_attrs"):
            arguments["target_session_attrs"] = which
        only = places[0] if len(places) == 1 else Place("")
        if len(places) > 1 or only.host.startswith("/"):
            arguments["host"] = [place.host for place in places]
            arguments["port"] = [place.port or POSTGRES_PORT for place in places]
            only = Place("")
        return cls(
            URL.create(
                "postgresql+asyncpg",
                username=url.login.user or given.get("user") or None,
                password=url.login.password or given.get("password") or None,
                host=only.host or None,
                port=only.port,
                database=decoded(url.path[1:]) or given.get("dbname") or None,
            ),
            arguments,
            places,
            "&".join(libpq.shown(parameters)),
        )

    @property
    def login(self) -> Login:
        """Who logs in with what."""
        return Login(self.url.username, self.url.password)

    def with_login(self, login: Login) -> "DatabaseUrl":
        """Have another log in."""
        return replace(self, url=self.url.set(username=login.user, password=login.password))

    @property
    def server_settings(self) -> dict[str, str]:
        """What the URL wants the server told at the start of a session."""
        found: dict[str, str] = self.connect_args.get("server_settings", {})
        return found

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file on this machine."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def is_local(self) -> bool:
        """Whether it can only be on this machine: a file, a socket, a loopback address."""
        hosts = [place.host for place in self.places]
        return all(host.startswith("/") or is_loopback(host or "localhost") for host in hosts)

    def __str__(self) -> str:
        """The URL with its credentials masked."""
        if self.is_sqlite:
            return f"sqlite:///{self.url.database}"
        named = {part.partition("=")[0] for part in self.parameters.split("&")}
        places = () if "host" in named else self.places
        place = shown("postgresql", places, has_login=bool(self.login))
        rest = f"?{self.parameters}" if self.parameters else ""
        return f"{place}/{self.url.database or ''}{rest}"

    def __repr__(self) -> str:
        """The masked URL: what is in ``url`` and ``connect_args`` is for the driver alone."""
        return f"DatabaseUrl({str(self)!r})"


@lru_cache(maxsize=8)
def parse_networks(text: str) -> tuple[Network, ...]:
    """Read ``10.0.0.0/8, ::1``: addresses and networks. Raises ValueError.

    Those that hold everybody are refused: proxies that are believed must be named.
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
    """Read ``https://example.org``, less a slash at its end. Raises ValueError.

    Its host must be one that can be: ``https://*.example.org`` is the origin of nothing.
    """
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in ("http", "https") and parts.port != 0
        is_one = is_whole and is_host(parts.hostname or "")
    except ValueError:
        raise ValueError("must be like https://signup.example.org") from None
    if not is_whole or not text.isprintable() or " " in text:
        raise ValueError("must be like https://signup.example.org")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("must hold a scheme, a host and a port at most")
    if not is_one:
        raise ValueError("must name one host, by name or address (a * is neither)")
    return text.rstrip("/")


def parse_public_url(text: str) -> str:
    """Read an origin that others can open. Raises ValueError."""
    host = urlsplit(parse_origin(text)).hostname or ""
    if is_unspecified(host):
        raise ValueError(f"must be what others can open, and nobody is at {host}")
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
