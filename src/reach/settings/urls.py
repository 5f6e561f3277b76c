"""The URLs and addresses that settings carry: servers, proxies, web sites, mailboxes.

Passwords are pasted as providers show them, so ``/ ? # [ @`` may stand in one as they are, although
RFC 3986 wants them encoded: what is before the *last* ``@`` says who logs in. No error repeats
any of it, as any of it may be a part of a password.
"""

import re
from collections.abc import Sequence
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
from urllib.parse import unquote, urlsplit

from reach.network.hosts import Place, is_host, is_loopback, is_unspecified
from reach.settings.rates import SMTP_END, SMTP_PARAMETERS, Rate, smtp_parameters

MASK = "********"
ENCODED = "/ as %2F, ? as %3F, # as %23, @ as %40, : as %3A, % as %25"
TWO_WAYS = (
    f"can be read in two ways: in a user or a password write {ENCODED} (or set the password in its "
    "own variable), and behind the host @ as %40, # as %23"
)
NOT_TEXT = f"holds a % that begins no character of UTF-8: in a user or a password write {ENCODED}"


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in with what; None is what is not said. It shows neither.

    Some providers' users are secret too: with Postmark, user and password are one token.
    """

    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __bool__(self) -> bool:
        """Whether anything is said."""
        return self.user is not None or self.password is not None


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """``scheme://[user[:password]@]host[:port][,host[:port]…][/path][?parameters]``.

    The login is percent-decoded; ``path`` (with its slash) and ``parameters`` are as written,
    None if there is no ``?``.
    """

    scheme: str
    login: Login
    places: tuple[Place, ...]
    path: str
    parameters: str | None

    @classmethod
    def parse(cls, text: str, *, has_more: bool = False) -> "ServerUrl":
        """Take it apart. ``has_more`` says whether a name and parameters may follow the host.

        Raises ValueError, with words that repeat nothing.
        """
        scheme, _, rest = text.strip().partition("://")
        login, where = _divide(rest, has_more=has_more)
        hosts, tail = _cut(where)
        if "#" in tail:
            raise ValueError("must not hold a # behind its host: write it as %23")
        path, mark, parameters = tail.partition("?")
        user, _, password = login.partition(":")
        return cls(
            scheme=scheme.lower(),
            login=Login(decoded(user) or None, decoded(password) or None),
            places=tuple(_place(part) for part in hosts.split(",")),
            path=path,
            parameters=parameters if mark else None,
        )

    @property
    def place(self) -> Place:
        """Its one host and port. Raises ValueError if there is none, or several."""
        if len(self.places) > 1:
            raise ValueError("must name one host")
        if not self.places[0].host:
            raise ValueError("names no host")
        return self.places[0]


def decoded(text: str) -> str:
    """Percent-decode. Raises ValueError without repeating it."""
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(NOT_TEXT) from None
    if "\0" in plain:
        raise ValueError("must not hold %00")
    return plain


def shown(scheme: str, places: Sequence[Place], *, has_login: bool) -> str:
    """Write a URL up to its path, without who logs in."""
    return f"{scheme}://{f'{MASK}@' if has_login else ''}{','.join(map(str, places))}"


def _divide(rest: str, *, has_more: bool) -> tuple[str, str]:
    """Divide who logs in from where to, at the last ``@``.

    ``has_more`` says that there may be an ``@`` behind the host too. Raises ValueError if what is
    before the last ``@`` already makes a whole URL: ``reach:12/3@db`` may be a host, port and name.
    """
    login, _, where = rest.rpartition("@")
    head, _ = _cut(rest)
    if not has_more or len(head) >= len(login):
        return login, where
    if not head:  # postgresql:///name?user=me@example: there is no host, so nobody before it
        return "", rest
    if _are_places(head.rpartition("@")[2]):
        raise ValueError(TWO_WAYS)
    return login, where


def _cut(text: str) -> tuple[str, str]:
    """Cut before the first of what ends a host."""
    end = re.search(r"[/?#]|$", text)
    at = end.start() if end else len(text)
    return text[:at], text[at:]


def _are_places(text: str) -> bool:
    try:
        for part in text.split(","):
            _place(part)
    except ValueError:
        return False
    return True


def _place(text: str) -> Place:
    """Read a place; a percent-encoded path is the folder of a socket (as in libpq)."""
    host, _, port = text.partition(":")
    if host[:3].upper() != "%2F":
        return Place.parse(text)
    return replace(Place.parse(f"socket:{port}"), host=decoded(host))


Security = Literal["plain", "tls", "starttls"]
Network = IPv4Network | IPv6Network

SMTP_SCHEMES: dict[str, tuple[Security, int]] = {
    "smtp": ("plain", 25),
    "smtps": ("tls", 465),
    "smtp+starttls": ("starttls", 587),
}
REDIS_SCHEMES = ("redis", "rediss")
REDIS_PORT = 6379
#: Pythons that can be strict refuse ``hello@[192.0.2.1]``, unless told not to be.
_AS_EVER: dict[str, Any] = {"strict": False} if "strict" in signature(parseaddr).parameters else {}
#: What is before the IPv4 address in an IPv4-mapped one.
MAPPED_BITS = 96
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class SmtpUrl:
    """A mail server, and how to speak to it: never with less security than its URL says.

    ``rate`` is how much it is given, ``verify_name`` what its certificate must be for, if that is
    not the host; ``uses_token`` says that a token logs in rather than a password.
    """

    host: str
    port: int
    security: Security
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    rate: Rate | None = None
    verify_name: str | None = None
    uses_token: bool = False

    @classmethod
    def parse(cls, text: str) -> "SmtpUrl":
        """Read ``smtp://``, ``smtps://`` or ``smtp+starttls://[user:password@]host[:port]``.

        Behind that may stand ``?rate=10/s&name=mail.example.org``. Raises ValueError, with words
        that do not repeat the URL (it may hold a password).
        """
        text = text.strip()
        end = SMTP_PARAMETERS.search(text)
        given = smtp_parameters(end[1]) if end else {}
        url = ServerUrl.parse(text[: end.start()] if end else text)
        if url.scheme not in SMTP_SCHEMES:
            raise ValueError("must start with smtp://, smtps:// or smtp+starttls://")
        if url.path not in ("", "/") or url.parameters is not None:
            raise ValueError(SMTP_END)
        security, default_port = SMTP_SCHEMES[url.scheme]
        return cls(
            host=url.place.host,
            port=url.place.port or default_port,
            security=security,
            username=url.login.user,
            password=url.login.password,
            rate=Rate.parse(given["rate"]) if "rate" in given else None,
            verify_name=given.get("name"),
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
        url = shown(scheme, [Place(self.host, self.port)], has_login=bool(self.login))
        said = [f"rate={self.rate}"] if self.rate else []
        said += [f"name={self.verify_name}"] if self.verify_name else []
        return f"{url}?{'&'.join(said)}" if said else url

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


#: What may stand in an address and in a header of ours; nothing that would end either.
WEB_ADDRESS = re.compile(r"[!#-+\-.-:=?-\[\]-~]+", re.ASCII)


def parse_web_address(text: str) -> str:
    """Read the whole address of a page: ``https://example.org/thanks``. Raises ValueError."""
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole or not WEB_ADDRESS.fullmatch(text):
        raise ValueError("must be like https://example.org/thanks")
    if "@" in urlsplit(text).netloc:
        raise ValueError("must hold no user and no password")
    parse_origin(f"{urlsplit(text).scheme}://{urlsplit(text).netloc}")
    return text


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
    is_whole = text.strip() == address or text.rstrip().endswith(f"<{address}>")
    if not (is_whole and text.isprintable() and "@" in address.strip("@") and address.isascii()):
        raise ValueError("must be like hello@example.org or Name <hello@example.org>")
    try:
        read = Address(display_name=name, addr_spec=address)
    except Exception:  # noqa: BLE001 - the parser fails in many ways at what it cannot read
        read = Address()
    if read.addr_spec != address or not read.domain:
        raise ValueError("must be an address: letters, digits, and single dots between")
    return read


#: A local part may have 64 characters (RFC 5321 §4.5.3.1.1), of which a token takes 46.
RETURN_PATH_LOCAL = re.compile(r"[A-Za-z0-9._-]{1,18}")


def parse_return_path(text: str) -> str:
    """Read the mailbox of return paths: ``bounces@mail.example.org``. Raises ValueError."""
    if not text:
        return text
    address = parse_mailbox(text)
    if address.display_name or not RETURN_PATH_LOCAL.fullmatch(address.username):
        raise ValueError(
            "must be like bounces@mail.example.org: up to 18 letters, digits, dots, - and _ before "
            "the @, behind which Reach writes a + and what names the message"
        )
    return text
