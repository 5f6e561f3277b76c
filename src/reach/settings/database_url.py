"""The URL of the database, and libpq's parameters in it: made asyncpg's, or refused by name.

https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.engine import URL

from reach.network.hosts import Place, is_loopback
from reach.settings import urls
from reach.settings.urls import Login, ServerUrl, decoded

POSTGRES_SCHEMES = ("postgresql", "postgres")
POSTGRES_PORT = 5432
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
#: Those that encrypt or fail.
STRICT_MODES = ("require", "verify-ca", "verify-full")
CHANNEL_BINDINGS = ("disable", "prefer", "require")
SYSTEM = "system"

#: Who logs in, where, and into what: read by ``DatabaseUrl``.
LOGIN = ("user", "password")
WHERE = ("host", "port", "dbname")
#: What becomes asyncpg's ``ssl``.
SECURITY = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "channel_binding")
#: What the server is told at the start of a session.
SESSION = ("application_name", "options")
#: Which of several servers is wanted (asyncpg's words are libpq's).
TARGETS = ("any", "read-write", "primary")
#: … and what else libpq knows.
READING_TARGETS = ("read-only", "standby", "prefer-standby")
#: Secrets and names of who logs in: never shown.
UNSHOWN = (*LOGIN, "sslpassword")
CHOICES = {
    "sslmode": SSL_MODES,
    "channel_binding": CHANNEL_BINDINGS,
    "target_session_attrs": TARGETS,
}
#: What Reach does anyway: these values are taken, any other is refused.
AS_EVER: dict[str, tuple[str, ...]] = {
    "client_encoding": ("utf8", "UTF8", "utf-8", "UTF-8", "auto"),
    "gssencmode": ("disable", "prefer"),
    "keepalives": ("1",),
    "load_balance_hosts": ("disable",),
    "replication": ("0", "off", "no", "false"),
    "ssl_min_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2"),
    "sslcertmode": ("allow",),
    "sslcompression": ("0",),
    "sslnegotiation": ("postgres",),
    "sslsni": ("1",),
}
#: Taken, and without effect: Reach's own time limits are shorter.
TIMES = (
    *("connect_timeout", "tcp_user_timeout"),
    *("keepalives_count", "keepalives_idle", "keepalives_interval"),
)
#: … and what providers add for other clients (Supabase and its integrations).
OTHERS = ("pgbouncer", "supa", "fallback_application_name")
#: libpq's, and not asyncpg's or not ours.
REFUSED = (
    *("gssdelegation", "gsslib", "hostaddr", "krbsrvname", "max_protocol_version"),
    *("min_protocol_version", "oauth_ca_file", "oauth_client_id", "oauth_client_secret"),
    *("oauth_issuer", "oauth_scope", "passfile", "require_auth", "requirepeer", "requiressl"),
    *("scram_client_key", "scram_server_key", "service", "servicefile", "ssl_max_protocol_version"),
    *("sslcrl", "sslcrldir", "sslkeylogfile"),
)
NAMES = frozenset(
    (*LOGIN, *WHERE, *SECURITY, *SESSION, *CHOICES, *AS_EVER, *TIMES, *OTHERS, *REFUSED)
)


def _read(text: str) -> list[tuple[str, str]]:
    """Read what is behind the ``?``: names and values, in order. Raises ValueError.

    A ``+`` is a plus, as in libpq. A name that is none of libpq's is not repeated: it may be what a
    ``&`` in a password has cut off.
    """
    found = []
    for number, part in enumerate(filter(None, text.split("&")), 1):
        name, mark, value = part.partition("=")
        if name not in NAMES or not mark:
            raise ValueError(
                f"has a parameter (number {number} behind the ?) that is none of libpq's: "
                "in a value write & as %26"
            )
        if name in REFUSED:
            raise ValueError(f"has the parameter {name}, which Reach does not offer: leave it out")
        found.append((name, decoded(value)))
        _check(name, found[-1][1])
    return found


def _check(name: str, value: str) -> None:
    """Raises ValueError if the value is none that the parameter may have here."""
    known = CHOICES | AS_EVER
    if name == "target_session_attrs" and value in READING_TARGETS:
        raise ValueError(
            f"has target_session_attrs={value}, and Reach writes: leave it out, "
            "then the server that takes writes is found"
        )
    if value and value not in known.get(name, (value,)):
        words = "is not one of" if name in CHOICES else "Reach does not offer; it offers"
        wrong = f"has {'an' if name[0] in 'aeios' else 'a'} {name} that {words} "
        raise ValueError(wrong + ", ".join(known[name]))
    if name in TIMES and not re.fullmatch(r"-?[0-9]{0,9}", value):
        raise ValueError(f"has a {name} that is not a whole number")


def _places(named: Sequence[Place], parameters: list[tuple[str, str]]) -> tuple[Place, ...]:
    """Add what ``host`` and ``port`` say to what stands before the ``?``.

    Several have commas between them, or parameters of their own; a host that begins with a slash is
    the folder of a socket. Raises ValueError.
    """
    hosts = [host for name, value in parameters if name == "host" for host in value.split(",")]
    ports = [port for name, value in parameters if name == "port" for port in value.split(",")]
    if hosts and any(place.host for place in named):
        raise ValueError("names its host twice, once behind the ?: keep one")
    found = [_place(host) for host in hosts] or list(named)
    if any(ports):
        if any(place.port for place in found):
            raise ValueError("names its port twice, once behind the ?: keep one")
        if len(ports) not in (1, len(found)):
            raise ValueError("must have one port, or one for each host")
        each = ports if len(ports) == len(found) else ports * len(found)
        found = [
            Place(place.host, Place.parse(f":{port}").port)
            for place, port in zip(found, each, strict=True)
        ]
    if len(found) > 1 and not all(place.host for place in found):
        raise ValueError("has a host without a name")
    return tuple(place for place in found if place != Place(""))


def _place(host: str) -> Place:
    if host.startswith("/"):
        return Place(host)
    return Place.parse(f"[{host}]" if host.count(":") > 1 and "[" not in host else host)


def _tls(parameters: Mapping[str, str]) -> str | ssl.SSLContext | None:
    """Make asyncpg's ``ssl`` of libpq's words. Raises ValueError.

    As in libpq, a root certificate makes ``require`` verify, and ``sslrootcert=system`` verifies
    the name. libpq has no default authorities but its user's own file; the system's serve better.
    ``channel_binding=require`` wants proof that nobody is in between; asyncpg cannot bind, so the
    certificate and its name have to prove it (decision 0032).
    """
    mode, root = parameters.get("sslmode") or None, parameters.get("sslrootcert")
    is_bound = parameters.get("channel_binding") == "require"
    if is_bound and mode in ("disable", "allow"):
        raise ValueError("has channel_binding=require, which needs an sslmode of require or more")
    checks_name = is_bound or root == SYSTEM or mode == "verify-full"
    if parameters.get("sslcert") and mode not in STRICT_MODES and not checks_name:
        raise ValueError("has an sslcert, which needs an sslmode of require or more")
    if parameters.get("sslkey") and not parameters.get("sslcert"):
        raise ValueError("has an sslkey without an sslcert")
    verifies = checks_name or mode == "verify-ca" or (root and mode == "require")
    if not verifies and not parameters.get("sslcert"):
        return mode
    context = _trusting(None if root == SYSTEM else root)
    context.check_hostname = checks_name
    if not verifies:
        context.verify_mode = ssl.CERT_NONE
    if parameters.get("sslcert"):
        _introduce(context, parameters)
    return context


def _trusting(root: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=root or None)
    except OSError as error:
        raise ValueError(f"names an sslrootcert that cannot be used ({error.strerror})") from None


def _introduce(context: ssl.SSLContext, parameters: Mapping[str, str]) -> None:
    """Show the server a certificate of ours. Raises ValueError."""
    password = parameters.get("sslpassword", "")
    try:
        # Not None: OpenSSL would ask for a password on the terminal, and wait.
        context.load_cert_chain(
            parameters["sslcert"], parameters.get("sslkey") or None, lambda: password
        )
    except OSError as error:
        words = f"names an sslcert or sslkey that cannot be used ({error.strerror})"
        raise ValueError(words) from None


def _session(parameters: Mapping[str, str]) -> dict[str, str]:
    """Choose what the server is told at the start of a session."""
    return {name: parameters[name] for name in SESSION if parameters.get(name)}


def _shown(parameters: list[tuple[str, str]]) -> Iterator[str]:
    """Write what may be shown."""
    return (f"{name}={value}" for name, value in parameters if name not in UNSHOWN)


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

        Of libpq's parameters those in ``NAMES`` are taken. Raises ValueError, with
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
        return cls._of(url, _read(url.parameters or ""))

    @classmethod
    def _of(cls, url: ServerUrl, parameters: list[tuple[str, str]]) -> "DatabaseUrl":
        """Put together what a Postgres URL and its parameters say. Raises ValueError."""
        given = dict(parameters)
        places = _places(url.places, parameters)
        arguments: dict[str, Any] = {}
        if (tls := _tls(given)) is not None:
            arguments["ssl"] = tls
        if session := _session(given):
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
            "&".join(_shown(parameters)),
        )

    @property
    def login(self) -> Login:
        """Who logs in with what."""
        return Login(self.url.username, self.url.password)

    def with_login(self, login: Login) -> "DatabaseUrl":
        """Have another log in."""
        return replace(self, url=self.url.set(username=login.user, password=login.password))

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
        place = urls.shown("postgresql", places, has_login=bool(self.login))
        rest = f"?{self.parameters}" if self.parameters else ""
        return f"{place}/{self.url.database or ''}{rest}"

    def __repr__(self) -> str:
        """Show no more than that: ``url`` and ``connect_args`` are for the driver alone."""
        return f"DatabaseUrl({str(self)!r})"
