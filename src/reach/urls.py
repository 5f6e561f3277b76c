"""The URLs that settings carry: where the database is, where mail goes."""

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

Security = Literal["plain", "tls", "starttls"]

SMTP_SCHEMES: dict[str, tuple[Security, int]] = {
    "smtp": ("plain", 25),
    "smtps": ("tls", 465),
    "smtp+starttls": ("starttls", 587),
}
#: What may also stand among a Postgres URL's parameters, and is nobody's business.
CREDENTIALS = ("user", "password")
MASK = "********"
LAST_PORT = 65535
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
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
